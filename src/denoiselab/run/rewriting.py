"""A finished run on a text of the user's own, of any length: cut into pieces that the run can take, each restored, and
put together again.

Pieces end at line ends where that is possible, else behind a sentence, else behind a word, else where they must. A run
whose texts are a sample each (`valid` in its data), one that writes texts of its own, and one that knows no line end
get no piece of more than a line.

What the model is not asked about is kept to the character: line ends, a byte order mark, and characters that it does
not know, of which it sees the unknown symbol, or a space. Of a text with [MASK] in it the masks alone are filled.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from denoiselab.corruption import Absorbing
from denoiselab.corruption.base import Written
from denoiselab.data.plain import MARK, characters
from denoiselab.data.tokenizer import UNKNOWN, Tokenizer
from denoiselab.evaluation.asked import Wish, wishes
from denoiselab.randomness import Keyed
from denoiselab.run import infilling
from denoiselab.run.infilling import HOLE, MASK
from denoiselab.run.loaded import Run
from denoiselab.sampler import Generates, Sampler
from denoiselab.sampler.base import nothing
from denoiselab.spec import Refused, Spec

BATCH = 64  # pieces at a time
# A byte order mark belongs to the line end before it, or is one: where files were put together, one begins there.
LINE_END = re.compile(rf"(?:\r\n|\r|\n){MARK}*|{MARK}+")
ENDS = (re.compile(r"\n"), re.compile(r"[.!?]['\")\]]*[ \t]+"), re.compile(r"[ \t]+"))  # where pieces end best


class Letter(NamedTuple):
    """A text with \\n for each line end, what its line ends were, and the byte order marks before it."""

    text: str
    ends: list[str]
    lead: str

    @property
    def marks(self) -> int:
        """How many byte order marks there are."""
        return "".join([self.lead, *self.ends]).count(MARK)

    def spelled(self, text: str) -> str:
        """Another text of as many lines, with this one's line ends and mark."""
        lines = text.split("\n")
        assert len(lines) == len(self.ends) + 1, "a line was lost"
        body = "".join(line + end for line, end in zip(lines, [*self.ends, ""], strict=True))
        return self.lead + body


class Restored(NamedTuple):
    """The text, by \\n; (before, after) of every piece; what was not known and copied; how many pieces came back
    without all of their unknown characters, and are as they were; and how many were changed by a tokenizer that does
    not give them back as they were."""

    text: str
    pieces: list[tuple[str, str]]
    copied: Counter
    left: int
    respelled: int


def letter(path: Path) -> Letter:
    """A file in UTF-8; raises `Refused` on what is no text, with file and byte."""
    whole = characters(path, "input")
    text = whole.lstrip(MARK)
    return Letter(LINE_END.sub("\n", text), LINE_END.findall(text), whole[: len(whole) - len(text)])


def accepts(run: Run, sampler: Sampler, text: str, **asked: Wish) -> Spec:
    """What is agreed of restoring a text; raises `Refused`, also where the run is to be told what the text is."""
    agreed = sampler.accepts(run.spec)
    for name in sorted((agreed.asks & {"label", "caption"}) - {*asked}):
        example = "label=3" if name == "label" else f'{name}="a word"'
        raise Refused(f"this run is told the {name} of a text", f"no {name}=", f"give {name}=, such as {example}")
    wishes(run.data, agreed, 1, asked)
    if HOLE.search(text):
        if empty := next((hole for hole in HOLE.finditer(text) if hole[1] and not int(hole[1])), None):
            raise Refused("a hole is of one token or more", empty[0], f"give {MASK}, or [MASK*2] and more")
        return infilling.accepts(run, sampler)
    if Absorbing in agreed.facts:
        raise Refused(f"this run fills masks, and there is no {MASK} in the text", type(run.corruption).__name__,
                      f"write {MASK} where a token is missing, or give a run that corrects text")  # fmt: skip
    if Generates in agreed.facts:
        raise Refused("this run generates, and does not say how much of a text is damaged", type(sampler).__name__,
                      f"write {MASK} where a token is missing, or give a run that corrects text")  # fmt: skip
    return agreed


def cut(text: str, fits: Callable[[str], int], by_line: bool, window: int = 1 << 16) -> Iterator[str]:
    """Pieces that give the text together. `fits` says how many of the first characters of a text a run can take, at
    least 1, and is shown `window` of them; what is between two lines, with `by_line`, is a piece of its own, "\\n"."""
    for part in re.split(r"(\n)", text) if by_line else [text]:
        begin = 0
        while begin < len(part):
            most = fits(part[begin : begin + window])
            if begin + most < len(part):
                most = best(part[begin : begin + most])
            yield part[begin : begin + most]
            begin += most


def best(piece: str) -> int:
    """Where a piece that must end within is best ended: no earlier than half of it, unless at a word."""
    for end in ENDS:
        found = [m.end() for m in end.finditer(piece)]
        if found and (2 * found[-1] >= len(piece) or end is ENDS[-1]):
            return found[-1]
    return len(piece)


def room(codec: Tokenizer, length: int, hole: str) -> Callable[[str], int]:
    """How many first characters of a text fit in `length` tokens, for `cut`; `hole` is a token."""

    def tokens(text: str) -> int:
        return text.count(hole) + sum(len(codec.encode(readable(codec, part))) for part in text.split(hole) if part)

    def fits(text: str) -> int:
        size = len(text)
        while (n := tokens(text[:size])) > length and size > 1:
            size = max(1, min(size - 1, size * length // n))
        return size

    return fits


def answerable(run: Run) -> int:
    """How many tokens a run that writes is shown at most: what it sees has room for what was put in, and its answer
    must have as much for what was left out."""
    (length,), seen = run.data.spec.shape, run.spec.shape[0]
    return min(seen, max(2 * length - seen, length // 2, 1))


def readable(codec: Tokenizer, text: str) -> str:
    """The text as the model can see it: of what it does not know the unknown symbol, or a space, or any."""
    if not (lost := codec.unknown(text)):
        return text
    other = next(c for c in (UNKNOWN, " ", *codec.alphabet) if not codec.unknown(c))
    return text.translate({ord(c): other for c in lost})


def lossy(codec: Tokenizer, piece: str) -> bool:
    """Does a tokenizer give what it can read of a text back in another way, as in lower case?"""
    text = readable(codec, piece)
    return codec.decode(codec.encode(text)[None]) != [text]


@torch.no_grad()
def restored(run: Run, text: str, sampler: Sampler, seed: int = 0,
             pulse: Callable[[int], None] = lambda done: None, **wish: Wish) -> Restored:  # fmt: skip
    """A text by \\n, restored. Piece i is a function of (seed, i), of what is in it and of what all are told to be
    (label=3; of several the first). `pulse` is told how many pieces are done."""
    agreed, codec, holes = accepts(run, sampler, text, **wish), run.data.codec, bool(HOLE.search(text))
    told = {name: value.to(run.module.device) for name, value in wishes(run.data, agreed, 1, wish).items()}
    # A hole is a character that no text has: as many as it has tokens.
    hole = next(c for c in map(chr, range(0xFDD0, 0xFDF0)) if c not in text)
    text = HOLE.sub(lambda found: hole * int(found[1] or 1), text)
    writes = Written in agreed.facts
    by_line = "valid" in run.spec.context or writes or bool(codec.unknown("\n"))
    # A longer token than 8 characters is rare, and the piece is shorter then.
    length = answerable(run) if writes else run.spec.shape[0]
    pieces = list(cut(text, room(codec, length, hole), by_line, 8 * length))
    asked = [i for i, piece in enumerate(pieces) if piece.strip()]
    asked = [i for i in asked if not holes or hole in pieces[i]]
    answer, left, respelled = list(pieces), 0, 0
    how = partial(filled, hole) if holes else written if writes else corrected
    for first in range(0, len(asked), BATCH):
        some = asked[first : first + BATCH]
        device = run.module.device
        random = Keyed.of(seed, 9, torch.tensor(some, device=device))
        own = {name: value.expand(len(some), *value.shape[1:]) for name, value in told.items()}
        for i, said in zip(some, how(run, [pieces[i] for i in some], sampler, random, own), strict=True):
            left += said is None
            answer[i] = pieces[i] if said is None else said
            respelled += not holes and answer[i] != pieces[i] and lossy(codec, pieces[i])
        pulse(len(some))
    copied = codec.unknown(text.replace(hole, ""))
    if by_line:
        copied.pop("\n", None)
    pairs = [(piece.replace(hole, MASK), said.replace(hole, MASK)) for piece, said in zip(pieces, answer, strict=True)]
    return Restored("".join(said for _, said in pairs), pairs, copied, left, respelled)


def laid(run: Run, pieces: list[str]) -> tuple[Tensor, Tensor]:
    """Ids (B, L) of pieces, padded with spaces, and where text is."""
    codec, (length,), device = run.data.codec, run.spec.shape, run.module.device
    rows = [codec.encode(readable(codec, piece)) for piece in pieces]
    there = torch.arange(length) < torch.tensor([[len(row)] for row in rows])
    x = torch.full(there.shape, codec.space)
    x[there] = torch.cat(rows)
    return x.to(device), there.to(device)


def corrected(run: Run, pieces: list[str], sampler: Sampler, random, told: dict) -> list[str | None]:
    """Token by token, of equal length. Line ends stay where they are, and none is new."""
    codec, (x, there) = run.data.codec, laid(run, pieces)
    said = sampler(run.denoiser, run.corruption, x, torch.ones(len(x), device=x.device), random, valid=there,
                   **told)  # fmt: skip
    known = codec.decode(torch.arange(codec.size)[:, None])
    breaks = torch.tensor(["\n" in word or "\r" in word for word in known], device=x.device)
    said = torch.where(breaks[x] | breaks[said], x, said).cpu()
    answers: list[str | None] = []
    for piece, row, old, where in zip(pieces, said, x.cpu(), there.cpu(), strict=True):
        if codec.unknown(piece):
            # A token is a character here: only such codecs do not know one.
            new = codec.decode(row[where][:, None])
            answers.append("".join(c if codec.unknown(c) else n for c, n in zip(piece, new, strict=True)))
        else:
            answers.append(piece if torch.equal(row[where], old[where]) else joined(codec, row[where], piece))
    return answers


def joined(codec: Tokenizer, ids: Tensor, piece: str) -> str | None:
    """The text of ids: None where it is no text, as bytes may not be, or has other line ends."""
    [text] = codec.decode(ids[None])
    same = LINE_END.findall(text) == LINE_END.findall(piece)
    return text if same and text.count(UNKNOWN) <= piece.count(UNKNOWN) else None


def written(run: Run, pieces: list[str], sampler: Sampler, random, told: dict) -> list[str | None]:
    """By runs that write a text of their own, of any length. Characters that are not known are put back in turn, and
    white space at the ends of a piece is kept: what such runs are trained on has none. None: also where an answer has
    no text or no end, for then the last of it is missing."""
    codec, (x, there) = run.data.codec, laid(run, [piece.strip() for piece in pieces])
    context = {**told, "valid": there}
    said = sampler(run.denoiser, run.corruption, x, torch.ones(len(x), device=x.device), random, **context)
    whole, filled = run.corruption.rebuilt(x, said, context)
    ended = (said == run.corruption.end).any(1).tolist()
    answers: list[str | None] = []
    for piece, row, where, done in zip(pieces, whole.cpu(), filled.cpu(), ended, strict=True):
        ids, lost = row[where], [c for c in piece.strip() if codec.unknown(c)]
        new = codec.decode(ids[ids < codec.size][None])[0]
        if lost and new.count(UNKNOWN) == len(lost):
            parts = new.split(UNKNOWN)
            new = "".join(part + c for part, c in zip(parts, [*lost, ""], strict=True))
        elif lost:
            answers.append(None)
            continue
        new, before = new.strip(), piece[: len(piece) - len(piece.lstrip())]
        bad = not (new and done) or LINE_END.search(new)
        answers.append(None if bad else before + new + piece[len(piece.rstrip()) :])
    return answers


def filled(hole: str, run: Run, pieces: list[str], sampler: Sampler, random, told: dict) -> list[str | None]:
    """Holes within pieces, all else kept."""
    codec, agreed, device = run.data.codec, infilling.accepts(run, sampler), run.module.device
    known = [MASK.join(readable(codec, part) for part in piece.split(hole)) for piece in pieces]
    templates = [infilling.read(text, codec, run.spec.shape[0]) for text in known]
    ids, hidden = (torch.stack([t[i] for t in templates]).to(device) for i in (0, 1))
    there = torch.arange(ids.shape[1], device=device) < torch.tensor([[t.size] for t in templates], device=device)
    found = infilling.filled(run, agreed, ids, hidden, there, sampler, random, nothing, {**told})
    answers: list[str | None] = []
    for piece, template, row in zip(pieces, templates, torch.where(hidden, found, ids).cpu(), strict=True):
        # Holes side by side are one run of tokens.
        new = iter([text for text, is_new in infilling.texts(run, row[None], template)[0] if is_new])
        text = re.sub(f"{hole}+", lambda _, new=new: next(new), piece)
        same = LINE_END.findall(text) == LINE_END.findall(piece)
        answers.append(text if same and text.count(UNKNOWN) <= piece.count(UNKNOWN) else None)
    return answers
