"""Conditioning: what a network is told of what to make.

A `Conditioning` is a plan: it accepts a spec, then builds `module(n, **context) -> Told`, which reads from the context
of n samples what it knows: a vector (n, width) that joins the embedded time, and for a text a sequence that attention
looks at. `told` (n,) bool in the context is False where all of it is withheld (classifier-free guidance: Ho and
Salimans, 2022, arXiv:2207.12598): there a learned null takes its place. Without `told` everybody is told; where the
context has nothing to tell, nobody is.
"""

import abc
from typing import NamedTuple

import torch
from torch import Tensor, nn

from denoiselab.architecture.base import TimeEmbedding
from denoiselab.architecture.blocks import Block
from denoiselab.spec import Refused, Spec


class Conditional:
    """A fact: the network is told what to make."""


class Told(NamedTuple):
    """Of B samples; None: nothing of the kind is told."""

    vector: Tensor | None = None  # (B, width)
    sequence: Tensor | None = None  # (B, S, width)
    mask: Tensor | None = None  # (B, S) bool: what of the sequence may be looked at; in each row something


class Conditioning(abc.ABC):
    """`vector` and `sequence` say what its modules tell."""

    vector: bool
    sequence: bool

    @abc.abstractmethod
    def accepts(self, spec: Spec) -> Spec: ...

    @abc.abstractmethod
    def build(self, spec: Spec, width: int) -> nn.Module: ...


class Unconditional(Conditioning):
    """Nothing is told."""

    vector = sequence = False

    def accepts(self, spec):
        return spec

    def build(self, spec, width):
        return Nothing()


UNCONDITIONAL = Unconditional()


class Nothing(nn.Module):
    def forward(self, n: int, **_) -> Told:
        return Told()


class Label(Conditioning):
    """The class of a sample, `label` (B,) in the context, as a learned vector (as in Dhariwal and Nichol, 2021,
    arXiv:2105.05233)."""

    vector, sequence = True, False

    def accepts(self, spec):
        if "label" not in spec.context or spec.classes < 1:
            raise Refused(
                "Label needs samples with labels", f"{spec.kind} of shape {spec.shape} without",
                "use conditioning=none, or data with classes, such as data=digits or fashion_mnist",
            )  # fmt: skip
        return spec.having(Conditional, asks=spec.asks | {"label"})

    def build(self, spec, width):
        return Classes(spec.classes, width)


class Classes(nn.Module):
    """A vector a class, and one more for a label that is withheld."""

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.null, self.vectors = classes, nn.Embedding(classes + 1, width)
        nn.init.normal_(self.vectors.weight, std=0.02)

    def forward(self, n: int, *, label: Tensor | None = None, told: Tensor | None = None, **_) -> Told:
        if label is None:
            return Told(self.vectors.weight[self.null].expand(n, -1))
        return Told(self.vectors(label if told is None else torch.where(told, label, self.null)))


class Caption(Conditioning):
    """A short text, `caption` (B, S) of word ids and `caption_valid` (B, S) bool in the context, read by a Transformer
    that is trained along (as in GLIDE: Nichol et al., 2021, arXiv:2112.10741): a vector of the whole and a sequence."""

    vector = sequence = True

    def __init__(self, width: int = 64, layers: int = 2, heads: int = 4):
        if min(width, layers, heads) < 1 or width % heads:
            raise Refused(
                "Caption needs a layer, and shares its width among heads",
                f"width={width} layers={layers} heads={heads}",
                "for example width=64 layers=2 heads=4",
            )  # fmt: skip
        self.width, self.layers, self.heads = width, layers, heads

    def accepts(self, spec):
        if "caption" not in spec.context or min(spec.words, spec.caption) < 1:
            raise Refused(
                "Caption needs samples with captions", f"{spec.kind} of shape {spec.shape} without",
                "use conditioning=none or label, or data with captions",
            )  # fmt: skip
        return spec.having(Conditional, asks=spec.asks | {"caption", "caption_valid"})

    def build(self, spec, width):
        return Reader(spec.words, spec.caption, width, self)


class Reader(nn.Module):
    """A Transformer encoder of words behind a first place, which gathers the whole. Where the caption is withheld no
    word is looked at, and the first place starts from another vector: that is the null."""

    def __init__(self, words: int, length: int, width: int, plan: Caption):
        super().__init__()
        self.words, self.first = nn.Embedding(words, plan.width), nn.Embedding(2, plan.width)
        self.places = nn.Parameter(0.02 * torch.randn(length, plan.width))
        for table in (self.words, self.first):
            nn.init.normal_(table.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(plan.width, plan.heads) for _ in range(plan.layers))
        self.last = nn.Sequential(nn.LayerNorm(plan.width), nn.Linear(plan.width, width))

    def forward(self, n: int, *, caption: Tensor | None = None, caption_valid: Tensor | None = None,
                told: Tensor | None = None, **_) -> Told:  # fmt: skip
        device = self.places.device
        if caption is None:
            caption = torch.zeros(n, 1, dtype=torch.int64, device=device)
            told = torch.zeros(n, dtype=torch.bool, device=device)
        told = torch.ones(n, dtype=torch.bool, device=device) if told is None else told
        valid = torch.ones_like(caption, dtype=torch.bool) if caption_valid is None else caption_valid
        mask = torch.cat((torch.ones_like(told)[:, None], valid & told[:, None]), 1)
        h = torch.cat((self.first(told.long())[:, None], self.words(caption) + self.places[: caption.shape[1]]), 1)
        for block in self.blocks:
            h = block(h, valid=mask)
        h = self.last(h)
        return Told(h[:, 0], h, mask)


class Embedding(nn.Module):
    """What a network is told, in one place: a vector (B, width) of the time, if `time`, and of the conditioning, None
    if of neither; and the text with what of it may be read."""

    def __init__(self, time: bool, conditioning: Conditioning, spec: Spec, width: int):
        super().__init__()
        self.time = TimeEmbedding(width) if time else None
        self.conditioning = conditioning.build(spec, width)
        self.width = width if time or conditioning.vector else 0  # of the vector; 0: there is none
        self.sequence = width if conditioning.sequence else 0  # of a word, likewise

    def forward(self, noise: Tensor, context: dict[str, Tensor]) -> Told:
        told = self.conditioning(len(noise), **context)
        if self.time is None:
            return told
        time = self.time(noise)
        return told._replace(vector=time if told.vector is None else time + told.vector)
