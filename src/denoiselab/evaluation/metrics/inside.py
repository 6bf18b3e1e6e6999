"""What a network that writes makes of what it has read: the loss with another memory, and where it looks.

A damage that is undone from the nearest tokens alone leaves the decoder little use for the memory; one that moves or
removes much makes it read. Which damage teaches long-range order is answered by these together with `context`.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from denoiselab.architecture.base import Attends
from denoiselab.corruption import Written
from denoiselab.denoiser import Decodes
from denoiselab.evaluation.metrics.base import Metric, Value
from denoiselab.evaluation.metrics.likelihood import counted, shares
from denoiselab.evaluation.shown import Heat
from denoiselab.spec import Refused, Spec

WRITES = "leave this metric out, or use parameterization=autoregressive with a corruption that asks for a text"


def writing(spec: Spec, who: Metric) -> Spec:
    spec = spec.of(("tokens",), who).needs(Written, who, WRITES)
    return spec.needs(Decodes, who, WRITES)


class MemoryUse(Metric):
    """`memory_whole`, `memory_zeroed` and `memory_shuffled`: the decoder's loss, nats a target token, with the
    encoder's output as it is, with zeros in its place, and with that of the sample before. What is lost without it is
    what the encoder is worth. Of the first `n` held-out samples, damaged as in training, the right text before."""

    def __init__(self, n: int = 64):
        counted(self, n=n)
        self.n = n

    def accepts(self, spec):
        return writing(spec, self)

    @torch.no_grad()
    def __call__(self, evidence):
        changes = {"whole": lambda a: a, "zeroed": zeroed, "shuffled": lambda a: a.roll(1, 0)}
        total, count = dict.fromkeys(changes, 0.0), 0
        for c, t in damaged(evidence, self.n, 12):
            count += int((c.scored > 0).sum())
            memory = evidence.module.denoiser.encode(c.x_t, t, **c.context)
            if len(c.x_t) < 2:
                raise Refused("MemoryUse gives a sample the memory of another", "one sample", "raise MemoryUse.n")
            for name, change in changes.items():
                total[name] += forced(evidence.module.denoiser, changed(memory, change), c)
        return {f"memory_{name}": Value(nats / max(count, 1), count, evidence.split) for name, nats in total.items()}


def damaged(evidence, n: int, tag: int):
    """Batches as in training, at the times of validation, and these."""
    module = evidence.module
    for batch, random in shares(evidence, n, tag):
        schedule = module.corruption.schedule
        u = random.child("time").uniform((len(batch.x), 1))[:, 0]
        t = (schedule.t_min + (schedule.t_max - schedule.t_min) * u).float()
        yield module.corruption(batch, t, random.child("damage")), t


def zeroed(a: Tensor) -> Tensor:
    """Zeros for what is a number; what says where text is stays."""
    return torch.zeros_like(a) if a.is_floating_point() else a


def changed(memory, change: Callable[[Tensor], Tensor]):
    """A memory, tensors in tuples, lists and mappings, with each tensor changed."""
    if isinstance(memory, Tensor):
        return change(memory)
    if isinstance(memory, Mapping):
        return {name: changed(value, change) for name, value in memory.items()}
    if isinstance(memory, tuple | list):
        values = [changed(value, change) for value in memory]
        named = isinstance(memory, tuple) and type(memory) is not tuple
        return type(memory)(*values) if named else type(memory)(values)
    return memory


def forced(denoiser: Decodes, memory, c) -> float:
    """Nats of the scored target, summed, with the right text before each token."""
    prefix, total = c.context["prefix"], 0.0
    cache = denoiser.cache(memory, prefix.shape[1])
    for place in range(prefix.shape[1]):
        belief = denoiser.decode(prefix[:, place], place, memory, cache)
        nats = -belief.log_prob(c.target[:, place])
        total += nats[c.scored[:, place] > 0].double().sum().item()
    return total


class CrossAttention(Metric):
    """Where the decoder looks for each token that it writes: the mean over heads of its last layer, one held-out
    sample: samples/cross_attention.png and .csv, a row a target token, a column a token of the source."""

    def __init__(self, longest: int = 48):
        counted(self, longest=longest)
        self.longest = longest

    def accepts(self, spec):
        return writing(spec, self)

    @torch.no_grad()
    def __call__(self, evidence):
        network = next((m for m in evidence.module.denoiser.modules() if isinstance(m, Attends)), None)
        if network is None:
            raise Refused("CrossAttention needs a network that shows where it looks", "an architecture that does not",
                          "leave this metric out, or use architecture=encoder_decoder")  # fmt: skip
        [(c, t)] = damaged(evidence, 1, 13)
        weights = network.attended(c.seen, t, **c.context)[-1, 0].mean(0).cpu()
        there = c.context.get("valid")
        size = self.longest
        source = (c.x_t[0] if there is None else c.x_t[0][there[0]])[:size].cpu()
        target = c.target[0][c.scored[0] > 0][:size].cpu()
        spell = speller(evidence.module.parts.spec, evidence.data.codec)
        rows, columns = spell(target), spell(source)
        return {"cross_attention": Heat(weights[: len(rows), : len(columns)].tolist(), rows, columns)}


def speller(spec: Spec, codec) -> Callable[[Tensor], list[str]]:
    """Tokens (N,) as they are shown, one by one."""

    def shown(i: int) -> str:
        place = i - spec.vocabulary
        if 0 <= place < len(spec.specials):
            return spec.specials[place]
        return codec.decode(torch.tensor([[i]]))[0].replace("\n", "↵").replace(" ", "␣")

    return lambda ids: [shown(i) for i in ids.tolist()]
