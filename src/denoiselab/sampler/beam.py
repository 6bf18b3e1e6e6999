"""A text of its own, written along several paths at once."""

from collections.abc import Mapping

import torch
from torch import Tensor

from denoiselab.denoiser import Decodes
from denoiselab.posterior import Categorical
from denoiselab.sampler.autoregressive import LOOK
from denoiselab.sampler.base import Sampler, nothing
from denoiselab.spec import Refused


class Beam(Sampler):
    """Of `width` texts at a time the likeliest: what is written, (B, T), `end` at all places from the first one on.

    All ways to go on are ranked by log p; a text that has ended stays as it is, and in the beam while it is likely
    enough. Of those left the one with the greatest log p / ((5 + n) / 6)^length_penalty is taken, n tokens, `end` among
    them (Wu et al., 2016, arXiv:1609.08144, eq. 14; 4 and 0.6 as Vaswani et al., 2017, arXiv:1706.03762, section 6.1).
    Width 1 is greedy; a beam as wide as there are texts is exact. Nothing is drawn.
    """

    def __init__(self, width: int = 4, length_penalty: float = 0.6):
        if not 1 <= width <= 4096:
            raise Refused("sampler.width counts the texts that are followed", width, "give 1 or more, as 4")
        if not -10 <= length_penalty <= 10:
            what = "sampler.length_penalty is the power of the length that log p is divided by"
            raise Refused(what, length_penalty, "give 0 for none, or 0.6")
        self.width, self.length_penalty = width, length_penalty

    @torch.no_grad()
    def __call__(self, denoiser, corruption, x_t, t, random, pulse=nothing, **context):
        length, end, (b, w) = corruption.longest, corruption.end, (len(x_t), self.width)
        first = torch.arange(b, device=x_t.device)[:, None] * w  # of the paths of each row, (B, 1)
        memory = taken(denoiser.encode(x_t, t, **context), (first // w).expand(b, w).flatten())
        cache = denoiser.cache(memory, length)
        written = x_t.new_full((b * w, length), end)
        token, ended = written[:, 0].clone(), torch.zeros(b * w, dtype=torch.bool, device=x_t.device)
        # At the start the paths of a row are one.
        total = torch.full((b, w), -torch.inf, dtype=torch.float64, device=x_t.device)
        total[:, 0] = 0
        for i in range(length):
            said = continued(denoiser.decode(token, i, memory, cache), ended, end)  # (B w, V)
            total, which = (total[..., None] + said.view(b, w, -1)).flatten(1).topk(w, dim=1)
            path = (first + which // said.shape[1]).flatten()
            token = (which % said.shape[1]).flatten()
            written, ended, cache = written[path], ended[path], taken(cache, path)
            written[:, i], ended = token, ended | (token == end)
            if i % LOOK == LOOK - 1:
                pulse()
                if ended.all():
                    break
        n = ((written == end).cumsum(1) == 0).sum(1) + ended
        best = (total / ((5 + n.view(b, w).double()) / 6) ** self.length_penalty).argmax(1)
        return written[first[:, 0] + best]

    @property
    def calls(self):
        return self.width

    def accepts(self, spec):
        return spec.needs(Decodes, self, "use parameterization=autoregressive, or another sampler: one_shot, ancestral")


def continued(belief: Categorical, ended: Tensor, end: int) -> Tensor:
    """log p of the next token of each path, (N, V) float64: after the end, of nothing but the end."""
    only = torch.full_like(belief.logits[0], -torch.inf, dtype=torch.float64)
    only[end] = 0
    return torch.where(ended[:, None], only, belief.log_probs.double())


def taken(tree, index: Tensor):
    """Rows of all tensors in a memory or a cache, whose first axis is the batch."""
    if isinstance(tree, Tensor):
        return tree[index] if tree.ndim else tree
    if isinstance(tree, Mapping):
        return type(tree)(**{name: taken(value, index) for name, value in tree.items()})
    if isinstance(tree, tuple):
        rows = [taken(value, index) for value in tree]
        return tuple(rows) if type(tree) is tuple else type(tree)(*rows)
    return tree
