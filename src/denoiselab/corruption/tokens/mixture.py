"""Mixtures: each text is damaged by one of several corruptions, drawn for it, and told which by a mode token."""

import torch
import torch.nn.functional as F
from torch import Tensor

from denoiselab.corruption.base import Batch, Corrupted, Written
from denoiselab.corruption.tokens.damage import PLACED, Text, widest
from denoiselab.corruption.tokens.special import SENTINEL, shown
from denoiselab.randomness import Keyed
from denoiselab.spec import Refused


class Mixture(Written):
    """UL2's mixture of denoisers (Tay et al., 2022, arXiv:2205.05131): `members` with their schedules, drawn in
    proportion to `shares`; the token of a member's mode, such as [R], stands in front of what is seen.

    Members that write are mixed, all of which ask the same way; so an answer means a text without knowing its member.
    """

    def __init__(self, vocabulary: int, members: list[Text], shares: list[float], modes: list[str]):
        super().__init__()
        if not members or not len(members) == len(shares) == len(modes):
            got = f"{len(members)} members, {len(shares)} shares, {len(modes)} modes"
            raise Refused("each member of a mixture has a share and a mode", got, "give as many of each, one at least")
        if not (all(0 <= share <= 1e6 for share in shares) and 0 < sum(shares)):
            raise Refused("corruption.shares are in proportion to how often each member is drawn", shares,
                          "give numbers of 0 or more, one above 0")  # fmt: skip
        kinds = {(type(member.asked), member.sentinels) for member in members}
        if len(kinds) > 1 or not members[0].asked.writes:
            got = ", ".join(sorted({f"{kind.__name__} with {n} sentinels" for kind, n in kinds}))
            raise Refused("members of a mixture write, and are all asked the same way", got,
                          "give each asked: spans with as many sentinels, or each asked: original")  # fmt: skip
        self.vocabulary, self.members = vocabulary, torch.nn.ModuleList(members)
        self.schedule, self.sentinels = widest([member.schedule for member in members]), members[0].sentinels
        self.names = tuple(dict.fromkeys(modes))
        self.end, self.longest = vocabulary + 1, 0
        first = vocabulary + SENTINEL + self.sentinels
        self.register_buffer("mode", torch.tensor([first + self.names.index(m) for m in modes]), persistent=False)
        total = torch.tensor(shares, dtype=torch.float64).cumsum(0)
        self.register_buffer("ends", total / total[-1], persistent=False)

    @property
    def mask(self) -> int:
        return self.vocabulary

    def forward(self, batch, t, random):
        u = random.child("member").uniform((len(batch.x), 1))[:, 0].double()
        which = torch.searchsorted(self.ends, u, right=True).clamp(max=len(self.members) - 1)
        t, length = t.expand(len(batch.x)), batch.x.shape[1]
        whole = blank(batch, self.seen(length), self.asked(length), self.vocabulary + 1)
        for i, member in enumerate(self.members):
            source = random.child(f"member {i}")
            if batch.x.device.type == "cpu" and isinstance(source, Keyed):
                rows = (which == i).nonzero()[:, 0]
                if len(rows):
                    part = Batch(batch.x[rows], batch.key[rows], {k: v[rows] for k, v in batch.context.items()})
                    part = fields(member(part, t[rows], Keyed(source.key[rows], source.salt)))
                    for key, value in whole.items():
                        value[rows, : part[key].shape[1]] = part[key]
            else:  # rows of each member are known to the device alone
                part = fields(member(batch, t, source))
                for key, value in whole.items():
                    narrow = value[:, : part[key].shape[1]]
                    narrow.copy_(torch.where((which == i)[:, None], part[key], narrow))
        seen = torch.cat((self.mode[which][:, None], whole["seen"]), 1)
        there = F.pad(whole["valid"], (1, 0), value=True)
        kept = {key: value for key, value in batch.context.items() if key not in PLACED}
        context = {**kept, "valid": there, "prefix": F.pad(whole["target"], (1, -1), value=self.end)}
        return Corrupted(seen, seen, whole["target"], whole["touched"], whole["scored"], context)

    def seen(self, length: int) -> int:
        """Places of the widest member's text, the mode not counted."""
        return max(member.seen(length) for member in self.members)

    def asked(self, length: int) -> int:
        return max(member.target(length) for member in self.members)

    def rebuilt(self, x_t, written, context):
        inner = {**context, "valid": context["valid"][:, 1:]}
        return self.members[0].rebuilt(x_t[:, 1:], written, inner)

    def hidden(self, x, ok, lost, context, random):
        """In the way of the first member, with its mode."""
        seen, context = self.members[0].hidden(x, ok, lost, context, random)
        room = self.seen(x.shape[1]) - seen.shape[1]
        seen = torch.cat((self.mode[:1].expand(len(x), 1), F.pad(seen, (0, room))), 1)
        return seen, {**context, "valid": F.pad(F.pad(context["valid"], (0, room)), (1, 0), value=True)}

    def accepts(self, spec):
        (length,) = spec.of(("tokens",), self).shape
        for member in self.members:
            member.accepts(spec)
        self.longest = self.asked(length)
        return spec._replace(context=spec.context - frozenset(PLACED)).having(
            Written, context=["valid", "prefix"], shape=(self.seen(length) + 1,), target=(self.longest,),
            specials=shown(self.sentinels, self.names), written=self.members[0].asked.special(self.sentinels),
        )  # fmt: skip


def fields(c: Corrupted) -> dict[str, Tensor]:
    return {"seen": c.seen, "valid": c.context["valid"], "target": c.target, "touched": c.touched, "scored": c.scored}


def blank(batch: Batch, seen: int, asked: int, end: int) -> dict[str, Tensor]:
    """Nothing yet, in the widths of a mixture."""
    b, no = len(batch.x), torch.bool
    new = batch.x.new_zeros
    return {"seen": new(b, seen), "valid": new(b, seen, dtype=no), "target": new(b, asked),
            "touched": torch.zeros_like(batch.x, dtype=no), "scored": new(b, asked, dtype=no)}  # fmt: skip
