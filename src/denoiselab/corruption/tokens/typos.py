"""Typos: what a keyboard, a scanner or a hurry does to a character. For text-correction models; the tokens are
characters.

Each character that is hit suffers one of eight kinds of damage, drawn by their shares among those that it can suffer (a
space has no other case): so a rate is the share of characters damaged, except of the last of two transposed.
"""

import math
import unicodedata

import torch
from torch import Tensor

from denoiselab.corruption.tokens.layout import within
from denoiselab.corruption.tokens.shown import Seen, Shown
from denoiselab.spec import Refused

ROWS = ("1234567890-=", "qwertyuiop[]", "asdfghjkl;'", "zxcvbnm,./")  # of a QWERTY keyboard
LEAN = (0.0, 0.5, 0.75, 1.25)  # how far each row begins to the right, in keys
# What optical character recognition takes for each other, one character for one.
LOOKALIKE = ("0OoQD", "1lI|i!", "2Zz", "5Ss$", "6Gb", "8B&", "9gq", "ceo", "uvn", "hbn", "ij", "rn", "ft", "E F", "KX",
             "PR", "UV", "MN", ",.", ":;", "'`", "-_")  # fmt: skip
KINDS = ("neighbor", "lookalike", "case", "diacritic", "digit", "insertion", "deletion", "transposition")
ALWAYS = KINDS.index("insertion")  # from here on any character can suffer it


def neighbors(c: str) -> str:
    """The keys beside that of a character, in its case."""
    keys = {
        key: (x + lean, y) for y, (row, lean) in enumerate(zip(ROWS, LEAN, strict=True)) for x, key in enumerate(row)
    }
    if c.lower() not in keys:
        return ""
    x, y = keys[c.lower()]
    near = (key for key, (a, b) in keys.items() if abs(b - y) <= 1 and abs(a - x) <= 1 and key != c.lower())
    return "".join(key.upper() if c.isupper() else key for key in near)


def others(c: str) -> tuple[str, ...]:
    """What may take the place of a character, a string for each kind that replaces one."""
    alike = "".join(group.replace(" ", "") for group in LOOKALIKE if c in group and c != " ")
    plain = "".join(p for p in unicodedata.normalize("NFD", c) if not unicodedata.combining(p))
    digits = "0123456789" if c in "0123456789" else ""
    return neighbors(c), alike, c.swapcase(), plain, digits


class Typos(Shown):
    """Typing and scanning errors. `alphabet` has the character of each clean id; each other argument is the share of a
    kind of damage among all: a key beside the right one; a character that looks alike (OCR); the other case; a
    diacritic lost; another digit; a character put in before it, a neighbor of it where it has one; left out; changed
    with the next.

    Keeps the length where nothing is put in or left out.
    """

    word = "typos"

    def __init__(self, alphabet: list[str], neighbor: float = 1.0, lookalike: float = 1.0, case: float = 1.0,
                 diacritic: float = 1.0, digit: float = 1.0, insertion: float = 1.0, deletion: float = 1.0,
                 transposition: float = 1.0):  # fmt: skip
        if not alphabet or any(len(c) != 1 for c in alphabet):
            longer = next((c for c in alphabet if len(c) != 1), "an alphabet that is not known")
            raise Refused("shown=typos damages characters", repr(longer), "use codec=character")
        shares = (neighbor, lookalike, case, diacritic, digit, insertion, deletion, transposition)
        for key, share in zip(KINDS, shares, strict=True):
            if not 0 <= share <= 1e6:
                raise Refused(f"shown.{key} is a share among the kinds of damage", share, "give 0 or more, as 1")
        if not sum(shares):
            raise Refused("shown.* are the shares of kinds of damage", "all 0", "give one above 0")
        self.insertion, self.keeps = insertion, not insertion + deletion
        ids = {c: i for i, c in enumerate(alphabet)}
        found = [[[ids[o] for o in dict.fromkeys(kind) if o in ids and o != c] for kind in others(c)] for c in alphabet]
        for i, kinds in enumerate(found):  # what is put in: a neighbor, or the same once more
            kinds.append(kinds[0] or [i])
        most = max(len(kind) for kinds in found for kind in kinds)
        self.count = torch.tensor([[len(kind) for kind in kinds] for kinds in found])  # (V, kinds)
        self.other = torch.tensor([[kind + [0] * (most - len(kind)) for kind in kinds] for kinds in found])
        can = torch.nn.functional.pad(self.count[:, :ALWAYS] > 0, (0, len(KINDS) - ALWAYS), value=True)
        self.weight = (can * torch.tensor(shares, dtype=torch.float64)).cumsum(1)

    def __call__(self, x, ok, hit, most, context, random):
        known = x.clamp(max=len(self.count) - 1)  # special tokens are none of the alphabet
        weight = self.weight.to(x.device)[known]  # (B, L, kinds)
        u = random.child("kind").uniform(x.shape).double()[..., None] * weight[..., -1:]
        kind = (weight <= u).sum(-1).clamp_(max=len(KINDS) - 1)
        able = hit.touched & (weight[..., -1] > 0) & (x == known)
        kind = torch.where(able, kind, len(KINDS))  # the last: none
        column = kind.clamp(max=ALWAYS)
        count, other = self.count.to(x.device), self.other.to(x.device)
        pick = (random.child("which").uniform(x.shape).double() * count[known, column]).long()
        chosen = other[known, column, pick]
        new = torch.where(kind < ALWAYS, chosen, x)
        put = kind == KINDS.index("insertion")
        keep = ok & (kind != KINDS.index("deletion"))
        after = torch.nn.functional.pad(ok, (-1, 1))
        if "segment" in context:
            after = after & (context["segment"] == context["segment"].roll(-1, 1))
        order = swaps((kind == KINDS.index("transposition")) & ok, after)
        if self.keeps:
            return Seen(new.gather(1, order), ok)
        new, put, keep, chosen = (a.gather(1, order) for a in (new, put, keep, chosen))
        width = self.width(x.shape[1], most)
        # What does not fit is not put in: more typos than there are at the highest rate, all of them insertions.
        put &= put.cumsum(1) <= width - x.shape[1]
        place = torch.where(keep, keep.cumsum(1) - 1 + put.cumsum(1), width)
        out = x.new_zeros(len(x), width + 1).scatter_(1, place, new)
        out = out.scatter_(1, torch.where(put, place - 1, width), chosen)[:, :width]
        there = within(keep.sum(1) + put.sum(1), width)
        return Seen(out.masked_fill(~there, 0), there)

    def width(self, length, most):
        return length + math.ceil(most.rate * length) * (self.insertion > 0)

    def accepts(self, spec, most):
        return spec


def swaps(marked: Tensor, after: Tensor) -> Tensor:
    """Indices (B, L) that change each marked token with the next, if there is one `after` it; in a run of marks every
    other one counts."""
    index = torch.arange(marked.shape[1], device=marked.device).expand_as(marked)
    begin = torch.where(~marked, index, -1).cummax(1).values  # the last before a run
    first = marked & ((index - begin) % 2 == 1) & after
    second = torch.nn.functional.pad(first, (1, -1))
    return index + first.long() - second.long()
