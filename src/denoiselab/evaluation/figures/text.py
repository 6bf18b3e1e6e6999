"""Text, as lists of tokens as strings. Brackets and colors mark damage: [touched] or [restored right], {restored
wrong}."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
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
    """Of each of the three texts its runs of tokens, as (style, characters). What is seen in other places than the
    clean text (spans, sentinels) is one plain run."""
    shown = [TOUCHED if place else PLAIN for place in map(bool, touched)]
    seen, answer = shown, [WRONG] * len(restored)
    if len(corrupted) == len(shown):
        pairs = zip(shown, corrupted, strict=True)
        seen = [NAMED if style and SPECIAL.fullmatch(word) else style for style, word in pairs]
    for i, k in met(clean, corrupted, restored):
        answer[k] = RIGHT if shown[i] else PLAIN
    texts = {"clean": (clean, shown), "corrupted": (corrupted, seen), "restored": (restored, answer)}
    return {name: runs(words, styles, between) for name, (words, styles) in texts.items()}


def met(clean: Words, corrupted: Words, restored: Words) -> list[tuple[int, int]]:
    """The places of clean tokens that were restored right, each with that of the token: the same, unless the text was
    written anew; then the two texts are aligned."""
    if len(clean) == len(corrupted) == len(restored):
        return [(i, i) for i, (true, said) in enumerate(zip(clean, restored, strict=True)) if true == said]
    blocks = SequenceMatcher(None, clean, restored, autojunk=False).get_matching_blocks()
    return [(block.a + i, block.b + i) for block in blocks for i in range(block.size)]


def runs(words: Words, styles: Words, between: str) -> list[tuple[str, str]]:
    if len(words) != len(styles):
        styles = [PLAIN] * len(words)
    groups = groupby(zip(styles, words, strict=True), key=lambda pair: pair[0])
    return [(style, between.join(visible(word) for _, word in group)) for style, group in groups]


def visible(text: str) -> str:
    """Control characters as pictures of themselves: a text must not command the screen."""
    shown = text.replace("\n", "↵").replace("\t", "→")
    return "".join(chr(0x2400 + ord(c)) if ord(c) < 32 else "\ufffd" if 127 <= ord(c) < 160 else c for c in shown)


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
    """A table, a row a text: the three texts with brackets, how many tokens were touched, how many of them are
    right."""
    body = []
    for texts in zip(clean, corrupted, restored, touched, strict=True):
        lines = marked(*texts, between)
        places = {i for i, place in enumerate(texts[3]) if place}
        right = sum(i in places for i, _ in met(*texts[:3]))
        body.append([*(bracketed(line, between) for line in lines.values()), len(places), right])
    return ["clean", "corrupted", "restored", "touched", "right"], body


def save_text(path: str | Path, clean: Sequence[Words], corrupted: Sequence[Words], restored: Sequence[Words],
              touched: Sequence[Sequence[bool]], between: str = "") -> None:  # fmt: skip
    """Writes the texts in UTF-8, three lines each, damage in brackets."""
    columns, body = text_rows(clean, corrupted, restored, touched, between)
    lines = ["[touched]; of what was restored: [right] {wrong}", ""]
    for *texts, places, right in body:
        lines += [f"{name:<10}{text}" for name, text in zip(columns, texts, strict=False)]
        lines += [f"{'':<10}{right} of {places} right", ""]
    with replacing(Path(path)) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
