"""Two small corruptions that ask for a text of their own: the whole original, and what was lost."""

import torch
import torch.nn.functional as F

from denoiselab.corruption import Corrupted, Written
from denoiselab.corruption.tokens import valid
from denoiselab.schedule import match
from denoiselab.spec import Spec

V = 7
TEXT = Spec("tokens", (6,), V, context=frozenset({"valid"}))


def compact(x, keep, width, pad=0):
    """What is kept of each row, moved to the left of (B, width), and where that is filled."""
    place = torch.where(keep, keep.cumsum(1) - 1, width).clamp(max=width)
    out = x.new_full((len(x), width + 1), pad).scatter_(1, place, x)[:, :width]
    return out, torch.arange(width, device=x.device) < keep.sum(1, keepdim=True)


class Whole(Written):
    """A share sigma of the tokens is deleted; the whole text is asked, and `end`."""

    def __init__(self, schedule, vocabulary=V, length=6):
        super().__init__()
        self.schedule, self.end, self.length, self.longest = schedule, vocabulary + 1, length, length + 1

    def forward(self, batch, t, random):
        x, there = batch.x, valid(batch)
        touched = (random.uniform(x.shape) < match(self.schedule.sigma(t), x)) & there
        source, filled = compact(x, there & ~touched, self.length)
        return self.asked(batch, source, filled, x, there, touched)

    def asked(self, batch, source, filled, answer, keep, touched):
        target, scored = compact(answer, keep, self.longest, self.end)
        scored = F.pad(scored[:, :-1], (1, 0), value=True)
        prefix = F.pad(target, (1, -1), value=self.end)
        return Corrupted(source, source, target, touched, scored, {"valid": filled, "prefix": prefix})

    def hidden(self, x, ok, lost, context, random):
        seen, there = compact(x, ok & ~lost, self.length)
        return seen, {**context, "valid": there}

    def rebuilt(self, x_t, written, context):
        there = ((written == self.end).cumsum(1) == 0)[:, : self.length]
        return torch.where(there, written[:, : self.length], 0), there

    def accepts(self, spec):
        return spec.of(("tokens",), self).having(
            Written, context=("valid", "prefix"), specials=("[MASK]", "[END]"), written=2, target=(self.longest,)
        )


class Lost(Whole):
    """A share sigma of the tokens is shown as the mask; what they were is asked, in their order."""

    def forward(self, batch, t, random):
        x, there = batch.x, valid(batch)
        touched = (random.uniform(x.shape) < match(self.schedule.sigma(t), x)) & there
        return self.asked(batch, torch.where(touched, self.end - 1, x), there, x, touched, touched)

    def rebuilt(self, x_t, written, context):
        hidden = x_t == self.end - 1
        answer = written.gather(1, (hidden.cumsum(1) - 1).clamp(min=0))
        return torch.where(hidden, answer, x_t), context["valid"]
