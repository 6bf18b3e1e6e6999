"""Special tokens: their ids, always in this order behind the V clean ones, and how they are shown.

The mask is V, the end (and beginning) of what is written V + 1, the sentinels follow from V + 2, then the mode tokens.
A corruption reserves the first of them that it needs, so an id means the same whatever the corruption.
"""

import torch
from torch import Tensor

from denoiselab.randomness import below
from denoiselab.spec import Refused

SHOWN = ("[MASK]", "[END]")
SENTINEL = len(SHOWN)  # of the first sentinel, behind the clean tokens


def shown(sentinels: int, modes: tuple[str, ...] = ()) -> tuple[str, ...]:
    """How the mask, the end, so many sentinels and the modes are shown."""
    return (*SHOWN, *(f"[{i}]" for i in range(sentinels)), *modes)


def clean(x: Tensor, vocabulary: int) -> None:
    """Refuses text (B, L) that holds ids of special tokens. Looked at on the CPU alone: a GPU would have to wait."""
    if x.device.type != "cpu" or not x.numel():
        return
    low, high = (int(end) for end in x.aminmax())
    if not (0 <= low and high < vocabulary):
        raise Refused(
            f"clean text has the ids 0 to {vocabulary - 1}; special tokens have those from {vocabulary} on",
            f"ids {low} to {high}", "give text without special tokens, or its whole vocabulary",
        )  # fmt: skip


def select(mask: Tensor, a: Tensor | int, b: Tensor) -> Tensor:
    """`torch.where` of integers: a where the mask is True, else b. On a CPU three times as fast if the mask is random,
    since it has no branch to guess wrong."""
    return (b ^ a).bitwise_and_(mask.to(b.dtype).neg_()).bitwise_xor_(b)


def cleared(x: Tensor, keep: Tensor) -> Tensor:
    """x, 0 where it is not kept."""
    return keep.to(x.dtype).neg_().bitwise_and_(x)


def masked(x: Tensor, touched: Tensor, vocabulary: int, swapped: float, kept: float, random) -> Tensor:
    """x (B, L) with the mask at the tokens touched; but a share `swapped` of them as random tokens, a share `kept` as
    they were."""
    if not swapped + kept:
        return select(touched, vocabulary, x)
    how = random.words(x.shape) & 0x7FFFFFFF
    shown: Tensor | int = vocabulary
    if swapped:
        # Of vocabulary / swapped places the first are tokens, the next the mask and, last, those that are kept.
        place = how.double().mul_(vocabulary / swapped * 2.0**-31)
        shown = place.clamp_(max=vocabulary).int().long()  # by way of int32: twice as fast on a CPU
    if kept:
        touched = touched & below(how, min(2.0**31 * (1 - kept), 2.0**31 - 1))
    return select(touched, shown, x)


def starts(mask: Tensor) -> Tensor:
    """Where runs of True begin, (B, L) bool."""
    return mask & ~torch.nn.functional.pad(mask, (1, -1))
