"""Samples of runs for a page: pictures as data URIs, scaled down, and texts cut; not so many that it gets slow."""

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from denoiselab.compare.read import Row
from denoiselab.compare.table import Group

SIDE = 384  # pixels, the longer side of a picture
MOST = 60  # samples in a page
BYTES = 12_000_000  # of all of them
LETTERS = 1200  # of a text


def samples(found: Sequence[Group]) -> tuple[list[dict], list[str]]:
    """Samples for a page, by the index of their arm, and what was left out, in words. Every arm's first seed comes
    before any second one, and the best arms come first."""
    kept, left, size = [], [], 0
    missing, over = 0, 0
    for arm, row in by_seed(found):
        path = next(
            (p for p in (row.place / "samples" / n for n in ("samples.png", "samples.txt")) if p.exists()), None
        )
        if path is None:
            missing += 1
        elif len(kept) >= MOST or size > BYTES:
            over += 1
        else:
            try:
                said = picture(path) if path.suffix == ".png" else text(path)
            except (OSError, ValueError, SyntaxError) as e:  # what Pillow raises for a damaged file
                left.append(f"{path} cannot be read: {e}")
                continue
            size += len(said.get("uri", "")) + len(said.get("text", ""))
            kept.append({"arm": arm, "seed": str(row.repeat), **origin(row), "file": str(path), **said})
    if missing:
        left.append(f"{missing} of {sum(len(g.rows) for g in found)} runs have no samples")
    if over:
        left.append(f"samples of {over} runs, to keep the page small: {len(kept)} are shown, of every arm's first seed "
                    "before any second one, the best arms first")  # fmt: skip
    return kept, left


def origin(row: Row) -> dict:
    """From which noise a run's samples began, and of which step the weights are; None where that was not recorded."""
    drawn = {score.get("seed") for score in row.metrics.values()}
    return {"noise": drawn.pop() if len(drawn) == 1 else None, "step": row.summary.get("best_step")}


def by_seed(found: Sequence[Group]) -> Iterator[tuple[int, Row]]:
    ordered = [sorted(g.rows, key=lambda row: row.repeat) for g in found]
    for turn in range(max(map(len, ordered))):
        yield from ((arm, rows[turn]) for arm, rows in enumerate(ordered) if turn < len(rows))


def picture(path: Path) -> dict:
    """A small file as it is; a large picture as a smaller JPEG, which is twenty times as quick to make as a PNG."""
    with Image.open(path) as opened:
        opened.load()
        whole = opened.size
        if max(whole) <= SIDE:
            return {"uri": uri("png", path.read_bytes()), "width": whole[0], "height": whole[1], "words": ""}
        image = opened.convert("RGB")
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "jpeg", quality=90, subsampling=0)
    words = f"scaled down from {whole[0]} x {whole[1]} pixels"
    return {"uri": uri("jpeg", file.getvalue()), "width": image.width, "height": image.height, "words": words}


def uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def text(path: Path) -> dict:
    whole = path.read_text(encoding="utf-8", errors="replace")
    words = f"the first {LETTERS} of {len(whole)} letters" if len(whole) > LETTERS else ""
    return {"text": whole[:LETTERS], "words": words}
