"""Weighted sums of tensors whose weights a plan knows before any tensor is there."""

from torch import Tensor

from denoiselab.schedule import match


def number(a: Tensor) -> Tensor | float:
    """A weight (B,) as it is, one of shape () as a float: that goes with tensors of any type and launches no kernel."""
    return a if a.ndim else a.item()


def shaped(a: Tensor | float, x: Tensor) -> Tensor | float:
    """A weight that broadcasts against x (B, *), in its type."""
    return a if isinstance(a, float) else match(a.to(x.dtype), x)


def mixed(a: Tensor | float, x: Tensor, *terms: tuple[Tensor | float, Tensor]) -> Tensor:
    """a x + b y + ... of pairs (b, y): all weights floats, or all (B,)."""
    total = shaped(a, x) * x
    for b, y in terms:
        total = total.add_(y, alpha=b) if isinstance(b, float) else total + shaped(b, y) * y
    return total
