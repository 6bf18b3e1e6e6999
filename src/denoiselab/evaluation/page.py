"""Texts as a page: clean, corrupted and restored, what was touched colored, right and wrong told apart."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from denoiselab.evaluation.figures import NAMED, PLAIN, RIGHT, TOUCHED, WRONG, Words, marked
from denoiselab.files import replacing

CLASSES = {PLAIN: "", TOUCHED: "touched", NAMED: "touched", RIGHT: "right", WRONG: "wrong"}
HEAD = """<!doctype html>
<meta charset="utf-8">
<title>restored</title>
<style>
body { font: 15px/1.5 ui-monospace, monospace; margin: 2em; color: #222; background: #fff }
p { margin: 0 0 1.2em; white-space: pre-wrap; overflow-wrap: anywhere }
b { font-weight: normal; color: #888 }
.touched { background: #cfe8ff } .right { background: #d3f2d3 }
.wrong { background: #ffd2d2; text-decoration: underline }
</style>
<p><span class="touched">touched</span>; of what was restored: <span class="right">right</span>
<span class="wrong">wrong</span></p>
"""


def save(path: Path, clean: Sequence[Words], corrupted: Sequence[Words], restored: Sequence[Words],
         touched: Sequence[Sequence[bool]], between: str = "") -> None:  # fmt: skip
    """Writes a page of its own, in UTF-8: it fetches nothing and runs nothing, and texts in it are text."""
    body = []
    for texts in zip(clean, corrupted, restored, touched, strict=True):
        lines = marked(*texts, between).items()
        body.append("<p>" + "\n".join(f"<b>{name:<10}</b>{colored(line, between)}" for name, line in lines) + "</p>\n")
    with replacing(path) as temporary:
        temporary.write_text(HEAD + "".join(body), encoding="utf-8")


def colored(line: Sequence[tuple[str, str]], between: str) -> str:
    def part(style: str, text: str) -> str:
        return f'<span class="{CLASSES[style]}">{escape(text)}</span>' if CLASSES[style] else escape(text)

    return between.join(part(style, text) for style, text in line)
