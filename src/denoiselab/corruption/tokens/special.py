"""Special tokens: their ids, always in this order behind the V clean ones, and how they are shown.

The mask is V, the end (and beginning) of what is written V + 1, the sentinels follow from V + 2, then the mode tokens.
A corruption reserves the first of them that it needs, so an id means the same whatever the corruption.
"""

import torch
from torch import Tensor

from denoiselab.spec import Refused

SHOWN = ("[MASK]", "[END]")
SENTINEL = len(SHOWN)  # of the first sentinel, behind the clean tokens


def shown(sentinels: int, modes: tuple[str, ...] = ()) -> tuple[str, ...]:
    """How the mask, the end, so many sentinels and the modes are shown."""
    return (*SHOWN, *(f"[{i}]" for i in range(sentinels)), *modes)


def clean(x: Tensor, vocabulary: int) -> None:
    """Refuses text (B, L) that holds ids of special tokens. Looked at on the CPU alone: a GPU would have to wait."""
    if x.device.type == "cpu" and x.numel() and not (0 <= int(x.min()) and int(x.max()) < vocabulary):
        raise Refused(
            f"clean text has the ids 0 to {vocabulary - 1}; special tokens have those from {vocabulary} on",
            f"ids {int(x.min())} to {int(x.max())}", "give text without special tokens, or its whole vocabulary",
        )  # fmt: skip


def starts(mask: Tensor) -> Tensor:
    """Where runs of True begin, (B, L) bool."""
    return mask & ~torch.nn.functional.pad(mask, (1, -1))
