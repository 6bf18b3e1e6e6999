"""Text: int64 ids (N, L), clean ones 0 to V - 1.

A corpus is cut, or each sample is a text of its own, right-padded where it is shorter; then `valid` (N, L) in the
context says where text is, and padding has the id of a space. A tokenizer is fitted on the training text alone, all of
it, whatever `n` is.
"""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from denoiselab.data.base import SPLITS, Codec, Data, Loaded, Table, checked
from denoiselab.data.splits import loaded, located
from denoiselab.data.tokenizer import Tokenizer
from denoiselab.spec import Refused, Spec

SHARES = (0.9, 0.95)  # where the training and the validation split end


class TextFile(Data):
    """A text file in UTF-8, cut into windows of `length` tokens that do not overlap; the first 90 % of its characters
    train, the next 5 % validate, the last 5 % test.

    A byte order mark is dropped, line ends become \\n; both are said in the notes.

    Args:
        path: the file; None: `below` in $DENOISELAB_DATA.
        source: where it can be fetched, for messages.
    """

    def __init__(self, codec: Codec, path: str | None, length: int, batch_size: int, n: int | None = None,
                 below: str | None = None, source: str = "", num_workers: int = 0):  # fmt: skip
        checked(batch_size, n, num_workers)
        spans(length, 1)
        self.codec, self.path, self.length = codec, path, length
        self.batch_size, self.n, self.num_workers = batch_size, n, num_workers
        self.below, self.source = below, source

    def load(self):
        self.codec.accepts(Spec("tokens", (self.length,)))
        path = located(self.path, self.below, "path", self.source, Path.is_file)
        if path is None:
            fetch = f"fetch it from {self.source}, and set DENOISELAB_DATA or give data.path=FILE"
            raise Refused("this data is a text file", "data.path=null", fetch if self.source else "give data.path=FILE")
        text, notes = plain(path)
        ends = [0, *(int(share * len(text)) for share in SHARES), len(text)]
        texts = [text[a:b] for a, b in pairwise(ends)]
        codec, unread = fitted(self.codec, texts)
        tables = [Table(windows(codec.encode(t), self.length, f"the {split} split of {path}"))
                  for split, t in zip(SPLITS, texts, strict=True)]  # fmt: skip
        return loaded(codec, Spec("tokens", (self.length,)), tuple(tables), self.n, notes=notes + unread)


def spans(length: int, least: int) -> None:
    if length < least:
        raise Refused("data.length is the length of a sample", length, f"give {least} or more")


def plain(path: Path) -> tuple[str, list[str]]:
    """The text of a file and what was changed in it; raises `Refused` on what is no text, with file and byte."""
    raw, notes = path.read_bytes(), []
    if not raw.strip():
        raise Refused(f"{path} has no text", f"{len(raw)} bytes of white space" if raw else "an empty file",
                      "give data.path=FILE with text")  # fmt: skip
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"{path} is no UTF-8: {error.reason} at byte {error.start}", f"0x{raw[error.start]:02x}",
                      f"convert it: iconv -f latin1 -t utf-8 {path.name} (or from utf-16)") from None  # fmt: skip
    if "\0" in text:
        raise Refused(f"{path} is no text: a NUL at byte {raw.index(0)}", f"{text.count(chr(0))} of them",
                      "give data.path=FILE with text")  # fmt: skip
    if text.startswith("\ufeff"):
        text = text[1:]
        notes.append("dropped a byte order mark")
    if "\r" in text:
        notes.append(f"replaced {text.count(chr(13))} line ends by \\n")
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text, notes


def fitted(codec: Tokenizer, texts: list[str]) -> tuple[Tokenizer, list[str]]:
    """The tokenizer of the first text, and what it cannot read in the splits, as notes."""
    codec = codec.fit(texts[0], "".join(texts[1:]))
    notes = []
    for split, text in zip(SPLITS, texts, strict=True):
        lost: Counter = codec.unknown(text)
        if lost:
            some = " ".join(repr(c) for c, _ in lost.most_common(5))
            notes.append(f"{split}: {lost.total()} characters of {len(lost)} kinds are read as unknown: {some}")
    return codec, notes


def windows(ids: Tensor, length: int, what: str) -> Tensor:
    """(N, length), without the rest."""
    n = len(ids) // length
    if n == 0:
        raise Refused(f"{what} is shorter than one sequence", f"{len(ids)} tokens, data.length={length}",
                      "give a longer text or a smaller data.length")  # fmt: skip
    return ids[: n * length].view(n, length)


def padded(codec: Tokenizer, texts: list[str], length: int) -> tuple[Tensor, Tensor]:
    """Ids (N, length) and where text is, (N, length) bool, of one text a row."""
    rows = [codec.encode(text) for text in texts]
    sizes = torch.tensor([len(row) for row in rows])
    if sizes.max() > length:
        raise Refused("data.length is too short for a sample", f"{sizes.max()} tokens, data.length={length}",
                      f"give data.length={sizes.max()} or more")  # fmt: skip
    valid = torch.arange(length) < sizes[:, None]
    x = torch.full((len(rows), length), int(codec.encode(" ")[0]))
    x[valid] = torch.cat(rows)
    return x, valid


def rows(codec: Codec, texts: list[list[str]], length: int, n: int | None, alphabet: str) -> Loaded:
    """Train, val and test of texts that are a sample each. All characters of the `alphabet` have ids, whether the
    training texts hold them or not."""
    codec.accepts(Spec("tokens", (length,)))
    codec, notes = fitted(codec, [" ".join(t) for t in ([alphabet, *texts[0]], *texts[1:])])
    splits = [padded(codec, t, length) for t in texts]
    if all(valid.all() for _, valid in splits):
        return loaded(codec, Spec("tokens", (length,)), tuple(Table(x) for x, _ in splits), n, notes=notes)
    spec = Spec("tokens", (length,), context=frozenset({"valid"}))
    return loaded(codec, spec, tuple(Table(x, {"valid": valid}) for x, valid in splits), n, notes=notes)
