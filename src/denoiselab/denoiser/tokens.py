"""Tokens: networks that give logits of each place of what is seen, or write a text of their own, and what they may be
asked to say."""

import torch
from torch import Tensor, nn

from denoiselab.architecture.base import Architecture, Selective, Writer
from denoiselab.corruption import Absorbing, Compared, Generated, Written
from denoiselab.denoiser.base import At, Decodes, Denoiser, Detects
from denoiselab.denoiser.head import Head, Logits
from denoiselab.denoiser.parameterization import Parameterization
from denoiselab.denoiser.wrappers import Detecting, Substituted
from denoiselab.posterior import Chosen, Posterior
from denoiselab.schedule import Schedule
from denoiselab.spec import Refused, Spec

# -- denoisers


class Tokens(Denoiser):
    """A network that gives logits (B, L, V) over the clean vocabulary. Where the context has `asked` (B, L) bool, those
    places are worked out alone, if the network can."""

    def __init__(self, network: nn.Module, schedule: Schedule, head: Head):
        super().__init__()
        self.network, self.schedule, self.head = network, schedule, head

    def forward(self, x_t, t, *, seen=None, previous=None, asked=None, **context):
        x, noise = x_t if seen is None else seen, t.float().expand(len(x_t))
        selects = isinstance(self.network, Selective) and isinstance(self.head, Logits)
        # A compiler needs sizes that it knows.
        if asked is None or not selects or torch.compiler.is_compiling():
            return self.said(self.network(x, noise, **context), x_t, t)
        # Before the network is: a GPU waits here for little.
        index = asked.flatten().nonzero()[:, 0]
        logits = self.network.some(x, noise, index, **context).float()
        return Chosen(logits, index, lambda: self.said(self.network(x, noise, **context), x_t, t))

    def said(self, out: Tensor, x_t: Tensor, t: Tensor) -> Posterior:
        return self.head(out, lambda y: y.float(), At(x_t, t, self.schedule))


class Writing(Decodes):
    """A `Writer` that gives logits of what is written, (B, T, V)."""

    def __init__(self, network: Writer, schedule: Schedule, head: Head):
        super().__init__()
        self.network, self.schedule, self.head = network, schedule, head

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        x = x_t if seen is None else seen
        return self.said(self.network(x, t.float().expand(len(x)), **context), x_t, t)

    def encode(self, x_t, t, **context):
        context = {name: value for name, value in context.items() if name != "prefix"}
        return self.network.encode(x_t, t.float().expand(len(x_t)), **context), x_t, t

    def cache(self, memory, length):
        return self.network.cache(memory[0], length)

    def decode(self, token, place, memory, cache):
        read, x_t, t = memory
        return self.said(self.network.step(token, place, read, cache), x_t, t)

    def said(self, out: Tensor, x_t: Tensor, t: Tensor) -> Posterior:
        return self.head(out, lambda y: y.float(), At(x_t, t, self.schedule))


# -- parameterizations

WRITTEN = "use parameterization=autoregressive architecture=encoder_decoder sampler=autoregressive"


class TokenLogits(Parameterization):
    """The network says the logits of the clean tokens."""

    def accepts(self, spec):
        spec = spec.of(("tokens",), self).refuses(Written, self, WRITTEN)
        spec = spec.refuses(Compared, self, "use parameterization=replaced")
        return spec.refuses(Generated, self, "use parameterization=electra, or shown=mask")

    def build(self, network, corruption, head, spec=None):
        return Tokens(network, corruption.schedule, head)


class Replaced(Parameterization):
    """The network says of each token whether it was replaced: ELECTRA's discriminator (Clark et al., 2020,
    arXiv:2003.10555)."""

    def accepts(self, spec):
        fix = "use parameterization=logits, or corruption=damage shown=swapped asked=replaced"
        return spec.of(("tokens",), self).needs(Compared, self, fix)

    def build(self, network, corruption, head, spec=None):
        return Tokens(network, corruption.schedule, head)


class Electra(Parameterization):
    """Two networks: a small `generator` says what the mask hides, and of the text with its draws the network says which
    tokens are replaced (Clark et al., 2020, arXiv:2003.10555). Nothing learns through a draw, and no embeddings are
    shared."""

    def __init__(self, generator: Architecture):
        self.generator = generator

    def accepts(self, spec):
        fix = "use parameterization=logits, or corruption=damage shown=generated asked=all"
        spec = spec.of(("tokens",), self).needs(Generated, self, fix)
        self.generator.accepts(guessing(spec))
        return spec.having(Detects)

    def build(self, network, corruption, head, spec=None):
        assert spec is not None, "the generator needs to know what was agreed"
        plan = self.generator
        guess = Tokens(plan.build(plan.accepts(guessing(spec))), corruption.schedule, Logits())
        return Detecting(guess, Tokens(network, corruption.schedule, head), corruption.mask)


def guessing(spec: Spec) -> Spec:
    """What is agreed with a generator: it gives logits of the clean tokens."""
    return spec._replace(given=(*spec.shape, spec.vocabulary))


class Subs(Parameterization):
    """Logits, and a shown token is what it is: MDLM's SUBS. Needs a corruption that never shows a wrong token."""

    def accepts(self, spec):
        return spec.of(("tokens",), self).refuses(Written, self, WRITTEN).needs(
            Absorbing, self, "use parameterization=logits, or corruption=token_mask"
        )  # fmt: skip

    def build(self, network, corruption, head, spec=None):
        return Substituted(Tokens(network, corruption.schedule, head), corruption.mask)


class NextToken(Parameterization):
    """The network says the logits of the next token, given what is seen and the tokens before it (Sutskever et al.,
    2014, arXiv:1409.3215): what is asked is a text of its own."""

    def accepts(self, spec):
        fix = "use parameterization=logits, corruption=bart, or damage that asks for a text: asked=spans, original"
        return spec.of(("tokens",), self).needs(Written, self, fix).having(Decodes)

    def build(self, network, corruption, head, spec=None):
        if not isinstance(network, Writer):
            fix = "use architecture=encoder_decoder or decoder; a network of yours subclasses Writer"
            raise Refused("NextToken needs a network that writes token by token", type(network).__name__, fix)
        return Writing(network, corruption.schedule, head)
