"""Words, sentences and entities: those of the text, whatever the tokenizer and the layout."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_data_documents import LINES, by_line, each_codec

from denoiselab.data.dates import Dates
from denoiselab.data.layout import gathered, numbered, packed
from denoiselab.data.markov import Markov
from denoiselab.data.marks import Names, sentences, words
from denoiselab.data.subword import BPE
from denoiselab.data.tokenizer import Character
from denoiselab.spec import Refused


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    monkeypatch.setenv("DENOISELAB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n".join(LINES), encoding="utf-8")
    return path


def test_words_by_hand():
    text = "The cat's  hat...\n日本 naïve e\u0301a "
    found = words(text)
    named = {}
    for letter, number in zip(text, found.tolist(), strict=True):
        named[number] = named.get(number, "") + letter
    assert list(named.values()) == ["The", " cat", "'", "s", "  hat", "...", "\n日", "本", " naïve", " e\u0301a "]


def test_sentences_by_hand():
    text = 'Mr. Ann Lee came. "Did she?" Yes! She\u2026 J. K. wrote 3.5 lines\nand one more\n\nA title\n\nEnd. '
    found = sentences(text)
    named = {}
    for letter, number in zip(text, found.tolist(), strict=True):
        named[number] = named.get(number, "") + letter
    assert list(named.values()) == ["Mr. Ann Lee came.", ' "Did she?"', " Yes!", " She\u2026",
                                    " J. K. wrote 3.5 lines\nand one more", "\n\nA title", "\n\nEnd. "]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=1).filter(lambda t: not re.search(r"[\ud800-\udfff]", t)))
def test_numbers_of_marks_count_up(text):
    for mark in (words, sentences):
        found = mark(text)
        assert len(found) == len(text)
        assert found[0] == 0
        assert set(np.diff(found)) <= {0, 1}


@each_codec
@pytest.mark.parametrize("layout", ["windows", "packed", "padded"])
def test_tokens_of_a_word_are_its_text(file, codec, layout):
    data = by_line(file, codec, layout, length=128, marks=["sentence", "word"])
    assert {"word", "sentence"} <= data.spec.context
    plain = by_line(file, codec, layout, length=128)
    assert torch.equal(plain.train.x, data.train.x)
    assert not {"word", "sentence"} & plain.spec.context
    table = data.train
    valid = table.context.get("valid", torch.ones_like(table.x, dtype=torch.bool))
    known = {w for line in LINES for w in re.findall(r"\w+|[^\w\s]+", line)}
    for row in range(0, len(table.x), 5):
        word, sentence = (table.context[name][row][valid[row]] for name in ("word", "sentence"))
        assert word.dtype == sentence.dtype == torch.int64
        for number in (word, sentence):
            assert number[0] == 0
            assert set(number.diff().tolist()) <= {0, 1}
        found = [data.codec.decode(table.x[row][valid[row]][word == i][None])[0].strip() for i in range(1, word.max())]
        assert set(found) <= known


def test_words_do_not_go_over_documents():
    rows = packed([2, 2, 3], 8, "train", "it")
    number = numbered(np.zeros(7, np.int64), rows)
    assert number.tolist() == [[0, 0, 1, 1, 2, 2, 2, 3]]
    assert gathered(np.arange(7), rows, 9).tolist() == [[0, 1, 2, 3, 4, 5, 6, 9]]


def test_marks_of_made_texts():
    plain, marked = (Dates(BPE(300), 32, 8, train=50, val=5, test=5, marks=m).load() for m in ([], ["word"]))
    assert torch.equal(plain.train.x, marked.train.x)
    assert marked.spec.context == {"valid", "word"}
    data = Markov(Character(), 32, 8, train=20, val=5, test=5, marks=["word", "sentence"]).load()
    assert data.spec.context == {"word", "sentence"}
    assert data.oracle is not None
    assert torch.equal(data.train.context["word"][:, 1:] > data.train.context["word"][:, :-1],
                       (data.train.x[:, 1:] == 0) & (data.train.x[:, :-1] != 0))  # fmt: skip
    with pytest.raises(Refused, match=r"data\.marks"):
        Markov(Character(), 32, 8, marks=["noun"])


@each_codec
def test_entities_are_found_as_they_are_written(file, codec, tmp_path):
    names = ["Ann Lee", "Ann", "Absent", "\u201cYes"]
    data = by_line(file, codec, "padded", length=128, entities=names)
    for row, inside in zip(data.test.x, data.test.context["entity"], strict=True):
        assert "".join(data.codec.decode(row[inside][None])[0].split()) == "\u201cYesAnnLee"
    assert "entities: 2 of 4 names occur, 240 times" in data.notes
    (tmp_path / "names").write_text("\n".join([*names, ""]), encoding="utf-8")
    assert by_line(file, codec, "padded", length=128, entities=str(tmp_path / "names")).fingerprint() == (
        data.fingerprint())  # fmt: skip


def test_entities_are_whole_words(file):
    assert Names(["Ann", "Lee"]).inside("Annex Ann, Leeds Lee").nonzero()[0].tolist() == [6, 7, 8, 17, 18, 19]
    assert Names(["New", "New York"]).inside("New York New, Newark").nonzero()[0].tolist() == [*range(8), 9, 10, 11]
    for names, what in (
        (["Nobody"], "none of 1 occurs"),
        ([], "no names"),
        (["..."], "letters"),
        ("/absent", "no file"),
    ):
        with pytest.raises(Refused, match=what):
            by_line(file, entities=names)
