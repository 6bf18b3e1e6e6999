"""Files: where configurations and caches lie, and how files are written, whole or not at all. Imports no torch."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONF = Path(__file__).resolve().parent / "conf"


def cache() -> Path:
    """The folder of what was computed once: $DENOISELAB_CACHE, or ~/.cache/denoiselab. Nothing in it is needed."""
    return Path(os.environ.get("DENOISELAB_CACHE") or "~/.cache/denoiselab").expanduser()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`. What is written there replaces `path`, and is on disk, when the block ends; if
    the block raises, `path` is as it was and nothing is left behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: str | Path, value: object) -> None:
    """Writes a JSON file whole or not at all. NaN and infinities are refused: strict readers cannot take them."""
    text = json.dumps(value, indent=2, allow_nan=False)
    with replacing(Path(path)) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
