"""Text, as lists of tokens as strings. Brackets and colors mark damage: [touched] or [restored right], {restored
wrong}."""

import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from rich.text import Text

from denoiselab.files import replacing

Words = Sequence[str]
PLAIN, TOUCHED, RIGHT, WRONG = "", "bold cyan", "green", "bold red underline"  # styles of rich
NAMED = "cyan bold"  # as what is touched looks: a special token, which has brackets of its own
BRACKETS = {PLAIN: "{}", TOUCHED: "[{}]", NAMED: "{}", RIGHT: "[{}]", WRONG: "{{{}}}"}
SPECIAL = re.compile(r"\[[^\[\]\s]+\]")


def marked(clean: Words, corrupted: Words, restored: Words, touched: Sequence[bool],
           between: str = "") -> dict[str, list[tuple[str, str]]]:  # fmt: skip
    """Of each of the three texts its runs of tokens, as (style, characters). A text of another length than `touched`
    (spans, sentinels) has no places to compare: it is one plain run."""
    touched = [bool(place) for place in touched]
    shown = answer = [TOUCHED if place else PLAIN for place in touched]
    if len(restored) == len(clean) == len(touched):
        right = [said == true for said, true in zip(restored, clean, strict=True)]
        answer = [PLAIN if not place else RIGHT if ok else WRONG for place, ok in zip(touched, right, strict=True)]
    if len(corrupted) == len(touched):
        pairs = zip(shown, corrupted, strict=True)
        seen = [NAMED if style and SPECIAL.fullmatch(word) else style for style, word in pairs]
    else:
        seen = shown
    texts = {"clean": (clean, shown), "corrupted": (corrupted, seen), "restored": (restored, answer)}
    return {name: runs(words, styles, between) for name, (words, styles) in texts.items()}


def runs(words: Words, styles: Words, between: str) -> list[tuple[str, str]]:
    if len(words) != len(styles):
        styles = [PLAIN] * len(words)
    groups = groupby(zip(styles, words, strict=True), key=lambda pair: pair[0])
    return [(style, between.join(visible(word) for _, word in group)) for style, group in groups]


def visible(word: str) -> str:
    return word.replace("\n", "↵").replace("\t", "→")


def damaged(clean: Words, corrupted: Words, restored: Words, touched: Sequence[bool], between: str = "",
            names: Sequence[str] = ("clean", "corrupted", "restored")) -> Text:  # fmt: skip
    """One text in three colored lines: what was touched, and whether it was restored right. `between` stands between
    tokens: "" for characters, " " for words."""
    text = Text()
    for name, line in zip(names, marked(clean, corrupted, restored, touched, between).values(), strict=True):
        text.append(f"{name:<10}", "dim")
        for i, (style, characters) in enumerate(line):
            text.append(between if i else "").append(characters, style)
        text.append("\n")
    return text


def bracketed(line: Sequence[tuple[str, str]], between: str) -> str:
    return between.join(BRACKETS[style].format(characters) for style, characters in line)


def text_rows(clean: Sequence[Words], corrupted: Sequence[Words], restored: Sequence[Words],
              touched: Sequence[Sequence[bool]], between: str = "") -> tuple[list[str], list[list]]:  # fmt: skip
    """A table, a row a text: the three texts with brackets, how many tokens were touched, how many of them are right
    (None where what was restored has another length)."""
    body = []
    for texts in zip(clean, corrupted, restored, touched, strict=True):
        lines = marked(*texts, between)
        places = [i for i, place in enumerate(texts[3]) if place]
        comparable = len(texts[2]) == len(texts[0]) == len(texts[3])
        right = sum(texts[2][i] == texts[0][i] for i in places) if comparable else None
        body.append([*(bracketed(line, between) for line in lines.values()), len(places), right])
    return ["clean", "corrupted", "restored", "touched", "right"], body


def save_text(path: str | Path, clean: Sequence[Words], corrupted: Sequence[Words], restored: Sequence[Words],
              touched: Sequence[Sequence[bool]], between: str = "") -> None:  # fmt: skip
    """Writes the texts in UTF-8, three lines each, damage in brackets."""
    columns, body = text_rows(clean, corrupted, restored, touched, between)
    lines = ["[touched]; of what was restored: [right] {wrong}", ""]
    for *texts, places, right in body:
        lines += [f"{name:<10}{text}" for name, text in zip(columns, texts, strict=False)]
        lines += ["" if right is None else f"{'':<10}{right} of {places} right", ""]
    with replacing(Path(path)) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
