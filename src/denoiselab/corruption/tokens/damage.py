"""Damage to text in three parts: *where* it is hit, how that is *shown*, what is *asked*. A schedule says the rate.

A combination whose answer has a place for each token is trained like any denoiser. The others are `Written`: the
network reads what is seen, (B, S), and writes the target, (B, T), token by token. S and T are the most that L tokens
can need, so that shapes say nothing of the data. A text that is written is of one document: rows of several are
refused.

A `Chain` damages what a chain of links has damaged before, each link with its schedule, and asks for the first text.
Of `touched` it knows what was hit until a link changed the length.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denoiselab.corruption.base import Corrupted, Local, Written, severity
from denoiselab.corruption.tokens.asked import All, Asked, Compared, Spans
from denoiselab.corruption.tokens.layout import renumbered
from denoiselab.corruption.tokens.pointwise import spoken, valid
from denoiselab.corruption.tokens.shown import Generated, Shown
from denoiselab.corruption.tokens.special import clean, shown
from denoiselab.corruption.tokens.where import Hit, Reach, Where
from denoiselab.schedule import Schedule
from denoiselab.spec import Refused

NUMBERED = ("word", "sentence", "segment")  # of the context: numbers of what a token belongs to
PLACED = (*NUMBERED, "entity")  # one a token of clean text


def widest(schedules: list[Schedule]) -> Schedule:
    """The one that can be asked at the most times: where parts have their own, each brings times to where it is
    finite."""
    return max(schedules, key=lambda schedule: schedule.t_max - schedule.t_min)


class Link(nn.Module):
    """A link of a chain: where, how it is shown, and how much of it at which time."""

    def __init__(self, schedule: Schedule, where: Where, shown: Shown):
        super().__init__()
        self.schedule, self.where, self.shown = schedule, where, shown
        ends = (schedule.sigma(torch.tensor(t, dtype=torch.float64)).item() for t in (0.0, 1.0))
        self.low, self.high = (min(max(end, 0.0), 1.0) for end in ends)

    def reach(self, length: int) -> Reach:
        return self.where.reach(length, self.low, self.high)

    def width(self, length: int) -> int:
        return self.shown.width(length, self.reach(length))

    def forward(self, x, ok, t, context, random):
        """What is hit and what is seen."""
        most, t = self.reach(x.shape[1]), t.double().clamp(self.schedule.t_min, self.schedule.t_max)
        rate = self.schedule.sigma(t).clamp(0, 1).expand(len(x))
        hit = self.where(ok, rate, most.spans, context, random)
        return hit, self.shown(x, ok, hit, most, context, random)

    def accepts(self, spec):
        """Of the text that is seen next."""
        most = self.reach(spec.shape[0])
        spec = self.shown.accepts(self.where.accepts(severity(spec, self)), most)
        lost = frozenset() if self.shown.keeps else frozenset(PLACED)
        return spec._replace(shape=(self.width(spec.shape[0]),), context=spec.context - lost)


class Text(Written):
    """Links, and a question about what they did to the text. `Written` is claimed where the answer is written."""

    def __init__(self, vocabulary: int, links: list[Link], asked: Asked):
        super().__init__()
        asked.fits([link.shown for link in links])
        self.vocabulary, self.links, self.asked = vocabulary, nn.ModuleList(links), asked
        self.schedule = widest([link.schedule for link in links])
        self.sentinels = max(link.shown.sentinels for link in links)
        self.end, self.longest = vocabulary + 1, 0

    @property
    def mask(self) -> int:
        return self.vocabulary

    def forward(self, batch, t, random):
        x, ok = batch.x, valid(batch)
        clean(x, self.vocabulary)
        context, seen, there, order, touched, same = dict(batch.context), x, ok, None, None, True
        for i, link in enumerate(self.links):
            hit, step = link(seen, there, t, context, random.child(i) if i else random)
            if touched is None:
                touched = hit.touched
            elif same:  # what is hit now stands elsewhere in the clean text
                now = hit.touched if order is None else hit.touched.new_zeros(x.shape).scatter_(1, order, hit.touched)
                touched = touched | now
            same = same and link.shown.keeps
            if step.order is not None:
                order = step.order if order is None else order.gather(1, step.order)
                context |= moved(context, step.order)
            if not link.shown.keeps:
                context = {key: value for key, value in context.items() if key not in PLACED}
            seen, there, context = step.x, step.ok, {**context, **step.told}
        hit = hit if touched is hit.touched else Hit(touched)
        question = self.asked(x, ok, hit, seen, self.links[0].reach(x.shape[1]), self.end)
        if self.asked.writes:
            context |= {"valid": there, "prefix": F.pad(question.target, (1, -1), value=self.end)}
        return Corrupted(seen, seen, question.target, touched, question.scored, context)

    def seen(self, length: int) -> int:
        """Places of what is seen of `length` tokens, S."""
        for link in self.links:
            length = link.width(length)
        return length

    def target(self, length: int) -> int:
        """Places of what is asked, T."""
        return self.asked.width(length, self.links[0].reach(length))

    def rebuilt(self, x_t, written, context):
        ok = context.get("valid", torch.ones_like(x_t, dtype=torch.bool))
        return self.asked.rebuilt(x_t, ok, written, self.vocabulary)

    def hidden(self, x, ok, lost, context, random):
        lost, length = lost & ok, x.shape[1]
        link = next((link for link in reversed(self.links) if link.shown.hides), None)
        if link is None:
            return x.masked_fill(lost, self.mask), context
        hit, spread = Hit(lost), not link.shown.keeps
        spans = hit.opens.sum(1)
        self.holds("spans", spans, link.shown.sentinels or length)
        self.holds("tokens and spans to be seen", (ok & ~lost).sum(1) + spans, self.seen(length) if spread else length)
        if isinstance(self.asked, Spans):
            self.holds("tokens and spans to be written", lost.sum(1) + spans + 1, self.target(length))
        step = link.shown(x, ok, hit, link.reach(length)._replace(shown=self.seen(length)), context, random)
        return step.x, {key: value for key, value in context.items() if key not in PLACED} | {"valid": step.ok}

    def holds(self, what: str, needed: Tensor, room: int) -> None:
        if len(needed) and (most := int(needed.max())) > room:
            raise Refused(f"this corruption has room for {room} {what}", most, "hide less, or in longer spans")

    def accepts(self, spec):
        spec = spoken(spec.of(("tokens",), self), self, self.vocabulary)
        length = spec.shape[0]
        if self.asked.writes and "segment" in spec.context:
            raise Refused("what is written is of one document, and here a row has several", "data.layout=packed",
                          "give data.layout=padded, or windows, where one document runs on into the next")  # fmt: skip
        for link in self.links:
            spec = link.accepts(spec)
        if not self.asked.writes:
            generates = any(link.shown.generates for link in self.links)
            facts = [*[Compared] * self.asked.compares, *[Local] * isinstance(self.asked, All)]
            facts += [Generated] * generates
            return spec.having(*facts, specials=shown(0)[:1], context=["dice"] * generates)
        self.longest = self.target(length)
        return spec.having(
            Written, context=["valid", "prefix"], specials=shown(self.sentinels), target=(self.longest,),
            written=self.asked.special(self.sentinels),
        )  # fmt: skip


def moved(context: dict, order) -> dict:
    """What belongs to tokens, after they took other places."""
    new = {key: renumbered(context[key].gather(1, order)) for key in NUMBERED if key in context}
    return new | {key: context[key].gather(1, order) for key in ("entity",) if key in context}


class Damage(Text):
    """Where x shown x asked, at the rate of one schedule."""

    def __init__(self, schedule: Schedule, vocabulary: int, where: Where, shown: Shown, asked: Asked):
        super().__init__(vocabulary, [Link(schedule, where, shown)], asked)


class Chain(Text):
    """Damage upon damage: BART permutes sentences, then infills (Lewis et al., 2019, arXiv:1910.13461)."""

    def __init__(self, vocabulary: int, links: list[Link], asked: Asked):
        if not links:
            raise Refused("corruption.links are what a chain is made of", "no link", "give one or more")
        super().__init__(vocabulary, links, asked)
