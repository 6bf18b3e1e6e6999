"""Where text is damaged, in spans whose tokens add up to round(n rate) exactly."""

import functools
import math

import torch
from torch import Tensor

from denoiselab.corruption.tokens.special import cleared
from denoiselab.corruption.tokens.where import Hit, Reach, Where, counted
from denoiselab.spec import Refused

LONGEST = 2**20  # of spans: more than any text has tokens


def laid_out(begin: Tensor, end: Tensor, used: Tensor, ok: Tensor) -> Hit:
    """Spans from their begins to their ends, (B, K), those that are used, in text that lies where `ok` (B, L)."""
    one = used.int()
    opens = ok.new_zeros(len(ok), ok.shape[1] + 1, dtype=torch.int32).scatter_add_(1, begin, one)
    turn = opens.scatter_add(1, end, one.neg_())
    return Hit(turn[:, :-1].cumsum(1, dtype=torch.int32).bool() & ok, opens)


def average(mean: float, who: str) -> float:
    if not 1 <= mean <= LONGEST:
        raise Refused(f"where.mean is the mean length of {who}, in tokens", mean, "give 1 or more, as 3")
    return mean


def cuts(total: Tensor, count: Tensor, width: int, random) -> Tensor:
    """(B, width): where `count` positive integers that add up to `total` end, uniform over all such; then `total`.

    By Polya's urn, which holds a ball of each of total - count + 1 kinds: each ball drawn is put back with another of
    its kind, so that count - 1 draws are uniform over multisets of kinds; that of rank i, sorted, is a cut i + 1 later.
    """
    i = torch.arange(width, device=total.device)
    kinds = (total - count + 1)[:, None]
    ball = random.integers((kinds + i).clamp_(min=1), (len(total), width))
    whose = torch.where(ball < kinds, i, ball - kinds)  # of a ball that was put there: the draw it is a copy of
    for _ in range((width - 1).bit_length()):
        whose = whose.gather(1, whose)
    last = i >= (count - 1)[:, None]
    cut = ball.gather(1, whose).masked_fill_(last, LONGEST).sort(1).values
    return (cut + i + 1).minimum(total[:, None])


@functools.lru_cache(256)
def segments(length: int, mean: float, high: float) -> int:
    """The most spans of random segmentation."""
    most = min(length - 1, math.ceil(length * high) + 1)
    return max((min(max(1, round(hit / mean)), length - hit) for hit in range(1, most + 1)), default=1)


class RandomSpans(Where):
    """T5's random segmentation (Raffel et al., 2019, arXiv:1910.10683): d = round(n rate) tokens in round(d / mean)
    spans; d and n - d are cut into as many positive parts, uniformly over all cuts, laid out clean, hit, clean, hit ...

    As published at least one token is hit (if the rate is above 0) and at least one is not, and the first never is.
    """

    def __init__(self, mean: float = 3.0):
        self.mean = average(mean, "spans")

    def __call__(self, ok, rate, spans, context, random):
        n, hit = counted(ok, rate)
        hit = torch.where(rate > 0, hit.clamp(min=1), hit).minimum(n - 1).clamp(min=0)
        count = (hit / self.mean).round().long().clamp(min=1).minimum(n - hit).minimum(hit)
        clean = cuts(n - hit, count, spans, random.child("clean"))
        away = cuts(hit, count, spans, random.child("hit"))
        used = torch.arange(spans, device=ok.device) < count[:, None]
        return laid_out(clean + torch.nn.functional.pad(away, (1, -1)), clean + away, used, ok)

    def reach(self, length, low, high):
        hit, seen = math.ceil(length * high) + 1, length * (1 - low + low / self.mean)
        return Reach(min(length, hit), segments(length, self.mean, high), min(length, math.ceil(seen) + 2), high)

    def accepts(self, spec):
        return spec


class DrawnSpans(Where):
    """Lengths are drawn until round(n rate) tokens are hit, the last cut to fit; where each span lies among the tokens
    that are not hit is uniform. Spans may touch. A subclass says the law of lengths."""

    def __init__(self, mass: Tensor):
        """`mass` (K,) float64 are the probabilities of the lengths 0, 1, 2 ..."""
        size = torch.arange(len(mass), dtype=torch.float64)
        self.cdf = mass.cumsum(0)
        self.mean = float((size * mass).sum())
        self.std = float(((size - self.mean).square() * mass).sum().sqrt())

    def draws(self, length: int, high: float) -> int:
        """Enough draws, but for one row in 10^9, whose last span is longer."""
        expected = length * high / self.mean
        return math.ceil(expected + 6 * self.std / self.mean * math.sqrt(expected)) + 8

    def __call__(self, ok, rate, spans, context, random):
        (b, length), (n, hit) = ok.shape, counted(ok, rate)
        size = torch.searchsorted(self.cdf.to(ok.device), random.child("size").uniform((b, spans)).double(), right=True)
        ends = size.clamp_(max=len(self.cdf) - 1).cumsum(1).minimum(hit[:, None])
        ends[:, -1] = hit
        size = ends.diff(dim=1, prepend=ends.new_zeros(b, 1))
        used = ends - size < hit[:, None]
        count = used.sum(1, keepdim=True)
        # The last one drawn, which is cut, changes places with any.
        last, any = (count - 1).clamp(min=0), random.child("place").integers(count, (b, 1))
        size = size.scatter(1, last, size.gather(1, any)).scatter_(1, any, size.gather(1, last))
        # Sorted uniforms, as exponential draws between them: how many clean tokens lie before each span.
        sum = random.child("gap").uniform((b, spans + 1)).double().neg_().log1p_().cumsum(1)
        gap = (sum[:, :-1] / sum.gather(1, count) * (n - hit + 1)[:, None]).long().minimum((n - hit)[:, None])
        begin = torch.where(used, gap + size.cumsum(1) - size, length)
        return laid_out(begin, begin + cleared(size, used), used, ok)

    def reach(self, length, low, high):
        k = self.draws(length, high)
        return Reach(min(length, round(length * high) + 1), k, int(length * (1 - low)) + 1 + k, high)

    def accepts(self, spec):
        return spec


class PoissonSpans(DrawnSpans):
    """BART's: lengths are Poisson, 0 included, where nothing is hit and a span begins all the same (Lewis et al., 2019,
    arXiv:1910.13461, mean 3)."""

    def __init__(self, mean: float = 3.0):
        average(mean, "spans")
        if mean > 512:
            raise Refused("where.mean is the mean length of spans, in tokens", mean, "give at most 512")
        i = torch.arange(math.ceil(mean + 12 * math.sqrt(mean)) + 24, dtype=torch.float64)
        mass = (i * math.log(mean) - mean - (i + 1).lgamma()).exp()
        super().__init__(mass / mass.sum())


class GeometricSpans(DrawnSpans):
    """SpanBERT's: lengths are geometric, up to `longest` (Joshi et al., 2019, arXiv:1907.10529: stop 0.2, longest 10,
    which is a mean of 3.8)."""

    def __init__(self, stop: float = 0.2, longest: int = 10):
        if not 0 < stop <= 1:
            raise Refused("where.stop is the chance that a span ends with a token", stop, "give one in (0, 1], as 0.2")
        if not 1 <= longest <= 4096:
            raise Refused("where.longest is the longest span, in tokens", longest, "give 1 to 4096, as 10")
        i = torch.arange(longest, dtype=torch.float64)
        mass = torch.nn.functional.pad(stop * (1 - stop) ** i, (1, 0))
        super().__init__(mass / mass.sum())
