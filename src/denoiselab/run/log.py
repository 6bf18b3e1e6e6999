"""The log of a run: log.txt in its folder, lines with a time. What is said there is said on the screen too, unless the
screen is log.txt: a job of a sweep writes all it prints there."""

import os
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

from denoiselab.spec import Failed, Refused


class Log:
    """Appends to `path`. A disk that is full loses lines and stops nothing."""

    def __init__(self, path: Path):
        self.path = path

    def write(self, text: str) -> None:
        with suppress(OSError), self.path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def say(self, text: str) -> None:
        self.write(text)
        if not self.on_screen():
            print(text)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, kind, error, trace):
        if kind is None or issubclass(kind, SystemExit) or self.on_screen():
            return
        if issubclass(kind, Failed | Refused):
            self.write(f"{'failed' if issubclass(kind, Failed) else 'refused'}: {error}")
        else:
            self.write("".join(traceback.format_exception(error)).rstrip())

    def on_screen(self) -> bool:
        """Is standard output this file?"""
        with suppress(OSError, ValueError, AttributeError):
            return os.path.samestat(os.fstat(sys.stdout.fileno()), self.path.stat())
        return False
