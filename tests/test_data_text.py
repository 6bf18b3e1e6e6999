"""Text: windows, splits, padding, and a source whose entropy is known."""

import datetime
import math
import re
from itertools import pairwise

import pytest
import torch

from denoiselab.data.base import Identity
from denoiselab.data.dates import DAYS, FORMATS, MONTHS, Dates
from denoiselab.data.markov import ALPHABET, Markov, Source, source
from denoiselab.data.subword import BPE
from denoiselab.data.text import TextFile
from denoiselab.data.tokenizer import Byte, Character
from denoiselab.randomness import Keyed
from denoiselab.spec import Refused

pytestmark = pytest.mark.usefixtures("alone")
TEXT = "".join(f"line {i} of some text, {i * i % 97} words\n" for i in range(200))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def text_file(path, codec=None, length=16, **more):
    return TextFile(codec or Character(), str(path), length, 8, **more).load()


@pytest.mark.parametrize("codec", [Character(), Byte(), BPE(280)], ids=["character", "byte", "bpe"])
def test_windows_rebuild_the_text(file, codec):
    data = text_file(file, codec)
    ends = [0, int(0.9 * len(TEXT)), int(0.95 * len(TEXT)), len(TEXT)]
    for split, a, b in zip(("train", "val", "test"), ends, ends[1:], strict=False):
        x = data.split(split).x
        assert x.dtype == torch.int64
        assert x.shape[1:] == (16,) == data.spec.shape
        assert x.max() < data.spec.vocabulary
        text = "".join(data.codec.decode(x))
        assert TEXT[a:b].startswith(text)
        assert len(data.codec.encode(TEXT[a:b])) - x.numel() < 16
    assert data.spec.kind == "tokens"
    assert not data.spec.context
    rests = [len(data.codec.encode(TEXT[a:b])) % 16 for a, b in pairwise(ends)]
    assert data.notes == [f"{split}: the last {rest} tokens are less than a window and left out"
                          for split, rest in zip(("train", "val", "test"), rests, strict=True) if rest]  # fmt: skip
    assert data.entropy is None
    assert data.fingerprint() == text_file(file, codec).fingerprint()


def test_n_keeps_the_first_and_the_vocabulary(file):
    whole, part = text_file(file), text_file(file, n=5)
    assert torch.equal(part.train.x, whole.train.x[:5])
    assert torch.equal(part.val.x, whole.val.x)
    assert part.spec == whole.spec
    assert part.fingerprint() != whole.fingerprint()
    with pytest.raises(Refused, match=r"data\.n"):
        text_file(file, n=10**6)


def test_mark_and_line_ends_are_said(file):
    plain = text_file(file)
    file.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    data = text_file(file)
    assert data.fingerprint() == plain.fingerprint()
    assert any("byte order mark" in note for note in data.notes)
    assert any("200 line ends" in note for note in data.notes)


def test_unknown_characters_are_said(file):
    file.write_text(TEXT[:-100] + "é🙂é" + TEXT[-100:])
    data = text_file(file)
    assert data.notes[0] == "test: 3 characters of 2 kinds are read as unknown: 'é' '🙂'"
    assert data.spec.vocabulary == len(set(TEXT)) + 1
    assert "\ufffd" * 3 in "".join(data.codec.decode(data.test.x))


@pytest.mark.parametrize(
    "content, what",
    [
        (b"", "empty"),
        (b" \n\n ", "white space"),
        (TEXT.encode() + b"\xff\xfe", f"at byte {len(TEXT)}"),
        ("Jos\u00e9".encode("latin1") + b" " + TEXT.encode(), "at byte 3"),
        (TEXT.encode("utf-16"), "iconv -f utf-16"),
        (TEXT[:50].encode() + b"\0" + TEXT.encode(), "NUL at byte 50"),
        (b"too short", "shorter than one sequence"),
        (TEXT[:300].encode(), "val split"),
    ],
    ids=["empty", "blank", "late", "latin1", "utf16", "nul", "short", "val"],
)
def test_bad_files_are_named(file, content, what):
    file.write_bytes(content)
    with pytest.raises(Refused) as error:
        text_file(file)
    assert what in str(error.value)
    assert str(file) in str(error.value)


def test_no_file(file, tmp_path, monkeypatch):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(Refused, match=re.escape(str(path))):
            text_file(path)
    with pytest.raises(Refused, match=r"data\.path=FILE"):
        TextFile(Character(), None, 16, 8).load()
    with pytest.raises(Refused, match=r"https://there, and set DENOISELAB_DATA or give data\.path"):
        TextFile(Character(), None, 16, 8, below="text.txt", source="https://there").load()
    monkeypatch.setenv("DENOISELAB_DATA", str(tmp_path))
    assert TextFile(Character(), None, 16, 8, below="text.txt").load().fingerprint() == text_file(file).fingerprint()
    with pytest.raises(Refused, match="https://there"):
        TextFile(Character(), None, 16, 8, below="other.txt", source="https://there").load()


def test_sizes_that_mean_nothing():
    for wrong in ({"length": 0}, {"batch_size": 0}, {"n": 0}):
        with pytest.raises(Refused):
            TextFile(**{"codec": Byte(), "path": "x", "length": 8, "batch_size": 8, **wrong})
    for make in (Markov, Dates):
        with pytest.raises(Refused):
            make(Byte(), 32, 8, val=0)
    with pytest.raises(Refused):
        Markov(Byte(), 1, 8)


@pytest.mark.parametrize(
    "make", [lambda c: TextFile(c, "x", 8, 8), lambda c: Markov(c, 8, 8), lambda c: Dates(c, 32, 8)]
)
def test_text_needs_a_tokenizer(make):
    with pytest.raises(Refused, match="tokenizer"):
        make(Identity()).load()


def test_shakespeare(data_root, monkeypatch):
    monkeypatch.setenv("DENOISELAB_DATA", str(data_root))
    data = TextFile(Character(), None, 128, 64, below="text-tinyshakespeare/input.txt").load()
    assert data.spec.vocabulary == 65
    assert data.train.x.shape == (7842, 128)
    assert data.codec.decode(data.train.x[:1])[0].startswith("First Citizen:\nBefore we proceed")


# -- the source ----------------------------------------------------------------------------------


def test_source_is_a_stationary_chain():
    s = source()
    one = torch.ones(27, 27, dtype=torch.float64)
    torch.testing.assert_close(s.transition.sum(2), one, rtol=0, atol=0)
    assert s.transition.min() > 0
    assert s.stationary.min() > 0
    torch.testing.assert_close(torch.einsum("ab,abc->bc", s.stationary, s.transition), s.stationary, rtol=0, atol=1e-13)
    assert abs(s.stationary.sum().item() - 1) < 1e-12
    assert torch.equal(Source().counts, s.counts)


def test_entropies_follow_from_the_definition():
    s = source()
    assert 1.1 < s.entropy_rate < 1.3
    triples = s.stationary[:, :, None] * s.transition
    assert s.block_entropy(3) == pytest.approx(-(triples * triples.log()).sum().item(), rel=1e-12)
    quads = triples[..., None] * s.transition[None]
    assert s.block_entropy(4) == pytest.approx(-(quads * quads.log()).sum().item(), rel=1e-12)
    ids = torch.cartesian_prod(*[torch.arange(27)] * 3)
    torch.testing.assert_close(s.log_prob(ids), triples.log().flatten())
    assert s.block_entropy(1) < math.log(27)


def test_samples_cost_the_entropy():
    s, n, length = source(), 20_000, 32
    cost = -s.log_prob(s.sample(Keyed.of(0, torch.arange(n)), n, length))
    error = cost.std().item() / math.sqrt(n)
    assert abs(cost.mean().item() - s.block_entropy(length)) < 4 * error
    assert error < 0.01 * s.block_entropy(length)


def test_windows_are_stationary():
    s, n = source(), 20_000
    ids = s.sample(Keyed.of(1, torch.arange(n)), n, 32)
    for place in (0, 30):
        seen = torch.bincount(ids[:, place] * 27 + ids[:, place + 1], minlength=729)
        expected = s.stationary.flatten() * n
        often = expected > 5
        chi = ((seen[often] - expected[often]).square() / expected[often]).sum().item()
        assert abs(chi - often.sum().item()) < 5 * math.sqrt(2 * often.sum().item())


def test_a_window_is_its_own():
    s = source()
    whole = s.sample(Keyed.of(2, torch.arange(50)), 50, 40)
    assert torch.equal(s.sample(Keyed.of(2, torch.arange(7, 8)), 1, 40)[0], whole[7])
    assert torch.equal(s.sample(Keyed.of(2, torch.arange(50)), 50, 12), whole[:, :12])


def test_markov_entropy_is_of_its_tokens():
    sizes = {"train": 300, "val": 20, "test": 20}
    data = Markov(Character(), 24, 8, **sizes).load()
    assert data.spec.vocabulary == 27
    assert data.spec.shape == (24,)
    assert not data.spec.context
    assert data.entropy == source().block_entropy(24) / 24
    assert data.codec.encode(ALPHABET).tolist() == list(range(27))  # so that ids are the source's
    assert -source().log_prob(data.train.x).mean().item() / 24 == pytest.approx(data.entropy, rel=0.05)
    other = Markov(Byte(), 24, 8, **sizes).load()
    assert other.codec.decode(other.val.x) == data.codec.decode(data.val.x)
    assert other.entropy == data.entropy
    merged = Markov(BPE(300), 24, 8, **sizes).load()
    assert merged.entropy is None
    assert "valid" in merged.spec.context
    assert Markov(Character("abc"), 24, 8, **sizes).load().entropy is None
    # few windows lack letters, the vocabulary does not
    assert Markov(Character(), 2, 8, train=1, val=1, test=1).load().spec.vocabulary == 27


def test_markov_splits_differ():
    data = Markov(Character(), 64, 8, train=500).load()
    rows = [tuple(row) for split in ("train", "val", "test") for row in data.split(split).x.tolist()]
    assert len(set(rows)) == len(rows) == 1500
    longer = Markov(Character(), 64, 8, train=600, n=500).load()
    assert torch.equal(longer.train.x, data.train.x)


# -- dates ---------------------------------------------------------------------------------------

READ = (
    r"(?P<y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)",
    r"(?P<d>\d+) (?P<m>\w+) (?P<y>\d{4})",
    r"(?P<m>\w+) (?P<d>\d+), (?P<y>\d{4})",
    r"(?P<m>\d\d)/(?P<d>\d\d)/(?P<y>\d\d)",
    r"(?P<d>\d+)\.(?P<m>\d+)\.(?P<y>\d{4})",
    r"(?P<d>\d\d)-(?P<m>[A-Z]\w\w)-(?P<y>\d{4})",
    r"(?P<w>\w+), (?P<d>\d+) (?P<m>\w+) (?P<y>\d{4})",
    r"(?P<w>\w{3}) (?P<m>\w{3}) (?P<d>\d+) (?P<y>\d{4})",
)


def day_of(text):
    """The day of a text, by another way than it was written."""
    for pattern in READ:
        if match := re.fullmatch(pattern, text):
            part = match.groupdict()
            month = part["m"]
            number = int(month) if month.isdigit() else [m[:3] for m in MONTHS].index(month[:3]) + 1
            year = int(part["y"])
            year += 0 if year > 99 else 1900 if year >= 50 else 2000
            day = datetime.date(year, number, int(part["d"]))
            assert "w" not in part or DAYS[day.weekday()].startswith(part["w"])
            return pattern, day
    raise AssertionError(text)


@pytest.mark.parametrize("codec", [Character(), Byte(), BPE(300)], ids=["character", "byte", "bpe"])
def test_dates_are_dates(codec):
    data = Dates(codec, 32, 8, train=600, val=100, test=100).load()
    assert data.spec.context == {"valid"}
    assert data.entropy is None
    assert not data.notes
    days, formats = {}, set()
    for split in ("train", "val", "test"):
        table = data.split(split)
        valid = table.context["valid"]
        assert valid.dtype == torch.bool
        assert (valid[:, 1:] <= valid[:, :-1]).all()
        assert valid.any(1).all()
        texts = [data.codec.decode(row[v][None])[0] for row, v in zip(table.x, valid, strict=True)]
        assert [t.rstrip() for t in data.codec.decode(table.x)] == texts
        read = [day_of(text) for text in texts]
        formats |= {pattern for pattern, _ in read}
        days[split] = {day for _, day in read}
    assert len(formats) == len(FORMATS)
    assert not days["train"] & (days["val"] | days["test"])
    assert not days["val"] & days["test"]


def test_dates_too_long():
    with pytest.raises(Refused, match=r"data\.length=28"):
        Dates(Character(), 20, 8, train=2000).load()
    assert not Dates(Character(), 28, 8, train=2000).load().train.context["valid"].all()
