"""Documents of text: nothing is lost, packed rows keep documents apart, and what is bad is named and counted."""

import json
import re
from itertools import pairwise

import numpy as np
import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from denoiselab.architecture.transformer import Transformer
from denoiselab.data.base import SPLITS
from denoiselab.data.documents import ENDS, divided, sound
from denoiselab.data.hub_text import HubText
from denoiselab.data.layout import best_fit, packed, padded
from denoiselab.data.subword import BPE, TokenizerFile, Unigram
from denoiselab.data.text import TextFile, TextSplits
from denoiselab.data.text_folder import TextFolder
from denoiselab.data.tokenizer import Byte, Character
from denoiselab.spec import Refused, Spec

pytestmark = pytest.mark.usefixtures("alone")
LINES = [f"Line {i} says: it is {'very ' * (i % 7)}long. Is it? \u201cYes!\u201d says Ann Lee." for i in range(120)]
CODECS = [Character(), Byte(), BPE(300), Unigram(300)]
each_codec = pytest.mark.parametrize("codec", CODECS, ids=["character", "byte", "bpe", "unigram"])
SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=60).filter(any)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n".join(LINES), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "root"
    for i, line in enumerate(LINES):
        path = root / ("odd" if i % 2 else "even") / f"{i:03}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(line, encoding="utf-8")
    return root


def by_line(path, codec=None, layout="packed", length=48, **more):
    return TextFile(codec or Character(), str(path), length, 8, documents="line", layout=layout, **more).load()


def texts(data, split):
    """The documents of a split, or their pieces, as text."""
    table = data.split(split)
    valid = table.context.get("valid", torch.ones_like(table.x, dtype=torch.bool))
    segment = table.context.get("segment", torch.zeros_like(table.x))
    return [data.codec.decode(row[v & (s == number)][None])[0]
            for row, v, s in zip(table.x, valid, segment, strict=True) for number in s[v].unique()]  # fmt: skip


# -- layouts


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(1, 20))
def test_every_token_is_placed_once(sizes, length):
    for layout in (packed, padded):
        rows = layout(sizes, length, "train", "it")
        there = rows.source[rows.source >= 0]
        assert sorted(there.tolist()) == list(range(sum(sizes)))
        assert rows.source.shape == rows.segment.shape
        document = np.repeat(np.arange(len(sizes)), sizes)
        for source, segment, first in zip(rows.source, rows.segment, rows.document, strict=True):
            valid = source >= 0
            assert (valid[1:] <= valid[:-1]).all()  # padding is on the right
            assert document[source[0]] == first
            assert set(segment[~valid]) <= {segment[valid].max() + 1}
            for number in set(segment[valid]):
                own = source[(segment == number) & valid]
                assert len(set(document[own])) == 1
                assert (np.diff(own) == 1).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=80))
def test_best_fit_leaves_no_two_rows_that_fit_in_one(sizes):
    rows = best_fit(sizes, 20)
    assert sorted(i for row in rows for i in row) == list(range(len(sizes)))
    load = sorted(sum(sizes[i] for i in row) for row in rows)
    assert load[-1] <= 20
    assert all(a + b > 20 for a, b in pairwise(load))


def test_fill_is_said_and_packing_fills_more(file):
    full, loose = by_line(file), by_line(file, layout="padded")
    share = {}
    for name, data in (("packed", full), ("padded", loose)):
        share[name] = data.train.context["valid"].double().mean().item()
        [note] = [note for note in data.notes if note.startswith("train:") and "places are text" in note]
        assert f"train: {share[name]:.1%} of {data.train.x.numel()} places are text" in note
    assert share["packed"] > 0.95 > share["padded"]
    assert f"a document a row, {share['padded']:.1%}" in "".join(full.notes)


# -- documents


@each_codec
@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_documents_come_back_whole(file, codec, layout):
    data = by_line(file, codec, layout, length=128)
    assert sorted(t for split in SPLITS for t in texts(data, split)) == sorted(LINES)
    assert data.spec.context == {"valid"} | ({"segment"} if layout == "packed" else set())
    assert [len(texts(data, split)) for split in SPLITS] == [96, 12, 12]
    assert data.fingerprint() == by_line(file, codec, layout, length=128).fingerprint()
    assert data.train.x.max() < data.spec.vocabulary == len(data.spec.alphabet)


def test_what_is_too_long_is_cut_and_counted(file):
    data = by_line(file, layout="padded", length=60)
    long = sum(len(line) > 60 for line in LINES)
    counted = [re.match(r"(\w+): (\d+) of \d+ documents are longer than 60 tokens", note) for note in data.notes]
    assert sum(int(match[2]) for match in counted if match) == long > 0
    assert sorted("".join(t for s in SPLITS for t in texts(data, s))) == sorted("".join(LINES))


def test_lines_and_blank_lines():
    assert ENDS["blank"].divided("a\nb\n\n\n  \nc\n \n  d") == ["a\nb", "c", "  d"]
    assert divided(["a\n\n \nb"], "line") == ([["a", "b"]], ["skipped 2 documents of white space alone"])
    assert divided(["a\n\nb"], "file") == ([["a\n\nb"]], [])
    assert len(divided(["\n" * 2_000_000 + "a"], "blank")[0][0]) == 1


def test_a_file_for_a_folder_and_a_folder_for_a_file_are_told_apart(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("text")
    with pytest.raises(Refused, match=re.escape(f"data.root=FOLDER; or data=text_file data.path={file}")):
        TextFolder(Character(), str(file), 32, 8, layout="windows").load()
    with pytest.raises(Refused, match=re.escape(f"data.path=FILE; or data=text_folder data.root={tmp_path}")):
        TextFile(Character(), str(tmp_path), 32, 8).load()
    with pytest.raises(Refused, match=r"nothing is there\n.*data.path=FILE$"):
        TextFile(Character(), str(tmp_path / "none"), 32, 8).load()


def test_windows_over_documents(folder):
    data = TextFolder(Character(), str(folder), 32, 8, layout="windows").load()
    assert not data.spec.context
    joined = "".join(data.codec.decode(data.test.x))
    lines = joined.split("\n\n")
    assert len(lines) > 5
    assert set(lines[:-1]) <= set(LINES)


@pytest.mark.parametrize("wrong", [{"documents": "page"}, {"layout": "tight"}, {"marks": ["verb"]}])
def test_words_that_are_none(file, wrong):
    with pytest.raises(Refused, match=r"data\."):
        TextFile(Byte(), str(file), 8, 8, **wrong)


def test_a_part_of_a_file(file):
    file.write_text("header\n*** START of it\n" + "\n".join(LINES) + "\n*** END of it\nlicense\n", encoding="utf-8")
    data = TextFile(Character(), str(file), 16, 8, start="*** START", end="*** END").load()
    plain = TextFile(Character(), str(file), 16, 8).load()
    assert data.codec.decode(data.train.x[:1]) == [LINES[0][:16]]
    assert plain.codec.decode(plain.train.x[:1])[0].startswith("header")
    assert data.notes[0].startswith("left out 45 characters")
    for wrong in ({"start": "nowhere"}, {"end": "nowhere"}, {"start": "license"}):
        with pytest.raises(Refused):
            TextFile(Character(), str(file), 16, 8, **wrong).load()


def test_splits_in_files_of_their_own(tmp_path, file):
    (tmp_path / "valid.txt").write_text("validation text. " * 100)
    (tmp_path / "test.txt").write_text("test text. " * 100)
    alone = TextSplits(Byte(), None, str(tmp_path), "valid.txt", "test.txt", 32, 8).load()
    assert any("no training file" in note for note in alone.notes)
    assert alone.codec.decode(alone.test.x[:1])[0].startswith("test text. test")
    assert alone.codec.decode(alone.train.x[:1])[0].startswith("validation text.")
    with_one = TextSplits(Byte(), str(file), str(tmp_path), "valid.txt", "test.txt", 32, 8).load()
    assert with_one.codec.decode(with_one.train.x[:1])[0].startswith("Line 0 says")
    assert with_one.codec.decode(with_one.val.x[:1])[0].startswith("validation text.")
    assert not any("no training file" in note for note in with_one.notes)
    with pytest.raises(Refused, match=r"data\.root"):
        TextSplits(Byte(), None, str(tmp_path), "absent.txt", "test.txt", 32, 8).load()
    with pytest.raises(Refused, match=r"data\.root=null"):
        TextSplits(Byte(), None, None, "valid.txt", "test.txt", 32, 8).load()


def test_the_books(data_root, monkeypatch):
    monkeypatch.setenv("DENOISELAB_DATA", str(data_root))
    data = TextFile(Character(), None, 128, 64, below="text-war-and-peace/2600-0.txt", start="*** START OF",
                    end="*** END OF").load()  # fmt: skip
    assert "Gutenberg EBook" not in data.codec.decode(data.train.x[:20].flatten()[None])[0]
    assert any("byte order mark" in note for note in data.notes)
    assert len(data.train.x) > 22_000
    wiki = TextSplits(Byte(), None, None, "valid.txt", "test.txt", 128, 64, below="text-wikitext2").load()
    assert len(wiki.test.x) == len((data_root / "text-wikitext2/test.txt").read_bytes()) // 128


# -- labels


def test_labels_of_folders_and_files(folder):
    data = TextFolder(Character(), str(folder), 128, 8, layout="padded", labels="folder").load()
    assert data.spec.classes == 2
    assert data.spec.context == {"label", "valid"}
    for text, label in zip(texts(data, "train"), data.train.context["label"].tolist(), strict=True):
        assert int(text.split()[1]) % 2 == label  # even before odd
    (folder / "alone.txt").write_text("text")
    with pytest.raises(Refused, match=r"alone\.txt is in none"):
        TextFolder(Character(), str(folder), 128, 8, layout="padded", labels="folder").load()
    files = TextFolder(Character(), str(folder), 128, 8, layout="padded", labels="file").load()
    assert files.spec.classes == 121
    with pytest.raises(Refused, match=r"data\.layout=padded"):
        TextFolder(Character(), str(folder), 128, 8, layout="packed", labels="file").load()


def test_a_cut_document_keeps_its_label(folder):
    data = TextFolder(Character(), str(folder), 16, 8, layout="padded", labels="folder").load()
    number = None
    for text, label in zip(texts(data, "val"), data.val.context["label"].tolist(), strict=True):
        if found := re.match(r"Line (\d+)", text):
            number = int(found[1])
        assert number % 2 == label


# -- what is bad


BAD = {
    "latin1": (b"Jos\xe9 " * 3, "at byte 3"), "surrogate": (b"ab\xed\xa0\x80", "a lone surrogate at byte 2"),
    "nul": (b"abc\0", "a NUL at byte 3"), "empty": (b"", "has no text"), "half": (b"ab\xe2\x82", "at byte 2"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_one_bad_file_of_many(folder, name):
    content, what = BAD[name]
    (folder / "even" / "bad.txt").write_bytes(content)
    (folder / "notes.md").write_text("no .txt")
    with pytest.raises(Refused, match=r"1 of 121 texts") as error:
        TextFolder(Byte(), str(folder), 32, 8).load()
    assert what in str(error.value)
    assert "even/bad.txt" in str(error.value)
    assert "skip_bad=true" in str(error.value)
    data = TextFolder(Byte(), str(folder), 32, 8, skip_bad=True).load()
    [note] = [note for note in data.notes if note.startswith("skipped")]
    assert "1 of 121" in note
    assert "even/bad.txt" in note
    assert any("passed over 1 files that are no .txt: notes.md" in note for note in data.notes)


def test_one_bad_file_in_a_thousand(tmp_path):
    for i in range(1000):
        (tmp_path / f"{i:03}.txt").write_bytes(b"bad \xff" if i == 617 else f"document {i}".encode())
    with pytest.raises(Refused, match=r"1 of 1000 texts.*\n.*617\.txt \(.*at byte 4") as error:
        TextFolder(Byte(), str(tmp_path), 32, 8).load()
    assert "616" not in str(error.value)
    data = TextFolder(Byte(), str(tmp_path), 32, 8, skip_bad=True).load()
    assert sorted(t for split in SPLITS for t in texts(data, split)) == sorted(
        f"document {i}" for i in range(1000) if i != 617
    )
    assert any(re.match(r"skipped 1 of 1000 texts .*617\.txt", note) for note in data.notes)


def test_a_text_without_spaces(file):
    file.write_text("ACGT" * 100)
    assert TextFile(Character(), str(file), 16, 8).load().spec.vocabulary == 4
    file.write_text("\n".join(["ACGT", "GATTACA", "TTTT"] * 4))
    data = by_line(file, layout="padded", length=8)
    assert data.spec.alphabet == (" ", "A", "C", "G", "T")
    assert set(texts(data, "train")) == {"ACGT", "GATTACA", "TTTT"}


def test_documents_of_no_tokens_are_counted(tmp_path):
    """A tokenizer of a file may give nothing for a text."""
    model = tokenizers.Tokenizer(tokenizers.models.BPE({c: i for i, c in enumerate(" abc")}, []))
    model.save(str(tmp_path / "tokenizer.json"))
    path = tmp_path / "a.txt"
    path.write_text("\n".join(["abc"] * 30 + ["xyz"] * 3))
    data = by_line(path, TokenizerFile(str(tmp_path / "tokenizer.json")), "padded", length=4)
    lost = [int(found[1]) for note in data.notes if (found := re.search(r"(\d+) documents have no tokens", note))]
    assert sum(lost) == 3
    assert sum(len(texts(data, split)) for split in SPLITS) == 30
    assert any("characters of" in note and "'x'" in note for note in data.notes)


def test_what_is_not_given_back_is_said(file, tmp_path):
    model = BPE(300).train("\n".join(LINES))
    model.normalizer = tokenizers.normalizers.Lowercase()
    model.save(str(tmp_path / "tokenizer.json"))
    data = by_line(file, TokenizerFile(str(tmp_path / "tokenizer.json")))
    assert any("does not give text back as it was: 'Line" in note and "becomes 'line" in note for note in data.notes)
    assert not any("give text back" in note for note in by_line(file, BPE(300)).notes)


def test_folders_that_hold_nothing(tmp_path):
    for content, what in (({}, "an empty folder"), ({"a.md": "x", ".b.txt": "x"}, "1 other files")):
        root = tmp_path / what.replace(" ", "_")
        root.mkdir()
        for name, text in content.items():
            (root / name).write_text(text)
        with pytest.raises(Refused, match=what):
            TextFolder(Byte(), str(root), 8, 8).load()
    (root / "a.txt").write_text("one document")
    with pytest.raises(Refused, match="3 or more"):
        TextFolder(Byte(), str(root), 8, 8).load()
    (root / "a.txt").write_bytes(b"\xff")
    with pytest.raises(Refused, match="cannot be read"):
        TextFolder(Byte(), str(root), 8, 8, skip_bad=True).load()
    with pytest.raises(Refused, match=r"data\.root=null"):
        TextFolder(Byte(), None, 8, 8).load()


def test_marks_of_files_are_dropped_and_said(folder):
    plain = TextFolder(Byte(), str(folder), 64, 8).load()
    path = folder / "even" / "000.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    data = TextFolder(Byte(), str(folder), 64, 8).load()
    assert data.fingerprint() == plain.fingerprint()
    assert any("byte order mark" in note for note in data.notes)


# -- the hub


@pytest.fixture
def jsonl(tmp_path):
    pytest.importorskip("datasets", reason="the hub's library is not here: pip install denoiselab[hub]")
    root = tmp_path / "hub"
    root.mkdir()
    (root / "train.jsonl").write_text(
        "".join(json.dumps({"text": line, "n": i}) + "\n" for i, line in enumerate(LINES))
    )
    return root


def test_the_first_rows_of_a_stream(jsonl):
    data = HubText(Character(), str(jsonl), 128, 8, first=50, layout="padded").load()
    assert sorted(t for split in SPLITS for t in texts(data, split)) == sorted(LINES[:50])
    assert f"read the first 50 rows of the train split of {jsonl}" in data.notes
    assert [len(data.split(s).x) for s in SPLITS] == [40, 5, 5]
    (jsonl / "test.jsonl").write_text('{"text": "a test", "n": 1}\n' * 20)
    data = HubText(Character(), str(jsonl), 128, 8, first=50, layout="padded").load()
    assert texts(data, "test") == ["a test"] * 5


def test_bad_rows_of_a_stream(jsonl):
    import datasets

    for arguments, what in (
        ({"text": "txt"}, "no column txt"),
        ({"text": "n"}, "is no text"),
        ({"first": 2}, "3 documents"),
    ):
        with pytest.raises(Refused, match=what):
            HubText(Character(), str(jsonl), 32, 8, **arguments).load()
    with pytest.raises(Refused, match="first"):
        HubText(Character(), str(jsonl), 32, 8, first=0)
    with pytest.raises(Refused, match="null"):
        HubText(Character(), None, 32, 8).load()
    path = jsonl.parent / "saved"
    datasets.Dataset.from_dict({"text": [*LINES[:20], "a\0b", None, " "]}).save_to_disk(path)
    with pytest.raises(Refused, match=r"2 of 23 texts.*\n.*row 20"):
        HubText(Character(), str(path), 32, 8).load()
    data = HubText(Character(), str(path), 32, 8, skip_bad=True).load()
    assert any(note.startswith("skipped 2 of 23 texts") for note in data.notes)
    assert any("skipped 1 documents of white space" in note for note in data.notes)


def test_a_lone_surrogate_in_a_row():
    with pytest.raises(Refused, match="a lone surrogate at character 2"):
        sound("ab\ud800", "row 3")
    assert sound("\ufeffa\r\nb", "row") == "a\nb"


# -- attention


def test_a_packed_document_is_as_if_alone(file):
    """What a network says of a document does not depend on who shares its row, nor on padding."""
    torch.manual_seed(0)
    data = by_line(file)
    network = Transformer(32, 2, 2).build(Spec("tokens", (48,), vocabulary=data.spec.vocabulary)).double().eval()
    several = (data.train.context["segment"] * data.train.context["valid"]).amax(1).nonzero()[0]
    x, valid, segment = (t[several] for t in (data.train.x, *(data.train.context[k] for k in ("valid", "segment"))))
    noise = torch.zeros(1, dtype=torch.float64)
    with torch.no_grad():
        whole = network(x, noise, valid=valid, segment=segment)
        assert whole.isfinite().all()
        for number in segment[valid].unique():
            own = (segment == number) & valid
            alone = network(x[own][None], noise)[0]  # rotary positions are relative, to single precision
            torch.testing.assert_close(whole[own], alone, rtol=0, atol=1e-6)
            other = network(torch.where(own, x, (x + 1) % data.spec.vocabulary), noise, valid=valid, segment=segment)
            torch.testing.assert_close(whole[own], other[own], rtol=0, atol=1e-12)
        mixed = network(x, noise, valid=valid)
        assert (mixed - whole)[valid].abs().max() > 1e-4  # without segments they would see each other
