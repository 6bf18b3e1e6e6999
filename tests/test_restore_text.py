"""Text files of a user's own: cut, restored and put together; what the model is not asked about is kept."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import tokenizers
import torch

from denoiselab.commands import restore_text
from denoiselab.corruption import TokenMask
from denoiselab.corruption.base import Written
from denoiselab.data.subword import BPE
from denoiselab.data.tokenizer import UNKNOWN, Byte, Character
from denoiselab.denoiser import Denoiser
from denoiselab.posterior import Categorical
from denoiselab.run import rewriting
from denoiselab.sampler import OneShot, Sampler
from denoiselab.schedule import Constant, Linear
from denoiselab.spec import Refused, Spec

LETTERS = "abcdefghijklmnopqrstuvwxyz .,'\n"


class Swaps(Denoiser):
    """Says what is seen, but `old` for `new`; a mask is `new`."""

    def __init__(self, vocabulary, old, new):
        super().__init__()
        self.vocabulary, self.old, self.new = vocabulary, old, new

    def forward(self, x_t, t, *, seen=None, previous=None, valid=None, **context):
        assert valid is None or valid.shape == x_t.shape
        said = torch.where((x_t == self.old) | (x_t >= self.vocabulary), self.new, x_t)
        return Categorical(torch.nn.functional.one_hot(said, self.vocabulary).float().log())


def opened(length=16, old="u", new="o", codec=None, corruption=None, facts=(), context=(), specials=()):
    """A run as far as restoring looks at it."""
    codec = codec or Character().fit(LETTERS)
    spec = Spec("tokens", (length,), codec.size, specials=specials, facts=frozenset(facts), context=frozenset(context))
    denoiser = Swaps(codec.size, int(codec.encode(old)[0]), int(codec.encode(new)[0]))
    data = SimpleNamespace(codec=codec, spec=Spec("tokens", (length,)))
    return SimpleNamespace(spec=spec, data=data, denoiser=denoiser, corruption=corruption,
                           module=SimpleNamespace(device=torch.device("cpu")), folder=Path())  # fmt: skip


def restored(run, text):
    return rewriting.restored(run, text, OneShot())


TEXTS = {
    "short": "huuse", "lines": "the cut\n\n  sut un\nthe mut.\n" * 5, "long_line": "u cut sat. " * 50,
    "no_space": "u" * 200, "ends": "\n\n\nu\n\n", "spaces": " " * 70 + "u" + " " * 70, "one": "u",
    "quotes": "he said 'u cut.' then 'u mut.'  then nuthing at all, nut u wurd." * 3,
}  # fmt: skip
texts = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)


@texts
@pytest.mark.parametrize("length", [1, 2, 7, 16, 1000])
@pytest.mark.parametrize("context", [(), ("valid",)])
def test_every_place_of_a_text_is_restored_once(text, length, context):
    found = restored(opened(length, context=context), text)
    assert found.text == text.replace("u", "o")
    assert "".join(before for before, _ in found.pieces) == text
    assert all(len(before) <= length for before, _ in found.pieces)
    assert not found.copied
    assert found.left == 0


def test_pieces_end_where_a_reader_would():
    pieces = list(rewriting.cut("one two. three four\nfive six", lambda text: min(len(text), 12), by_line=False))
    assert pieces == ["one two. ", "three four\n", "five six"]
    assert list(rewriting.cut("ab\ncd\n", lambda text: len(text), by_line=True)) == ["ab", "\n", "cd", "\n"]


def test_characters_that_the_model_does_not_know_are_copied_and_counted():
    for codec in (Character().fit(LETTERS), Character().fit(LETTERS, "ß")):
        found = restored(opened(codec=codec), "tué ßu\nÄu!\n")
        assert found.text == "toé ßo\nÄo!\n"
        assert found.copied == {"é": 1, "ß": 1, "Ä": 1, "!": 1}


@pytest.mark.parametrize("codec", [Byte(), BPE(280).fit("the cut sut un the mut " * 20)], ids=["byte", "bpe"])
def test_other_tokenizers_lose_nothing(codec):
    run = opened(16, old="q", new="q", codec=codec)
    text = "the cut sut é 😀 un the mut\n\nund\n" * 4
    assert restored(run, text).text == text


def test_line_ends_are_neither_made_nor_lost():
    for old, new in (("u", "\n"), ("\n", "u")):
        assert restored(opened(old=old, new=new), "a cut\n sut\n\nu\n").text == "a cut\n sut\n\nu\n"


def test_bytes_that_make_no_text_leave_the_piece_as_it_was():
    run = opened(16, codec=Byte())
    run.denoiser.old, run.denoiser.new = ord("u"), 0xFF
    found = restored(run, "a cut\n")
    assert (found.text, found.left) == ("a cut\n", 1)


def test_a_piece_is_the_same_alone_and_among_others():
    run = opened(8, context=("valid",))
    whole = restored(run, "tu\n" * 200)
    assert whole.text == restored(run, "tu\n").text * 200


def test_what_a_tokenizer_changes_by_itself_is_counted():
    codec = BPE(280).fit("the cut sut un the mut " * 20)
    codec.model.normalizer = tokenizers.normalizers.Lowercase()
    run = opened(16, old="x", new="y", codec=codec, context=("valid",))
    found = restored(run, "The Ax\nthe ax\nThe\n")
    assert (found.text, found.respelled) == ("the ay\nthe ay\nThe\n", 1)


# -- masks


def masked(**more):
    codec = Character().fit(LETTERS)
    corruption = TokenMask(Constant(0.15), codec.size, 0.1, 0.1)
    run = opened(corruption=corruption, specials=("[MASK]",), **more)
    return run


def test_of_a_text_with_masks_the_masks_alone_are_filled():
    found = restored(masked(), "a c[MASK]t, u sut.\nun é [MASK*3] mut [MASK][MASK]\nu")
    assert found.text == "a cot, u sut.\nun é ooo mut oo\nu"
    assert found.copied == {"é": 1}


def test_a_mask_of_no_token_is_refused_and_not_left_out():
    with pytest.raises(Refused, match=r"one token or more\n  got: .MASK.0."):
        restored(masked(), "a c[MASK]t, u s[MASK*0]t")


def test_a_mask_that_a_user_writes_over_the_end_of_a_piece_is_whole():
    text = "abcdefghijklm[MASK*5]no"
    assert restored(masked(), text).text == "abcdefghijklm" + "ooooo" + "no"


# -- runs that write


class Whole(Written):
    """Asked for the whole text, again."""

    end, longest = 99, 40

    def __init__(self):
        super().__init__()
        self.schedule = Linear()

    def forward(self, batch, t, random):
        raise NotImplementedError

    def accepts(self, spec):
        return spec

    def hidden(self, x, ok, lost, context, random):
        raise NotImplementedError

    def rebuilt(self, x_t, written, context):
        return written, written < self.end


class Doubles(Sampler):
    """Writes every `u` twice."""

    def __init__(self, u, end):
        self.u, self.end = u, end

    def __call__(self, denoiser, corruption, x_t, t, random, pulse=None, **context):
        out = torch.full((len(x_t), 40), self.end)
        for row, x, there in zip(out, x_t, context["valid"], strict=True):
            said = torch.cat([x[i : i + 1].repeat(2 if x[i] == self.u else 1) for i in range(int(there.sum()))])
            row[: len(said)] = said[: len(row)]
        return out

    calls = 1

    def accepts(self, spec):
        return spec


def test_runs_that_write_answer_with_texts_of_other_lengths():
    for codec, text, want in [
        (Character().fit(LETTERS), "a cut\nu. u\n\nthe mut un the hut\n", "a cuut\nuu. uu\n\nthe muut uun the huut\n"),
        (Character().fit(LETTERS, "ß"), "é cutß\nu\n", "é cuutß\nuu\n"),
    ]:
        run = opened(16, codec=codec, corruption=Whole(), facts=[Written])
        found = rewriting.restored(run, text, Doubles(int(codec.encode("u")[0]), 99))
        assert found.text == want
        assert found.left == 0


@texts
def test_runs_that_write_lose_nothing_between_pieces(text):
    """Even where they write no white space at the ends of a text."""
    codec = Character().fit(LETTERS)
    run = opened(16, codec=codec, corruption=Whole(), facts=[Written])
    run.spec = run.spec._replace(shape=(19,))
    found = rewriting.restored(run, text, Doubles(-1, 99))
    assert (found.text, found.left) == (text, 0)
    assert max(len(before) for before, _ in found.pieces) <= 13
    doubled = rewriting.restored(run, text, Doubles(int(codec.encode("u")[0]), 99))
    assert doubled.text == text.replace("u", "uu")


def test_an_answer_without_an_end_is_not_taken():
    codec = Character().fit(LETTERS)
    run = opened(40, codec=codec, corruption=Whole(), facts=[Written])
    text = "a" * 38 + "uu\n" + "u" * 20 + "\n"  # 42 are more than its 40 places, and 40 leave none for the end
    found = rewriting.restored(run, text, Doubles(int(codec.encode("u")[0]), 99))
    assert (found.text, found.left) == (text, 2)


def test_a_piece_whose_unknown_characters_cannot_be_put_back_is_as_it_was():
    codec = Character().fit(LETTERS)  # no unknown symbol: a space stands for it
    run = opened(16, codec=codec, corruption=Whole(), facts=[Written])
    found = rewriting.restored(run, "é cut\ncut\n", Doubles(int(codec.encode("u")[0]), 99))
    assert (found.text, found.left) == ("é cut\ncuut\n", 1)
    assert UNKNOWN not in found.text


# -- files


def asked(path, out, **more):
    return {"input": str(path), "output": str(out), "seed": 0, "sampler": None, "sampler.": {}, "steps": None,
            "grid": None, "grid.": {}, "mask": None, "noise": None, "label": None, "caption": None, **more}  # fmt: skip


def command(run, path, out, **more):
    run.sampler = lambda name, **arguments: OneShot()
    restore_text.command(run, asked(path, out, **more))


@pytest.mark.parametrize("raw, want", [
    (b"a cut\r\nu\r\n", b"a cot\r\no\r\n"), (b"u\ru\n\r\nu", b"o\ro\n\r\no"),
    (b"\xef\xbb\xbfu cut", b"\xef\xbb\xbfo cot"),
    ("\ufeff\ufeffu\ufeffcut\r\n\ufeffu\n\ufeff".encode(), "\ufeff\ufeffo\ufeffcot\r\n\ufeffo\n\ufeff".encode()),
    ("u é\u2028u\x0bu".encode(), "o é\u2028o\x0bo".encode()),
], ids=["windows", "mixed", "mark", "marks", "others"])  # fmt: skip
def test_line_ends_and_marks_are_kept_to_the_byte(raw, want, tmp_path, capsys):
    path, out = tmp_path / "letter.txt", tmp_path / "corrected.txt"
    path.write_bytes(raw)
    command(opened(), path, out)
    assert out.read_bytes() == want
    assert path.read_bytes() == raw
    said = capsys.readouterr().out
    assert str(out) in said
    assert ("byte order mark" in said) == raw.startswith(b"\xef\xbb\xbf")


@pytest.mark.parametrize("raw, said", [
    (b"a cut \xff\xfe", "letter.txt is no UTF-8: invalid start byte at byte 6"), (b"", "empty file"),
    (b"\xef\xbb\xbf", "has no text"), (b" \r\n ", "white space"), (b"a\0b", "a NUL at byte 1"),
    (b"a\xed\xa0\x80", "no UTF-8"), (None, "cannot be read"),
], ids=["bytes", "empty", "mark_alone", "spaces", "nul", "surrogate", "none"])  # fmt: skip
def test_what_is_no_text_is_refused_and_nothing_is_written(raw, said, tmp_path):
    path, out = tmp_path / "letter.txt", tmp_path / "corrected.txt"
    if raw is not None:
        path.write_bytes(raw)
    with pytest.raises(Refused, match=said):
        command(opened(), path, out)
    assert not out.exists()


def test_nothing_is_written_over_and_pictures_words_are_refused(tmp_path):
    path, out = tmp_path / "letter.txt", tmp_path / "corrected.txt"
    path.write_text("u", encoding="utf-8")
    out.write_text("mine", encoding="utf-8")
    for place in (out, path):
        with pytest.raises(Refused, match="written over"):
            command(opened(), path, place)
    assert out.read_text(encoding="utf-8") == "mine"
    with pytest.raises(Refused, match="restores text"):
        command(opened(), path, tmp_path / "new.txt", noise="25")


def test_runs_that_cannot_restore_a_text_say_why():
    from denoiselab.corruption import Absorbing
    from denoiselab.sampler import Generates

    with pytest.raises(Refused, match=r"no .MASK. in the text"):
        restored(opened(facts=[Absorbing]), "a cut")
    with pytest.raises(Refused, match="how much of a text is damaged"):
        restored(opened(facts=[Generates]), "a cut")
    with pytest.raises(Refused, match="never saw a mask"):
        restored(opened(), "a c[MASK]t")


def test_a_diff_shows_what_was_removed_and_what_was_added():
    text = restore_text.difference(3, "a cut\tsat\x1b[31m", "a cot\tsat\x1b[31m")
    assert "\x1b" not in text.plain
    parts = {str(span.style): text.plain[span.start : span.end] for span in text.spans}
    assert parts["red strike"] == "cut"
    assert parts["bold green"] == "cot"


def test_without_colors_a_diff_has_brackets():
    assert restore_text.difference(3, "a cut cat", "a cot cat there", False).plain == (
        "    3  a [-cut-]{+cot+} cat{+ there+}"
    )


def test_names_with_brackets_are_no_markup(tmp_path, capsys):
    path, out = tmp_path / "[red]letter.txt", tmp_path / "[i]" / "[red].txt"
    path.write_text("u\n", encoding="utf-8")
    command(opened(), path, out)
    assert str(out) in capsys.readouterr().out
    command(opened(), path, tmp_path / "x[" / "i].txt")
    assert "/i].txt" in capsys.readouterr().out


def test_pieces_that_are_counted_have_text(tmp_path, capsys):
    path = tmp_path / "letter.txt"
    path.write_text("u\na\n\nu\n", encoding="utf-8")
    command(opened(context=("valid",)), path, tmp_path / "corrected.txt")
    assert "2 of 3 pieces changed" in capsys.readouterr().out


def test_bytes_that_make_no_text_leave_a_mask_as_it_was():
    codec = Byte()
    run = opened(codec=codec, corruption=TokenMask(Constant(0.15), codec.size, 0.1, 0.1), specials=("[MASK]",))
    run.denoiser.new = 0xFF
    found = restored(run, "a c[MASK]t\n")
    assert (found.text, found.left) == ("a c[MASK]t\n", 1)


def test_a_model_without_a_space_restores_what_it_does_not_know():
    run = opened(old="A", new="C", codec=Character().fit("ACGT"), context=("valid",))
    found = restored(run, "GANNT\nA A\n")
    assert found.text == "GCNNT\nC C\n"
    assert found.copied == {"N": 2, " ": 1}


def test_the_work_grows_with_the_length_of_a_line():
    """By how many characters are looked at."""
    read = []

    class Looked(str):
        def __getitem__(self, key):
            read.append(len(found := super().__getitem__(key)))
            return found

    codec = Character().fit(LETTERS)
    plain = codec.encode
    codec.encode = lambda text: read.append(len(text)) or plain(text)
    spent = []
    for n in (300, 600):
        fits = rewriting.room(codec, 16, "\ufdd0")
        assert "".join(rewriting.cut(Looked("u cut sat " * n), fits, False, 128)) == "u cut sat " * n
        spent.append(sum(read))
        read.clear()
    assert spent[1] < 2.2 * spent[0]


class Told(Denoiser):
    """Says the token that the label numbers, everywhere."""

    def __init__(self, vocabulary):
        super().__init__()
        self.vocabulary = vocabulary

    def forward(self, x_t, t, *, seen=None, previous=None, label, **context):
        assert label.shape == (len(x_t),)
        said = label[:, None].expand_as(x_t)
        return Categorical(torch.nn.functional.one_hot(said, self.vocabulary).float().log())


@pytest.mark.parametrize("text", ["aaa aa\n" * 70, "aa[MASK]a\n"])
def test_a_run_that_is_told_a_label_restores_with_it(text):
    run = opened(length=8, specials=("[MASK]",), context=("valid", "label"))
    run.spec = run.spec._replace(classes=5, asks=frozenset({"label"}))
    run.denoiser = Told(run.spec.vocabulary)
    run.wanted = None
    letters = run.data.codec.decode(torch.arange(5)[:, None])
    for label in (2, 3):
        found = rewriting.restored(run, text, OneShot(), label=label).text
        if "[MASK]" in text:
            assert found == text.replace("[MASK]", letters[label])
        else:
            assert found.replace("\n", "") == letters[label] * len(text.replace("\n", ""))
    with pytest.raises(Refused, match="label=3"):
        rewriting.accepts(run, OneShot(), text)
    with pytest.raises(Refused, match="number of a class"):
        rewriting.accepts(run, OneShot(), text, label=5)
    with pytest.raises(Refused, match="label"):
        rewriting.accepts(opened(), OneShot(), "aa", label=1)
