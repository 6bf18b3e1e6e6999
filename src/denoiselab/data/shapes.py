"""Captioned pictures whose captions can be checked: colored shapes and handwritten digits, their number and places.

Of two groups one lies in the left half and the other in the right, or in the upper and the lower; every object has a
cell of its own, so that none hides another. What can be said is in `denoiselab.data.captions`.

Everything is drawn once for all from a fixed seed, each sample by itself. The handwriting of a split (scikit-learn's
1,797 digits: Alpaydin and Kaynak, 1998) occurs in no other.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from denoiselab.data.base import Codec, Data, Table, checked
from denoiselab.data.captions import (
    DIGITS,
    HUES,
    LONGEST,
    NUMBERS,
    RELATIONS,
    SHAPES,
    WORDS,
    Group,
    Said,
    caption,
    true,
    written,
)  # fmt: skip
from denoiselab.data.splits import SEED, loaded, order
from denoiselab.randomness import Keyed, Random
from denoiselab.spec import Refused, Spec

SMALLEST = 16  # pixels: below, nothing can be told apart
COLORS = {"red": (225, 45, 45), "green": (55, 190, 75), "blue": (55, 100, 240), "yellow": (240, 205, 45),
          "white": (255, 255, 255)}  # fmt: skip


# -- scenes ------------------------------------------------------------------------------------------------


class Scenes(NamedTuple):
    """What N pictures show, (N,) each; without another group `relation` is -1."""

    first: Tensor  # (N, 3): number, color, shape
    relation: Tensor
    other: Tensor  # (N, 3)


def scenes(random: Random, n: int) -> Scenes:
    """Half of them of one group."""
    first, other = draw_group(random.child("first"), n), draw_group(random.child("other"), n)
    alike = (first == other)[:, 1:].all(1)
    # Another color, so that no two groups are alike whatever their numbers.
    turn = (other[:, 1] + 1) % len(HUES)
    other[:, 1] = torch.where(alike, turn, other[:, 1])
    relation = random.child("relation").integers(2 * len(RELATIONS), (n, 1))[:, 0] - len(RELATIONS)
    return Scenes(first, relation.clamp(min=-1), other)


def draw_group(random: Random, n: int) -> Tensor:
    """(n, 3): a shape six times in ten, and else a digit, which is white half of the time."""
    u = random.uniform((n, 5))
    digit, white = u[:, 0] >= 0.6, u[:, 1] < 0.5
    number, color = (u[:, 2] * len(NUMBERS)).long(), (u[:, 3] * len(HUES)).long()
    shape = torch.where(digit, len(SHAPES) + (u[:, 4] * len(DIGITS)).long(), (u[:, 4] * len(SHAPES)).long())
    return torch.stack((torch.where(digit, 0, number), torch.where(digit & white, len(HUES), color), shape), 1)


def described(scene: Scenes) -> tuple[dict[str, Tensor], Tensor]:
    """Captions and what is true, (N, 7). A scene is said and judged once, however many pictures show it."""
    rows = torch.cat((scene.first, scene.relation[:, None], scene.other), 1)
    rows[scene.relation < 0, 4:] = 0
    kinds, which = rows.unique(dim=0, return_inverse=True)
    said = [(Group(*row[:3]), *((None, None) if row[3] < 0 else (row[3], Group(*row[4:])))) for row in kinds.tolist()]
    captions = {name: value[which] for name, value in written([caption(*each) for each in said]).items()}
    return captions, torch.tensor([true(*each) for each in said])[which]


# -- pictures ----------------------------------------------------------------------------------------------


class Objects(NamedTuple):
    """M objects, (M,) each: in which picture, of what color and shape, in which cell (M, 4: top, left, height, width,
    of a unit square)."""

    picture: Tensor
    color: Tensor
    shape: Tensor
    cell: Tensor


def placed(scene: Scenes, random: Random) -> Objects:
    """Every object has a cell of its own: of a group alone the picture or a quarter, of two groups a share of a half,
    along its longer side."""
    n, alone = len(scene.relation), scene.relation < 0
    quarters = random.child("quarters").uniform((n, 4)).argsort(1)
    swapped, upright = scene.relation >= 2, scene.relation % 2 == 0  # "left of": halves stand side by side
    found = []
    for which, group in enumerate((scene.first, scene.other)):
        second = swapped if which == 0 else ~swapped
        for i in range(len(NUMBERS)):
            there = (group[:, 0] >= i) & (~alone if which else torch.ones_like(alone))
            count = group[:, 0] + 1.0
            share = torch.stack((i / count, second / 2, 1 / count, torch.full((n,), 0.5)), 1)
            share = torch.where(upright[:, None], share, share[:, [1, 0, 3, 2]])
            quarter = torch.stack((quarters[:, i] // 2 / 2, quarters[:, i] % 2 / 2), 1)
            whole = (group[:, 0] == 0)[:, None]
            own = torch.cat((torch.where(whole, 0.0, quarter), torch.where(whole, 1.0, 0.5).expand(n, 2)), 1)
            cell = torch.where(alone[:, None], own, share)
            rows = there.nonzero()[:, 0]
            found.append(Objects(rows, group[rows, 1], group[rows, 2], cell[rows]))
    return Objects(*(torch.cat(each) for each in zip(*found, strict=True)))


def rendered(scene: Scenes, random: Random, size: int, hands: tuple[Tensor, Tensor]) -> Tensor:
    """Pictures (N, 3, size, size) uint8 on black. `hands` are the handwritten digits (D, 8, 8) in [0, 1] and which
    each is (D,)."""
    n, objects = len(scene.relation), placed(scene, random)
    corner, extent = (objects.cell * size).split(2, 1)
    (top, left), (height, width) = corner.round().long().unbind(1), extent.long().unbind(1)
    u = random.uniform((n, 24)).view(n, 6, 4)
    # The objects of a picture take its draws in turn.
    u = u[objects.picture, counted(objects.picture)]
    room = torch.minimum(height, width)
    # In a cell as large as the picture an object is no larger than elsewhere.
    largest = torch.minimum(room, torch.tensor(round(size * 0.55)))
    side = (largest * (0.7 + 0.3 * u[:, 0])).round().long().clamp(min=4)
    side = torch.minimum(side, room)
    row, column = (a + (b.float() * (c - side + 1)).long().clamp(max=size - 1)
                   for a, b, c in ((top, u[:, 1], height), (left, u[:, 2], width)))  # fmt: skip
    row, column = torch.minimum(row, size - side), torch.minimum(column, size - side)
    hand = written_by(hands[1], objects.shape - len(SHAPES), u[:, 3])
    x = torch.zeros(n, size, size, 3)
    palette = torch.tensor(list(COLORS.values())).float()
    for k in side.unique().tolist():
        rows = (side == k).nonzero()[:, 0]
        shape = objects.shape[rows]
        stamps = torch.cat((outlines(k), F.interpolate(hands[0][:, None], (k, k), mode="bilinear")[:, 0]))
        which = torch.where(shape < len(SHAPES), shape, len(SHAPES) + hand[rows])
        ink = stamps[which][..., None] * palette[objects.color[rows]][:, None, None]
        steps = torch.arange(k)
        at = (row[rows, None] + steps)[:, :, None], (column[rows, None] + steps)[:, None]
        x[objects.picture[rows][:, None, None], at[0], at[1]] = ink
    return x.round_().to(torch.uint8).permute(0, 3, 1, 2).contiguous()


def counted(picture: Tensor) -> Tensor:
    """How many objects of the same picture came before, (M,)."""
    by = picture.argsort(stable=True)
    ordered = picture[by]
    first = torch.searchsorted(ordered, ordered)
    return torch.empty_like(by).scatter_(0, by, torch.arange(len(by)) - first)


def written_by(labels: Tensor, digit: Tensor, u: Tensor) -> Tensor:
    """For each digit (M,) the number of one of the handwritten ones, by uniform draws; 0 where it is none."""
    by, n = labels.argsort(stable=True), labels.bincount(minlength=len(DIGITS))
    first, digit = n.cumsum(0) - n, digit.clamp(min=0)
    return by[first[digit] + torch.minimum((u * n[digit]).long(), n[digit] - 1)]


@lru_cache
def outlines(k: int, finer: int = 8) -> Tensor:
    """The shapes at k x k pixels, (4, k, k): the share of each pixel that they cover."""
    at = (torch.arange(k * finer) + 0.5) / (k * finer) * 2 - 1
    y, x = at[:, None], at[None]
    inside = torch.stack((
        x.square() + y.square() <= 1,
        (x.abs() <= 0.88) & (y.abs() <= 0.88),
        (x.abs() <= (y + 1) / 2) & (y <= 1),
        (torch.minimum(x.abs(), y.abs()) <= 0.3) & (torch.maximum(x.abs(), y.abs()) <= 1),
    ))  # fmt: skip
    return F.avg_pool2d(inside[:, None].float(), finer)[:, 0]


# -- data --------------------------------------------------------------------------------------------------


class Shapes(Data):
    """Pictures (3, size, size); in the context `caption` (N, 8) of word ids, `caption_valid`, and `truth` (N, 7): the
    `ATTRIBUTES` of captions.

    Args:
        size: pixels, the side of the square.
        train, val, test: how many pictures.
    """

    def __init__(self, codec: Codec, batch_size: int, size: int = 32, n: int | None = None, train: int = 20_000,
                 val: int = 500, test: int = 1_000, num_workers: int = 0):  # fmt: skip
        checked(batch_size, n, num_workers)
        if size < SMALLEST:
            raise Refused("data.size is the side of a picture", size, f"give at least {SMALLEST} pixels")
        if min(train, val, test) < 1:
            raise Refused("data.train, val and test count pictures", (train, val, test), "give at least 1 of each")
        self.codec, self.batch_size, self.n, self.num_workers = codec, batch_size, n, num_workers
        self.size, self.sizes = size, (train, val, test)

    def load(self):
        from sklearn.datasets import load_digits

        digits = load_digits()
        hands, label = torch.from_numpy(digits.images / 16).float(), torch.from_numpy(digits.target).long()
        tables = []
        parts = order(len(hands)).split([1297, 200, 300])
        for split, (count, own) in enumerate(zip(self.sizes, parts, strict=True)):
            random = Keyed.of(SEED, 8 + split, torch.arange(count))
            scene = scenes(random.child("scene"), count)
            captions, truth = described(scene)
            x = rendered(scene, random.child("picture"), self.size, (hands[own], label[own]))
            tables.append(Table(x, {**captions, "truth": truth}))
        spec = Spec("image", (3, self.size, self.size), words=len(WORDS), caption=LONGEST, spelled=WORDS,
                    context=frozenset({"caption", "caption_valid", "truth"}))  # fmt: skip
        return loaded(self.codec, spec, tuple(tables), self.n, captions=Said())
