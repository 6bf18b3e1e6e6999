"""What is asked of new samples: from words to the context of a network, and back to words beside the pictures."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from denoiselab.data.base import Loaded
from denoiselab.evaluation.figures import GAP, INK, PAPER, drawn, font, table
from denoiselab.spec import Refused, Spec, near

COLUMNS, FEW = 8, 64  # pictures beside each other; rows, or pictures with words of their own
LINE = 12  # pixels, of letters below a picture

Wish = int | str | Sequence[int] | Sequence[str] | Tensor


def wishes(data: Loaded, spec: Spec, n: int, asked: Mapping[str, Wish]) -> dict[str, Tensor]:
    """The context that asks n samples for `label`, a number or several, and `caption`, a text or several, given to the
    samples in turn. Raises `Refused` for what the network is not told, no label is or no caption can say."""
    said = {"label", "caption"} & spec.asks
    found: dict[str, Tensor] = {}
    for name, wish in asked.items():
        if name not in said:
            what = f"these samples cannot be asked for a {name}"
            raise Refused(what, f"{name}={wish}", near(name, said) if said else unasked(name, spec))
        turn = torch.arange(n)
        if name == "label":
            labels = torch.as_tensor(wish).reshape(-1)
            if not len(labels) or labels.is_floating_point() or labels.min() < 0 or labels.max() >= spec.classes:
                raise Refused("a label is the number of a class", f"label={wish}", f"give 0 to {spec.classes - 1}")
            found["label"] = labels.long()[turn % len(labels)]
        else:
            texts = [wish] if isinstance(wish, str) else list(wish)
            if data.captions is None or not texts:
                raise Refused("these captions are not made of words", f"caption={wish}", "leave out caption=")
            found |= {key: value[turn % len(texts)] for key, value in data.captions.written(texts).items()}
    return found


def unasked(name: str, spec: Spec) -> str:
    """How samples could be asked for it."""
    if name == "label" and "label" in spec.context:
        return "add guidance=classifier, or train with conditioning=label edits=[withhold]"
    return f"leave out {name}=, or train with a conditioning that reads it"


def spoken(data: Loaded, asked: Mapping[str, Tensor]) -> list[str]:
    """What each sample was asked for, in words; [] where nothing was."""
    said = [[str(label) for label in asked["label"].tolist()]] if "label" in asked else []
    if "caption" in asked and data.captions is not None:
        said.append(data.captions.spoken(asked))
    return [", ".join(words) for words in zip(*said, strict=True)]


def records(data: Loaded, asked: Mapping[str, Tensor]) -> list[dict[str, int | str]]:
    """The same as plain values, an object a sample: for samples.json."""
    said: dict[str, list] = {"label": asked["label"].tolist()} if "label" in asked else {}
    if "caption" in asked and data.captions is not None:
        said["caption"] = data.captions.spoken(asked)
    return [dict(zip(said, row, strict=True)) for row in zip(*said.values(), strict=True)]


# -- the picture -------------------------------------------------------------------------------------------


def figure(pictures: Tensor, words: Sequence[str]) -> Image.Image:
    """Pictures (N, C, H, W), eight of those with the same words beside each other: a row for each, its words at the
    left; where hardly any two have the same words, the first 64, each with its own below."""
    if 2 * len({*words}) > len(words) > 1:
        return captioned(
            [(words[i], drawn(pictures[i])) for i in sorted(range(len(words))[:FEW], key=words.__getitem__)]
        )
    order = sorted(range(len(words)), key=lambda i: natural(words[i]))
    rows = [(said, list(them)) for said, them in groupby(order, key=lambda i: words[i])][:FEW]
    cells = [[drawn(pictures[i]) for i in them[:COLUMNS]] for _, them in rows]
    width = max(map(len, cells))
    empty = Image.new("RGB", cells[0][0].size, PAPER)
    return table([row + [empty] * (width - len(row)) for row in cells], [said for said, _ in rows])


def natural(words: str) -> tuple[int, int, str]:
    """Numbers by their size, before texts."""
    return (0, int(words), "") if words.isdigit() else (1, 0, words)


def captioned(named: Iterable[tuple[str, Image.Image]]) -> Image.Image:
    """Images with their words below, in rows."""
    named = list(named)
    wide = max(max(image.width for _, image in named), 10 * LINE)
    lines = [wrapped(words, wide) for words, _ in named]
    high = max(image.height for _, image in named) + (LINE + 3) * max(map(len, lines)) + 3 * GAP
    cells = []
    for (_, image), text in zip(named, lines, strict=True):
        cell = Image.new("RGB", (wide, high), PAPER)
        cell.paste(image, ((wide - image.width) // 2, 0))
        draw = ImageDraw.Draw(cell)
        for i, line in enumerate(text):
            draw.text((wide / 2, image.height + GAP + (LINE + 3) * (i + 1)), line, INK, font(LINE), anchor="ms")
        cells.append(cell)
    columns = min(COLUMNS, len(cells))
    cells += [Image.new("RGB", (wide, high), PAPER)] * (-len(cells) % columns)
    return table([cells[i : i + columns] for i in range(0, len(cells), columns)])


def wrapped(words: str, width: int) -> list[str]:
    """Lines that are at most so many pixels wide, as far as words are."""
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if font(LINE).getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
