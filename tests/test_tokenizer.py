"""Tokenizers: what was encoded decodes to the same; special ids are seen."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from denoiselab.data.subword import BPE
from denoiselab.data.tokenizer import MASK, UNKNOWN, Byte, Character
from denoiselab.spec import Refused, Spec

TEXT = "To be, or not to be — that is the question:\nWhether 'tis nobler in the mind, naïve 日本 🙂\t  twice " * 3
PLANS = [Character(), Byte(), BPE(300)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DENOISELAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DENOISELAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        return [plan.fit(TEXT) for plan in PLANS]


@pytest.mark.parametrize("which", range(3), ids=["character", "byte", "bpe"])
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
