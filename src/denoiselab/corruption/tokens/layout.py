"""Laying out rows of other lengths: gather, scatter and cumulative sums with static shapes, no look from the host."""

import torch
from torch import Tensor


def within(total: Tensor, width: int) -> Tensor:
    """The first `total` (B,) places of each row, (B, width) bool."""
    return torch.arange(width, device=total.device) < total[:, None]


def compact(x: Tensor, keep: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """What is kept of each row (B, L), moved to the left of (B, width), 0 behind it; and where it is."""
    place = torch.where(keep, keep.cumsum(1) - 1, width).clamp_(max=width)
    out = x.new_zeros(len(x), width + 1).scatter_(1, place, x)[:, :width]
    there = within(keep.sum(1), width)
    return out.masked_fill(~there, 0), there


def laid(x: Tensor, keep: Tensor, opens: Tensor, width: int, special: int, step: int) -> tuple[Tensor, Tensor]:
    """What is kept of each row (B, L), with opens[:, i] special tokens before token i, (B, L + 1); and where it is,
    both (B, width). The special tokens of a row are `special`, `special` + step, `special` + 2 step ..."""
    place = keep.cumsum(1).sub_(1).add_(opens[:, :-1].cumsum(1)).masked_fill_(~keep, width).clamp_(max=width)
    out = x.new_full((len(x), width + 1), -1).scatter_(1, place, x)[:, :width]
    there = within(keep.sum(1) + opens.sum(1), width)
    gap = (out < 0) & there
    fill = special + step * (gap.cumsum(1) - 1) if step else special
    return torch.where(gap, fill, out).masked_fill_(~there, 0), there


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
    rank = chosen.cumsum(1)
    place = torch.where(chosen, rank - 1, rank[:, -1:] + index - rank)
    return torch.empty_like(index).scatter_(1, place, index)


def shuffled_groups(group: Tensor, touched: Tensor, ok: Tensor, u: Tensor, within: Tensor | None = None) -> Tensor:
    """Indices (B, L) that permute the groups with a touched token among themselves. Groups are runs of tokens with one
    number below L; numbers never fall. Those `within` a larger one, numbered likewise, among themselves alone."""
    zero = torch.zeros_like(group)
    size = zero.scatter_add(1, group, ok.long())
    begin = size.cumsum(1) - size
    chosen = zero.scatter_add(1, group, (touched & ok).long()) > 0
    if within is not None:  # of each group; the places of numbers that no group has are behind
        within = torch.full_like(group, group.shape[1]).scatter_reduce_(1, group, within, "amin")
    sequence = shuffled(chosen, u, within)
    sizes = size.gather(1, sequence)
    moved = torch.empty_like(group).scatter_(1, sequence, sizes.cumsum(1) - sizes)  # where each group begins now
    index = torch.arange(group.shape[1], device=group.device).expand_as(group)
    place = torch.where(ok, index + (moved - begin).gather(1, group), index)
    return torch.empty_like(index).scatter_(1, place, index)


def renumbered(number: Tensor) -> Tensor:
    """Numbers (B, L) of words or sentences after their order changed: from 0 on, a new one at each change."""
    change = number[:, 1:] != number[:, :-1]
    return torch.nn.functional.pad(change.long().cumsum(1), (1, 0))
