"""A text of its own, written token by token."""

import torch
from torch import Tensor

from denoiselab.denoiser import Decodes
from denoiselab.posterior import Categorical
from denoiselab.sampler.base import Sampler, nothing
from denoiselab.schedule import LOUDEST
from denoiselab.spec import Refused

LOOK = 16  # tokens between two looks at whether all texts have ended: a look waits for a GPU


class Autoregressive(Sampler):
    """From left to right until `end`: what is written, (B, T), `end` at all places from the first one on.

    `temperature` 0 takes the most likely token each time; else logits are divided by it and tokens drawn, of the
    `top_k` most likely ones (None: all; Fan et al., 2018, arXiv:1805.04833), and of these of the fewest that together
    have the probability `top_p` (Holtzman et al., 2019, arXiv:1904.09751). Token i is drawn from child i.
    """

    def __init__(self, temperature: float = 0.0, top_k: int | None = None, top_p: float = 1.0):
        if not (temperature == 0 or 1 / LOUDEST <= temperature <= LOUDEST):
            raise Refused("sampler.temperature divides logits", temperature, "give 0 for the most likely tokens, or 1")
        if top_k is not None and top_k < 1:
            raise Refused("sampler.top_k counts tokens that may be drawn", top_k, "give at least 1, or null for all")
        if not 0 < top_p <= 1:
            raise Refused("sampler.top_p is a probability", top_p, "give more than 0, and at most 1")
        if temperature == 0 and (top_k is not None or top_p < 1):
            got = f"temperature=0 top_k={top_k} top_p={top_p}"
            raise Refused("nothing is drawn at temperature 0", got, "give sampler.temperature=1 too")
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p

    @torch.no_grad()
    def __call__(self, denoiser, corruption, x_t, t, random, pulse=nothing, **context):
        length, end = corruption.longest, corruption.end
        memory = denoiser.encode(x_t, t, **context)
        cache = denoiser.cache(memory, length)
        written = x_t.new_full((len(x_t), length), end)
        token, ended = written[:, 0].clone(), torch.zeros(len(x_t), dtype=torch.bool, device=x_t.device)
        for i in range(length):
            token = self.chosen(denoiser.decode(token, i, memory, cache), random.child(i))
            token = torch.where(ended, end, token)
            written[:, i], ended = token, ended | (token == end)
            if i % LOOK == LOOK - 1:
                pulse()
                if ended.all():
                    break
        return written

    def chosen(self, belief: Categorical, random) -> Tensor:
        """A token a row, (B,)."""
        if self.temperature == 0:
            return belief.mode
        logits = belief.logits / self.temperature
        if self.top_k is not None:
            least = logits.topk(min(self.top_k, logits.shape[-1]), -1).values[..., -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        if self.top_p < 1:
            ordered, order = logits.sort(-1, descending=True)
            p = ordered.softmax(-1)
            # One is left out where those before it have the probability already; the first never is.
            out = (p.cumsum(-1) - p) >= self.top_p
            logits = logits.masked_fill(torch.zeros_like(out).scatter(-1, order, out), -torch.inf)
        # A row at a time has an axis of places, as draws have.
        return Categorical(logits[:, None]).sample(random)[:, 0]

    @property
    def calls(self):
        return 1

    def accepts(self, spec):
        return spec.needs(Decodes, self, "use parameterization=autoregressive, or another sampler: one_shot, ancestral")
