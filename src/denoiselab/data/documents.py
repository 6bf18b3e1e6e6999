"""Documents: where text comes from and where one ends. What is no text is named by file and byte, never passed over
in silence."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from denoiselab.data.folder import shown
from denoiselab.spec import Refused


class Document(NamedTuple):
    text: str
    label: int = 0


class Ends(NamedTuple):
    """How a text is divided in documents, and what is between two where they are one text again."""

    divided: Callable[[str], list[str]]
    between: str


ENDS = {
    "file": Ends(lambda text: [text], "\n\n"),
    "line": Ends(lambda text: text.split("\n"), "\n"),
    "blank": Ends(lambda text: [p.strip("\n") for p in re.split(r"\n(?:[ \t]*\n)+", text)], "\n\n"),
}


def plain(path: Path) -> tuple[str, list[str]]:
    """The text of a file and what was changed in it; raises `Refused` on what is no text, with file and byte."""
    raw = path.read_bytes()
    if not raw.strip():
        raise Refused(f"{path} has no text", f"{len(raw)} bytes of white space" if raw else "an empty file",
                      "give data.path=FILE with text")  # fmt: skip
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        lone = raw[error.start] == 0xED and raw[error.start + 1 : error.start + 2] >= b"\xa0"
        reason = "a lone surrogate" if lone else error.reason
        wide = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
        fix = (f"write the character in one piece: iconv -f cesu-8 or utf-16 -t utf-8 {path.name}" if lone
               else f"convert it: iconv -f {'utf-16' if wide else 'latin1'} -t utf-8 {path.name}")  # fmt: skip
        raise Refused(f"{path} is no UTF-8: {reason} at byte {error.start}", f"0x{raw[error.start]:02x}", fix) from None
    if "\0" in text:
        raise Refused(f"{path} is no text: a NUL at byte {raw.index(0)}", f"{text.count(chr(0))} of them",
                      "give data.path=FILE with text")  # fmt: skip
    return tidy(text)


def tidy(text: str) -> tuple[str, list[str]]:
    """A text without byte order mark and with \\n at the end of lines, and what was changed."""
    notes = []
    if text.startswith("\ufeff"):
        text = text[1:]
        notes.append("dropped a byte order mark")
    if "\r" in text:
        notes.append(f"replaced {text.count(chr(13))} line ends by \\n")
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text, notes


def sound(text: object, where: str) -> str:
    """A text that did not come from a file of ours, tidied; raises `Refused` on what is none."""
    if not isinstance(text, str):
        raise Refused(f"{where} is no text", type(text).__name__, "give data.text=COLUMN, one that holds text")
    for what, bad in (("a NUL", "\0"), ("a lone surrogate", r"[\ud800-\udfff]")):
        if found := re.search(bad, text):
            raise Refused(f"{where} is no text: {what} at character {found.start()}", repr(found[0]),
                          "mend or remove it, or give data.skip_bad=true")  # fmt: skip
    return tidy(text)[0]


def read(sources: Mapping[str, Callable[[], str]], skip_bad: bool, where: str) -> tuple[dict[str, str], list[str]]:
    """The texts of sources, and which were skipped, as notes. Every one is tried, so that all bad ones are named at
    once."""
    texts, bad = {}, []
    for name, source in sources.items():
        try:
            texts[name] = source()
        except Refused as error:
            bad.append(f"{name} ({error.what}; {error.got})")
        except OSError as error:
            bad.append(f"{name} ({error.strerror or error})")
    if bad and (not skip_bad or not texts):
        raise Refused(f"{len(bad)} of {len(sources)} texts in {where} cannot be read", shown(bad),
                      "mend or remove them" + ("" if skip_bad else ", or give data.skip_bad=true"))  # fmt: skip
    return texts, [f"skipped {len(bad)} of {len(sources)} texts that cannot be read: {shown(bad)}"] if bad else []


def divided(texts: Iterable[str], documents: str) -> tuple[list[list[str]], list[str]]:
    """The documents of each text, and how many have nothing in them, as notes."""
    found = [ENDS[documents].divided(text) for text in texts]
    kept = [[document for document in group if document and not document.isspace()] for group in found]
    blank = sum(map(len, found)) - sum(map(len, kept))
    return kept, [f"skipped {blank} documents of white space alone"] if blank else []
