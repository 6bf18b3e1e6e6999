"""Text files: bytes to characters. What is no text in UTF-8 is refused with file and byte, and with the command that
converts it, as far as the bytes tell what they are."""

import re
import shlex
from collections import Counter
from pathlib import Path

from denoiselab.spec import Refused

MARK = "\ufeff"  # a byte order mark, once it is decoded
WIDE = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
HIGH = {(False, True, False, True): "utf-16le", (True, False, True, False): "utf-16be",
        (False, True, True, True): "utf-32le", (True, True, True, False): "utf-32be"}  # fmt: skip


def plain(path: Path, option: str = "data.path") -> tuple[str, list[str]]:
    """The text of a file, tidied, and what was changed in it; raises `Refused` as `characters` does."""
    return tidy(characters(path, option))


def characters(path: Path, option: str) -> str:
    """The text of a file as it stands; the file was given as the `option`. Raises `Refused` on what is no text."""
    give = f"give {option}=FILE with text"
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise Refused(f"{path} cannot be read", error.strerror or error, give) from None
    wide = width(raw)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        at = error.start
        lone = raw[at] == 0xED and raw[at + 1 : at + 2] >= b"\xa0"
        raise Refused(f"{path} is no UTF-8: {'a lone surrogate' if lone else error.reason} at byte {at}",
                      f"0x{raw[at]:02x}" + (f"; its first bytes are those of {wide}" if wide else ""),
                      mended(raw[:at], lone, wide, path)) from None  # fmt: skip
    if "\0" in text:
        zeros, drop = (
            f"{raw.count(0)} of {len(raw)} bytes are 0",
            "if all else is text, leave them out: tr -d '\\000' <",
        )
        raise Refused(f"{path} is no text: a NUL at byte {raw.index(0)}",
                      zeros + (f"; its first bytes are those of {wide}" if wide else ""),
                      mended(raw, False, wide, path) if wide else command(drop, path))  # fmt: skip
    if not text.replace(MARK, "").strip():
        raise Refused(f"{path} has no text", f"{len(raw)} bytes of white space" if raw else "an empty file", give)
    return text


def width(raw: bytes) -> str:
    """The encoding in units of two or four bytes that bytes seem to have, by their mark or by where among the first
    ones a value is in most places, as of one alphabet, and 0 in some, as of white space; empty for none."""
    for mark, name in WIDE:
        if raw.startswith(mark):
            return name
    columns = [Counter(raw[i:4096:4]) for i in range(4)]
    return HIGH.get(tuple(0 in column and 2 * max(column.values()) > column.total() for column in columns), "")


def mended(before: bytes, lone: bool, wide: str, path: Path) -> str:
    """How a file that is no UTF-8 is made one. With letters beyond ASCII `before` the fault it is one, but damaged:
    read in another encoding it would lose them all."""
    if wide:
        return command(f"convert it: iconv -f {wide} -t utf-8", path)
    if lone or not before.isascii():
        return command("mend it, or leave out what is no UTF-8: iconv -c -f utf-8 -t utf-8", path)
    return command("convert it from its encoding, as latin1: iconv -f latin1 -t utf-8", path)


def command(words: str, path: Path) -> str:
    """A command that reads a file and writes another beside it."""
    return f"{words} {shlex.quote(path.name)} > {shlex.quote(f'utf8-{path.name}')}"


def tidy(text: str) -> tuple[str, list[str]]:
    """A text without byte order marks and with \\n at the end of lines, and what was changed. A mark within a text is
    left from files put together; as a character without width it is out of use since Unicode 3.2."""
    notes = []
    if text.startswith(MARK):
        text = text[1:]
        notes.append("dropped a byte order mark")
    if within := text.count(MARK):
        text = text.replace(MARK, "")
        notes.append(f"dropped byte order marks within the text, {within} of them: files were put together there")
    if "\r" in text:
        text, ends = re.subn(r"\r\n?", "\n", text)
        notes.append(f"replaced {ends} line ends by \\n")
    return text, notes
