"""Tokenizers: what was encoded decodes to the same; special ids are seen."""

import re
import subprocess
import sys

import numpy as np
import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from denoiselab.data.subword import BPE, WORD, TokenizerFile, Unigram, pieces, shortened
from denoiselab.data.tokenizer import MASK, UNKNOWN, Byte, Character
from denoiselab.spec import Refused, Spec

TEXT = "To be, or not to be — that is the question:\nWhether 'tis nobler in the mind, naïve 日本 🙂\t  twice " * 3
PLANS = [Character(), Byte(), BPE(300), Unigram(300)]
KINDS = ["character", "byte", "bpe", "unigram"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DENOISELAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DENOISELAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        return [plan.fit(TEXT) for plan in PLANS]


@pytest.mark.parametrize("which", range(4), ids=KINDS)
class TestEvery:
    def test_round_trip(self, fitted, which):
        codec = fitted[which]
        ids = codec.encode(TEXT)
        assert ids.dtype == torch.int64
        assert ids.min() >= 0
        assert ids.max() < codec.size
        assert codec.decode(ids[None]) == [TEXT]

    def test_round_trip_of_the_known(self, fitted, which):
        @settings(max_examples=50, deadline=None)
        @given(st.text(sorted(set(TEXT)), min_size=1))
        def law(text):
            assert fitted[which].decode(fitted[which].encode(text)[None]) == [text]

        law()

    def test_special_ids_are_seen(self, fitted, which):
        codec = fitted[which]
        a, b = (codec.encode(c) for c in "ab")
        row = torch.cat((a, torch.tensor([codec.size]), b, torch.tensor([codec.size + 1, codec.size + 2])))
        assert codec.decode(row.expand(2, -1)) == [f"a{MASK}b<1><2>"] * 2
        assert MASK not in TEXT

    def test_special_ids_have_names(self, fitted, which):
        codec = fitted[which]
        row = torch.cat((codec.encode("a"), torch.arange(codec.size, codec.size + 3)))
        assert codec.decode(row[None], ("[MASK]", "[END]")) == ["a[MASK][END]<2>"]
        assert codec.decode(row[None], ("[MASK]", "[END]", "[0]")) == ["a[MASK][END][0]"]

    def test_alphabet_is_the_text_of_each_id(self, fitted, which):
        codec = fitted[which]
        assert len(codec.alphabet) == codec.size
        assert "".join(codec.alphabet[i] for i in codec.encode("To be, or not")) == "To be, or not"
        assert codec.accepts(Spec("tokens", (8,))).alphabet == codec.alphabet

    def test_starts_are_where_tokens_begin(self, fitted, which):
        codec = fitted[which]
        ids, starts = codec.encode(TEXT), codec.starts(TEXT, codec.encode(TEXT))
        assert len(starts) == len(ids)
        assert starts[0] == 0
        assert (np.diff(starts) >= 0).all()
        for i in range(1, len(ids)):
            if "\ufffd" not in codec.decode(ids[None, :i])[0]:  # the token begins with a character
                assert codec.decode(ids[None, :i]) == [TEXT[: starts[i]]]

    def test_texts_are_encoded_each_by_itself(self, fitted, which):
        texts = ["To be", " or", "not to be", "", "be,"]
        assert [row.tolist() for row in fitted[which].encode_all(texts)] == [
            fitted[which].encode(text).tolist() for text in texts
        ]

    def test_vocabulary_is_agreed(self, fitted, which):
        spec = fitted[which].accepts(Spec("tokens", (8,)))
        assert spec.vocabulary == fitted[which].size
        assert spec.specials == ()

    def test_pictures_are_refused(self, fitted, which):
        for codec in (PLANS[which], fitted[which]):
            with pytest.raises(Refused, match="for text"):
                codec.accepts(Spec("image", (1, 8, 8)))

    def test_fitting_leaves_the_plan(self, fitted, which):
        assert PLANS[which].fit(TEXT).size == fitted[which].size
        assert PLANS[which].size == (256 if which == 1 else 0)


def test_characters_in_order():
    codec = Character().fit("cab ba")
    assert codec.encode("abc ").tolist() == [1, 2, 3, 0]
    assert codec.size == 4


def test_unknown_only_if_needed():
    assert Character().fit("abc", "cba").size == 3
    codec = Character().fit("abc", "abéé🙂")
    assert codec.size == 4
    assert codec.unknown("abéé🙂") == {"é": 2, "🙂": 1}
    assert codec.decode(codec.encode("aé🙂b")[None]) == [f"a{UNKNOWN}{UNKNOWN}b"]
    assert codec.unknown("cab").total() == 0


def test_unknown_later_is_refused():
    with pytest.raises(Refused, match="'é'"):
        Character().fit("abc").encode("cé")


def test_given_symbols():
    codec = Character("abcdef").fit("abc")
    assert codec.size == 6
    assert codec.encode("f").tolist() == [5]
    assert Character("ab").fit("abc").size == 3


def test_broken_bytes_are_shown():
    assert Byte().decode(torch.tensor([[0x61, 0xC3, 256, 0x62]])) == [f"a\ufffd{MASK}b"]


def test_bpe_is_shorter_and_bounded():
    codec = BPE(300).fit(TEXT)
    assert codec.size <= 300
    assert len(codec.encode(TEXT)) < len(TEXT.encode()) / 2
    assert codec.decode(codec.encode("unseen ΔΩ text")[None]) == ["unseen ΔΩ text"]
    assert BPE(256).fit(TEXT).size == 256
    with pytest.raises(Refused, match="256"):
        BPE(100)


def test_bpe_is_cached(cache, monkeypatch):
    first = BPE(300).fit(TEXT)
    (path,) = cache.iterdir()
    content = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(BPE, "train", None)  # a second training would raise
        assert BPE(300).fit(TEXT).model.to_str() == first.model.to_str()
    BPE(301).fit(TEXT)
    assert len(list(cache.iterdir())) == 2
    for damage in (content[: len(content) // 2], b"", content.replace(b"q", b"z", 1)):
        path.write_bytes(damage)
        assert BPE(300).fit(TEXT).model.to_str() == first.model.to_str()
        assert path.read_bytes() == content
        assert len(list(cache.iterdir())) == 2


def test_bpe_without_a_place_to_keep_it(cache, monkeypatch):
    cache.write_text("a file where a folder should be")
    assert BPE(300).fit(TEXT).size == 300


def test_bpe_is_the_same_in_another_process(cache):
    code = f"import sys; from denoiselab.data.subword import BPE; sys.stdout.write(BPE(300).train({TEXT!r}).to_str())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stdout.decode() == BPE(300).fit(TEXT).model.to_str()


@pytest.mark.parametrize("plan", [BPE(400), Unigram(400)], ids=["bpe", "unigram"])
def test_pieces_are_the_whole(plan):
    """A long text is encoded in parts, and nobody can tell."""
    text = TEXT * 300
    assert len(list(pieces(text))) > 3
    assert "".join(pieces(text)) == text
    codec = plan.fit(text)
    whole = codec.model.encode(text, add_special_tokens=False)
    assert codec.encode(text).tolist() == whole.ids
    assert (
        codec.starts(text, codec.encode(text)).tolist() == np.maximum.accumulate([a for a, _ in whole.offsets]).tolist()
    )


def test_a_long_line_is_read():
    line = "a line of ten million characters " * 300_000
    assert len(Character().fit(line).encode(line)) == len(line)
    codec = BPE(300).fit(line[:10_000])
    assert (
        codec.decode(codec.encode(line)[None, :1000])[0]
        == line[: len(codec.decode(codec.encode(line)[None, :1000])[0])]
    )
    assert len(list(pieces("x" * 50_000))) == 1  # no place to cut, still read


def test_unigram_is_bounded_and_likelier_than_bytes():
    codec = Unigram(400).fit(TEXT * 3)
    assert 256 < codec.size <= 400
    assert len(codec.encode(TEXT)) < len(TEXT.encode()) / 2
    assert codec.decode(codec.encode("unseen ΔΩ text")[None]) == ["unseen ΔΩ text"]
    assert Unigram(256).fit(TEXT).size == 256
    with pytest.raises(Refused, match="256"):
        Unigram(100)


def test_unigram_is_the_same_in_another_process(cache):
    code = f"""import sys; from denoiselab.data.subword import Unigram
sys.stdout.write(Unigram(300).train({TEXT!r}).to_str())"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stdout.decode() == Unigram(300).fit(TEXT).model.to_str()


# -- from a file -----------------------------------------------------------------------------------

models, rules, readers = tokenizers.models, tokenizers.pre_tokenizers, tokenizers.decoders
WORDS = {w: i for i, w in enumerate(["[UNK]", "[CLS]", "the", "scien", "##tist", "##s", "a", ",", "e", "z"])}


def wordpiece():
    model = tokenizers.Tokenizer(models.WordPiece(WORDS, unk_token="[UNK]"))
    model.pre_tokenizer, model.decoder = rules.BertPreTokenizer(), readers.WordPiece()
    model.enable_truncation(4)
    model.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", WORDS["[CLS]"])])  # fmt: skip
    return model


def metaspace():
    vocabulary = [("<unk>", 0.0), ("\u2581the", -1.0), ("\u2581", -3.0), *((c, -4.0) for c in "abcdesthi")]
    model = tokenizers.Tokenizer(models.Unigram(vocabulary, unk_id=0))
    model.pre_tokenizer, model.decoder = rules.Metaspace(), readers.Metaspace()
    return model


def of_file(tmp_path, model):
    model.save(str(tmp_path / "tokenizer.json"))
    return TokenizerFile(str(tmp_path / "tokenizer.json")).fit("")


def test_a_file_of_word_pieces(tmp_path):
    codec = of_file(tmp_path, wordpiece())
    ids = codec.encode("the scientists, the a")
    assert ids.tolist() == [2, 3, 4, 5, 7, 2, 6]  # nothing added, nothing cut
    assert codec.decode(ids[None]) == ["the scientists, the a"]
    assert codec.starts("the scientists, the a", ids).tolist() == [0, 4, 9, 13, 14, 16, 20]
    assert codec.alphabet[4] == "tist"
    assert codec.alphabet[2] == " the"
    assert codec.unknown("the kiwi a") == {"k": 1, "i": 2, "w": 1}


def test_a_file_with_spaces_in_pieces(tmp_path):
    codec = of_file(tmp_path, metaspace())
    ids = codec.encode("the cat the dice")
    assert codec.decode(ids[None]) == ["the cat the dice"]
    assert codec.alphabet[1] == " the"
    assert codec.unknown("the zoo") == {"z": 1, "o": 2}
    assert ids.max() < codec.size


def test_a_file_that_leaves_characters_out(tmp_path):
    """Byte-pair encoding without a token for the unknown gives no token at all."""
    codec = of_file(tmp_path, tokenizers.Tokenizer(models.BPE({"a": 0, "b": 1}, [])))
    assert codec.encode("azb").tolist() == [0, 1]
    assert codec.unknown("azzb") == {"z": 2}


def test_a_file_with_holes_in_its_ids(tmp_path):
    codec = of_file(tmp_path, tokenizers.Tokenizer(models.WordLevel({"a": 0, "b": 7, "?": 3}, unk_token="?")))
    assert codec.size == 8 == len(codec.alphabet)
    assert codec.encode("b").tolist() == [7]


def test_ours_saved_is_ours_read(tmp_path):
    ours = BPE(300).fit(TEXT)
    codec = of_file(tmp_path, ours.model)
    assert torch.equal(codec.encode(TEXT), ours.encode(TEXT))
    assert codec.alphabet == ours.alphabet
    assert codec.unknown(TEXT).total() == 0


@pytest.mark.parametrize("content, got", [
    (b"", "no JSON"), (b"{", "no JSON"), (b"\xff\xfe\x00", "can't decode"), (b"a\nb\n", "no JSON"),
    (b'{"model_type": "bert"}', "without a model in it; its keys are model_type"), (b"[]", "no object: []"),
    (b'{"model": {"type": "Unheard"}}', "a model of type Unheard"),
])  # fmt: skip
def test_a_file_that_is_none(tmp_path, content, got):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(Refused, match="is no tokenizer file") as refused:
        TokenizerFile(str(path)).fit("text")
    assert got in refused.value.got


def test_no_file_at_all(tmp_path):
    for path, what in ((None, "null"), (tmp_path / "absent", "nothing is there"), (tmp_path, "a folder is there")):
        with pytest.raises(Refused, match=what):
            TokenizerFile(path and str(path)).fit("text")
    tokenizers.Tokenizer(models.BPE()).save(str(tmp_path / "empty.json"))
    with pytest.raises(Refused, match="without a vocabulary"):
        TokenizerFile(str(tmp_path / "empty.json")).fit("text")


@pytest.mark.parametrize("vocabulary, what", [
    ({"a": 0, "[U]": 90_000_000}, "more ids than tokens"), ({"a": 0, "b": 1}, "lacks its own unknown token"),
], ids=["gaps", "unknown"])  # fmt: skip
def test_a_file_that_would_fail_later_is_refused_at_once(tmp_path, vocabulary, what):
    tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="[U]")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(Refused, match=what):
        TokenizerFile(str(tmp_path / "tokenizer.json")).fit("text")


def test_a_folder_with_a_tokenizer_in_it_and_a_mark_before_it(tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizers.Tokenizer(models.WordLevel({"a": 0, "[U]": 1}, unk_token="[U]")).save(str(path))
    with pytest.raises(Refused, match=r"give codec\.path=.*tokenizer\.json"):
        TokenizerFile(str(tmp_path)).fit("text")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert TokenizerFile(str(path)).fit("text").size == 2


@pytest.mark.parametrize("codec", [Character().fit("ab "), Byte(), BPE(256).fit("ab")])
def test_what_pads_is_a_space_where_there_is_one(codec):
    assert codec.decode(torch.tensor([[codec.space]])) == [" "]
    assert Character().fit("ab").space == 0


@pytest.mark.parametrize("text", ["x " * 9000 + "y" * 9000 + " z", "y" * 9000, " " * 9000 + "a b", "a b\n" * 3000, ""])
def test_what_is_longer_than_a_word_is_cut_to_train_on_and_nothing_else(text):
    parts = list(shortened(text))
    assert "".join(parts) == text
    longest = max(map(len, re.findall(r"\S+|\s+", text)), default=0)
    assert (len(parts) > 1) == (longest > WORD)
    assert all(len(run) <= WORD for part in parts for run in re.findall(r"\S+|\s+", part))
