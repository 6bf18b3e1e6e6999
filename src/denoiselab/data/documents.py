"""Documents: where text comes from and where one ends. What is no text is named, never passed over in silence."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from denoiselab.data.folder import shown
from denoiselab.data.plain import tidy
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
    "line": Ends(lambda text: ended(text).split("\n"), "\n"),
    "blank": Ends(lambda text: [p.strip("\n") for p in re.split(r"\n(?:[ \t]*\n)+", ended(text))], "\n\n"),
}


def ended(text: str) -> str:
    """The text without the end of its last line, behind which nothing begins, and empty lines there."""
    body = text.rstrip()
    return body + text[len(body) :].partition("\n")[0]


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
    if bad and (not skip_bad or not texts):
        raise Refused(f"{len(bad)} of {len(sources)} texts in {where} cannot be read", shown(bad),
                      "mend or remove them" + ("" if skip_bad else ", or give data.skip_bad=true"))  # fmt: skip
    return texts, [f"skipped {len(bad)} of {len(sources)} texts that cannot be read: {shown(bad)}"] if bad else []


@contextmanager
def after(notes: Sequence[str]) -> Iterator[None]:
    """What is refused within says what had been left out before: it may be the reason."""
    try:
        yield
    except Refused as error:
        raise Refused(error.what, "; ".join([str(error.got), *notes]), error.fix) from None


def divided(texts: Iterable[str], documents: str) -> tuple[list[list[str]], list[str]]:
    """The documents of each text, and how many have nothing in them, as notes."""
    found = [ENDS[documents].divided(text) for text in texts]
    kept = [[document for document in group if document and not document.isspace()] for group in found]
    blank = sum(map(len, found)) - sum(map(len, kept))
    return kept, [f"skipped {blank} documents of white space alone"] if blank else []
