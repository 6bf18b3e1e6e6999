"""Text files: what is no text is refused with what it is and how to mend it; marks are dropped and said."""

import re
import shutil
import subprocess
from itertools import product

import pytest

from denoiselab.data.base import SPLITS
from denoiselab.data.documents import divided, read
from denoiselab.data.plain import characters, plain, tidy, width
from denoiselab.data.text import TextFile
from denoiselab.data.text_folder import TextFolder
from denoiselab.data.tokenizer import Byte
from denoiselab.spec import Refused

pytestmark = pytest.mark.usefixtures("alone")
TEXT = "".join(f"Zeile {i} über Žluťoučký kůň, {i * i % 97}\n" for i in range(40))
WIDE = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]


def refused(path, content: bytes) -> Refused:
    path.write_bytes(content)
    with pytest.raises(Refused) as error:
        plain(path)
    assert str(path) in error.value.what
    return error.value


@pytest.mark.parametrize("encoding, name", [*product(WIDE[:3], ["a b'c.txt"]), *product(WIDE, ["text.txt"])])
@pytest.mark.parametrize("text", [TEXT, "Съешь ещё этих мягких французских булок\n" * 9, "plain words\n" * 9])
def test_what_is_said_of_a_wide_encoding_converts_it(tmp_path, encoding, name, text):
    error = refused(tmp_path / name, text.encode(encoding))
    assert encoding.replace("-le", "le").replace("-be", "be") in f"{error.got}"
    converted(error, tmp_path, name, text)


@pytest.mark.parametrize("content, want", [
    (TEXT.encode() + b"\xff\xfe" + TEXT.encode(), TEXT * 2), (b"ab\xed\xa0\x80cd", "abcd"),
    ("für".encode("latin1"), "für"), (TEXT.encode() + b"\0" + TEXT.encode(), TEXT * 2),
], ids=["damaged", "surrogate", "latin1", "nul"])  # fmt: skip
def test_what_is_said_of_other_bytes_keeps_the_rest(tmp_path, content, want):
    """A file that is UTF-8 but for a byte is not to be read as something else."""
    converted(refused(tmp_path / "text.txt", content), tmp_path, "text.txt", want)


def converted(error, folder, name, want):
    """Runs the command of a message."""
    if not shutil.which("iconv"):
        pytest.skip("iconv is not here")
    subprocess.run(["sh", "-c", error.fix.rpartition(": ")[2]], cwd=folder, check=False)
    assert plain(folder / f"utf8-{name}")[0] == want


@pytest.mark.parametrize(
    "content", [TEXT.encode(), "für".encode("latin1"), b"a\0b", b"abc\0", b"", b"a", b"\0", b"a\0\0b"]
)
def test_what_is_not_wide_is_not_said_to_be(content):
    assert width(content) == ""


@pytest.mark.parametrize("content", ["\ufeff", "\ufeff \n", "\n\ufeff\ufeff", "\u00a0\u2003\n"])
def test_marks_and_white_space_are_no_text(tmp_path, content):
    assert "has no text" in refused(tmp_path / "text.txt", content.encode()).what


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(Refused, match="cannot be read"):
        characters(tmp_path, "input")


def test_marks_within_are_dropped_and_counted():
    assert tidy("\ufeffa\nb\ufeffc\r\n\ufeff\rd") == (
        "a\nbc\n\nd",
        [
            "dropped a byte order mark",
            "dropped byte order marks within the text, 2 of them: files were put together there",
            "replaced 2 line ends by \\n",
        ],
    )
    assert tidy(TEXT) == (TEXT, [])


def test_files_put_together_are_as_if_they_had_no_marks(tmp_path):
    """The data is the same, to its fingerprint."""
    path = tmp_path / "text.txt"
    path.write_text(TEXT * 2, encoding="utf-8")
    want = TextFile(Byte(), str(path), 16, 8).load()
    path.write_bytes(2 * b"".join((b"\xef\xbb\xbf", TEXT.encode())))
    data = TextFile(Byte(), str(path), 16, 8).load()
    assert data.fingerprint() == want.fingerprint()
    assert any("1 of them" in note for note in data.notes)


# -- documents


def test_the_end_of_the_last_line_begins_no_document():
    assert divided(["a\nb\n", "c\n\n \n", "d"], "line") == ([["a", "b"], ["c"], ["d"]], [])
    assert divided(["a\n\nb\n\n"], "blank") == ([["a", "b"]], [])
    assert divided(["a\n\nb  \n"], "line") == ([["a", "b  "]], ["skipped 1 documents of white space alone"])


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    for name, n in (("a", 2000), ("b", 60), ("c", 40)):
        (root / f"{name}.txt").write_text((TEXT * 2)[:n], encoding="utf-8")
    return root


def test_few_documents_of_unlike_length_are_said_and_how_to_divide_them(folder):
    data = TextFolder(Byte(), str(folder), 16, 8).load()
    [note] = [note for note in data.notes if "not split 80, 10 and 10 %" in note]
    said = dict(re.findall(r"(\w+) ([\d.]+)% in 1", note))
    text = {split: "".join(data.codec.decode(data.split(split).x)) for split in SPLITS}
    for split, share in said.items():
        assert abs(float(share) / 100 - len(text[split]) / 2100) < 0.02
    assert sum(map(float, said.values())) == pytest.approx(100, abs=0.2)
    assert "data.documents=blank or line" in note
    (folder / "d.txt").write_text("\n".join(["as long as any line"] * 5000))
    by_line = TextFolder(Byte(), str(folder), 16, 8, documents="line").load()
    assert not any("not split" in note for note in by_line.notes)


def test_two_documents_cannot_be_split_and_a_way_is_named(folder):
    (folder / "c.txt").unlink()
    with pytest.raises(Refused, match=r"2 by data.documents=file\n.*data.documents=blank or line"):
        TextFolder(Byte(), str(folder), 16, 8).load()


def test_too_little_text_says_what_was_skipped(folder):
    (folder / "a.txt").write_bytes(TEXT.encode("utf-16"))
    with pytest.raises(Refused, match=r"got: 2 by .*; skipped 1 of 3 .*a\.txt.*utf-16"):
        TextFolder(Byte(), str(folder), 16, 8, skip_bad=True).load()
    (folder / "d.txt").write_text("d")
    with pytest.raises(Refused, match=r"tokens, data\.length=512; skipped 1 of 4 .*a\.txt"):
        TextFolder(Byte(), str(folder), 512, 8, skip_bad=True, layout="windows").load()
    (folder / "e.txt").write_text("start\ne")
    with pytest.raises(Refused, match=r"shorter than one sequence\n.*; left out 6 characters before data\.start"):
        TextFile(Byte(), str(folder / "e.txt"), 16, 8, start="start").load()


def test_what_cannot_be_opened_is_bad_like_the_rest(tmp_path):
    sources = {"a": lambda: plain(tmp_path)[0], "b": lambda: "text"}
    with pytest.raises(Refused, match="1 of 2 texts"):
        read(sources, False, "it")
    texts, [note] = read(sources, True, "it")
    assert texts == {"b": "text"}
    assert "cannot be read" in note
