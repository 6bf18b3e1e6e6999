"""Dates in mixed formats: short texts of differing length whose parts depend on each other, such as a day's name on its
date. A model that has understood can be told from one that has not by eye."""

from collections.abc import Sequence
from datetime import date

import torch

from denoiselab.data.base import Codec, Data, checked
from denoiselab.data.splits import SEED, order
from denoiselab.data.text import known_marks, rows, spans
from denoiselab.randomness import Keyed
from denoiselab.spec import Refused

FIRST, LAST = date(1950, 1, 1).toordinal(), date(2049, 12, 31).toordinal()
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
FORMATS = (  # names of our own: those of strftime follow the user's language
    lambda d: f"{d.year}-{d.month:02}-{d.day:02}",
    lambda d: f"{d.day} {MONTHS[d.month - 1]} {d.year}",
    lambda d: f"{MONTHS[d.month - 1]} {d.day}, {d.year}",
    lambda d: f"{d.month:02}/{d.day:02}/{d.year % 100:02}",
    lambda d: f"{d.day}.{d.month}.{d.year}",
    lambda d: f"{d.day:02}-{MONTHS[d.month - 1][:3]}-{d.year}",
    lambda d: f"{DAYS[d.weekday()]}, {d.day} {MONTHS[d.month - 1]} {d.year}",
    lambda d: f"{DAYS[d.weekday()][:3]} {MONTHS[d.month - 1][:3]} {d.day} {d.year}",
)
ALPHABET = "".join(sorted({*"0123456789 ,./-", *"".join(MONTHS + DAYS)}))


class Dates(Data):
    """Days from 1950 to 2049, each written in one of eight formats, right-padded to `length` tokens.

    No day occurs in two splits, whatever its format. The longest text has 28 characters.

    Args:
        train, val, test: how many texts.
        marks: what is known of tokens, of word and sentence: see `marks.py`.
    """

    def __init__(self, codec: Codec, length: int, batch_size: int, n: int | None = None, train: int = 20_000,
                 val: int = 500, test: int = 500, num_workers: int = 0, marks: Sequence[str] = ()):  # fmt: skip
        checked(batch_size, n, num_workers)
        spans(length, 1)
        if min(train, val, test) < 1:
            raise Refused("data.train, val and test count texts", (train, val, test), "give at least 1 of each")
        self.codec, self.length, self.batch_size, self.n, self.num_workers = codec, length, batch_size, n, num_workers
        self.sizes, self.marks = (train, val, test), known_marks(marks)

    def load(self):
        days = order(LAST - FIRST + 1) + FIRST
        tenth = len(days) // 10
        texts = []
        for split, (size, own) in enumerate(zip(self.sizes, days.split([8 * tenth, tenth, len(days) - 9 * tenth]),
                                                strict=True)):  # fmt: skip
            random = Keyed.of(SEED, 4 + split, torch.arange(size))
            chosen = own[random.child("day").integers(len(own), (size, 1))[:, 0]].tolist()
            formats = random.child("format").integers(len(FORMATS), (size, 1))[:, 0].tolist()
            texts.append([FORMATS[f](date.fromordinal(d)) for d, f in zip(chosen, formats, strict=True)])
        return rows(self.codec, texts, self.length, self.n, ALPHABET, self.marks)
