"""The U-Net of diffusion models on pictures."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoiselab.architecture.base import Architecture, halved, leaving_out, whole, zeroed
from denoiselab.architecture.blocks import Attention
from denoiselab.architecture.conditioning import UNCONDITIONAL, Conditioning, Embedding
from denoiselab.spec import Refused, Spec


class UNet(Architecture):
    """Residual blocks scaled and shifted by the time, and attention at chosen resolutions (Ronneberger et al., 2015,
    arXiv:1505.04597; Dhariwal and Nichol, 2021, arXiv:2105.05233).

    `width` channels times `multipliers`, one a resolution, each half the one above (odd sizes are rounded up); `blocks`
    residual blocks a resolution. `attention` names resolutions by what divides the sides: 1 is the full size, 2 half;
    each of their blocks is followed by attention, and so is the middle, unless it names none. Skip connections lead
    from the residual blocks; with `all_skips`, as published, also from the first convolution and from each halving, and
    there is one block more a resolution on the way up.
    """

    def __init__(self, width: int = 32, multipliers: tuple[int, ...] = (1, 2, 2), blocks: int = 1,
                 attention: tuple[int, ...] = (4,), heads: int = 4, all_skips: bool = False, time: bool = True,
                 dropout: float = 0.0, conditioning: Conditioning = UNCONDITIONAL):  # fmt: skip
        multipliers, attention = tuple(multipliers), tuple(attention)
        if width % 8 or min((width, blocks, *multipliers), default=0) < 1 or not multipliers:
            raise Refused(
                "UNet needs a width that 8 divides, one multiplier a resolution, and a block",
                f"width={width} multipliers={list(multipliers)} blocks={blocks}",
                "for example width=32 multipliers=[1,2,2] blocks=1",
            )  # fmt: skip
        divisors = [2**i for i in range(len(multipliers))]
        if not {*attention} <= {*divisors}:
            raise Refused(
                "UNet has attention where architecture.attention divides the sides",
                f"attention={list(attention)} multipliers={list(multipliers)}",
                f"give some of {divisors}, or [] for none",
            )  # fmt: skip
        attended = [width * m for m, d in zip(multipliers, divisors, strict=True) if d in attention]
        attended += [width * multipliers[-1]] if attention else []
        if attended and (heads < 1 or any(channels % heads for channels in attended)):
            raise Refused(
                "UNet shares its channels among heads where there is attention",
                f"{' and '.join(map(str, sorted({*attended})))} channels, heads={heads}",
                "give a divisor, such as heads=4",
            )  # fmt: skip
        self.width, self.multipliers, self.blocks, self.heads = width, multipliers, blocks, heads
        self.attention, self.all_skips, self.time = attention, all_skips, time
        self.dropout, self.conditioning = leaving_out(dropout), conditioning

    def accepts(self, spec):
        spec = whole(spec.of(("image",), self), self)
        halved(spec, len(self.multipliers) - 1, self)
        return self.conditioning.accepts(spec)

    def build(self, spec):
        return UNetNetwork(spec, self)


class Residual(nn.Module):
    """Norm, convolution, norm scaled and shifted by what is told, convolution; added to its input."""

    def __init__(self, inputs: int, outputs: int, dropout: float):
        super().__init__()
        self.outputs = outputs
        self.norm1, self.conv1 = nn.GroupNorm(8, inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(8, outputs), zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.dropout = nn.Dropout(dropout)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, told: Tensor | None) -> Tensor:
        """`told` (B, 2 outputs, 1, 1): one plus it scales, and shifts."""
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        if told is not None:
            scale, shift = told.chunk(2, 1)
            h = torch.addcmul(shift, h, 1 + scale)
        return self.skip(x) + self.conv2(self.dropout(F.silu(h)))


class Look(nn.Module):
    """Attention among the pixels, added to them."""

    def __init__(self, channels: int, heads: int, text: int):
        super().__init__()
        self.norm, self.attention = nn.GroupNorm(8, channels), Attention(channels, heads, text)
        zeroed(self.attention.out)

    def forward(self, x: Tensor, sequence: Tensor | None, mask: Tensor | None) -> Tensor:
        h = self.attention(self.norm(x).flatten(2).transpose(1, 2), sequence=sequence, mask=mask)
        return x + h.transpose(1, 2).unflatten(2, x.shape[2:])


class Layer(nn.Module):
    """A residual block, and attention where there is some."""

    def __init__(self, residual: Residual, look: Look | None):
        super().__init__()
        self.residual, self.look = residual, look

    def forward(self, x: Tensor, told: Tensor | None, sequence: Tensor | None, mask: Tensor | None) -> Tensor:
        x = self.residual(x, told)
        return x if self.look is None else self.look(x, sequence, mask)


class UNetNetwork(nn.Module):
    def __init__(self, spec: Spec, plan: UNet):
        super().__init__()
        widths, size = [plan.width * m for m in plan.multipliers], 4 * plan.width
        self.embed, self.all_skips = Embedding(plan.time, plan.conditioning, spec, size), plan.all_skips

        def layer(inputs: int, outputs: int, attended: bool) -> Layer:
            look = Look(outputs, plan.heads, self.embed.sequence) if attended else None
            return Layer(Residual(inputs, outputs, plan.dropout), look)

        channels = widths[0]
        self.first = nn.Conv2d(spec.shape[0], channels, 3, padding=1)
        skips = [channels] if plan.all_skips else []
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        for i, width in enumerate(widths):
            level = nn.ModuleList()
            for _ in range(plan.blocks):
                level.append(layer(channels, width, 2**i in plan.attention))
                channels = width
                skips.append(channels)
            self.down.append(level)
            if i < len(widths) - 1:
                self.shrink.append(nn.Conv2d(channels, channels, 3, stride=2, padding=1))
                skips += [channels] if plan.all_skips else []
        self.middle = nn.ModuleList(layer(channels, channels, attended) for attended in (bool(plan.attention), False))
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        for i, width in reversed(list(enumerate(widths))):
            level = nn.ModuleList()
            for _ in range(plan.blocks + plan.all_skips):
                level.append(layer(channels + skips.pop(), width, 2**i in plan.attention))
                channels = width
            self.up.append(level)
            if i:
                self.grow.append(nn.Conv2d(channels, channels, 3, padding=1))
        outputs = (spec.given or spec.shape)[0]
        self.last = nn.Sequential(
            nn.GroupNorm(8, channels), nn.SiLU(), zeroed(nn.Conv2d(channels, outputs, 3, padding=1))
        )
        # What all residual blocks are told, in one product.
        self.sizes = [2 * part.outputs for part in self.modules() if isinstance(part, Residual)]
        self.tell = nn.Linear(self.embed.width, sum(self.sizes)) if self.embed.width else None

    def forward(self, x, noise, **context):
        vector, *text = self.embed(noise, context)
        if vector is None:
            told = iter([None] * len(self.sizes))
        else:
            told = iter(self.tell(F.silu(vector))[:, :, None, None].split(self.sizes, 1))
        h = self.first(x)
        skips = [h] if self.all_skips else []
        for i, level in enumerate(self.down):
            for layer in level:
                h = layer(h, next(told), *text)
                skips.append(h)
            if i < len(self.shrink):
                h = self.shrink[i](h)
                skips += [h] if self.all_skips else []
        for layer in self.middle:
            h = layer(h, next(told), *text)
        for i, level in enumerate(self.up):
            for layer in level:
                h = layer(torch.cat((h, skips.pop()), 1), next(told), *text)
            if i < len(self.grow):
                # To the size of the next skip: odd sizes come back as they were.
                h = self.grow[i](F.interpolate(h, skips[-1].shape[2:], mode="nearest"))
        return self.last(h)
