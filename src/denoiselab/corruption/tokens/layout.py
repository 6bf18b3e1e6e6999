"""Laying out rows of other lengths: gather, scatter and cumulative sums with static shapes, no look from the host."""

import torch
from torch import Tensor

from denoiselab.corruption.tokens.special import cleared, select


def within(total: Tensor, width: int) -> Tensor:
    """The first `total` (B,) places of each row, (B, width) bool."""
    return torch.arange(width, device=total.device) < total[:, None]


def compact(x: Tensor, keep: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """What is kept of each row (B, L), moved to the left of (B, width), 0 behind it; and where it is."""
    count = keep.long().cumsum(1)
    place = select(~keep, width, (count - 1).clamp_(max=width))
    return x.new_zeros(len(x), width + 1).scatter_(1, place, x)[:, :width], within(count[:, -1], width)


def laid(x: Tensor, keep: Tensor, opens: Tensor, width: int, special: int, numbered: bool) -> tuple[Tensor, Tensor]:
    """What is kept of each row (B, L), with opens[:, i] special tokens before token i, (B, L + 1); and where it is,
    both (B, width). The special tokens of a row are `special`, or `special`, `special` + 1 ... if they are numbered."""
    count = (opens[:, :-1] + keep).cumsum(1)
    place = select(~keep, width, (count - 1).clamp_(max=width))
    there = within(count[:, -1] + opens[:, -1], width)
    out = x.new_full((len(x), width + 1), -1 if numbered else special).scatter_(1, place, x)[:, :width]
    if numbered:
        gap = out < 0
        out = select(gap, gap.long().cumsum(1).add_(special - 1), out)
    return cleared(out, there), there


def shuffled(chosen: Tensor, u: Tensor, group: Tensor | None = None) -> Tensor:
    """Indices (B, N) that permute the chosen places of each row among themselves, in the order of u in [0, 1); those of
    a `group`, (B, N) numbers below N that never fall, among themselves alone."""
    n = chosen.shape[1]
    index = torch.arange(n, device=chosen.device).expand_as(chosen)
    u = u.double() if group is None else u.double() + group
    which = torch.where(chosen, u, n + index).argsort(dim=1, stable=True)  # the chosen by u, then the others in order
    return index.scatter(1, first(chosen), which)


def first(chosen: Tensor) -> Tensor:
    """Indices (B, N) of the chosen places of each row, in order, then of the others, in order."""
    index = torch.arange(chosen.shape[1], device=chosen.device).expand_as(chosen)
    rank = chosen.long().cumsum(1)
    place = select(chosen, rank - 1, rank[:, -1:] + index - rank)
    return torch.empty_like(index).scatter_(1, place, index)


def shuffled_groups(group: Tensor, touched: Tensor, ok: Tensor, u: Tensor, within: Tensor | None = None) -> Tensor:
    """Indices (B, L) that permute the groups with a touched token among themselves. Groups are runs of tokens with one
    number below L; numbers never fall. Those `within` a larger one, numbered likewise, among themselves alone."""
    n = int(group.max()) + 1 if group.device.type == "cpu" and group.numel() else group.shape[1]  # a GPU would wait
    zero, u = group.new_zeros(len(group), n), u[:, :n]
    size = zero.scatter_add(1, group, ok.long())
    begin = size.cumsum(1) - size
    chosen = zero.scatter_add(1, group, (touched & ok).long()) > 0
    if within is not None:  # of each group; the places of numbers that no group has are behind
        within = torch.full_like(zero, n).scatter_reduce_(1, group, within, "amin")
    sequence = shuffled(chosen, u, within)
    sizes = size.gather(1, sequence)
    moved = torch.empty_like(size).scatter_(1, sequence, sizes.cumsum(1) - sizes)  # where each group begins now
    index = torch.arange(group.shape[1], device=group.device).expand_as(group)
    place = index + cleared((moved - begin).gather(1, group), ok)
    return torch.empty_like(index).scatter_(1, place, index)


def renumbered(number: Tensor) -> Tensor:
    """Numbers (B, L) of words or sentences after their order changed: from 0 on, a new one at each change."""
    change = number[:, 1:] != number[:, :-1]
    return torch.nn.functional.pad(change.long(), (1, 0)).cumsum(1)
