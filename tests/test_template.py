"""Templates: text with holes, completed by a run, from Python and from the command line."""

from types import SimpleNamespace

import pytest
import tokenizers
import torch
from common import keys
from runs import TINY
from safetensors.torch import load_file

from denoiselab.commands.main import run
from denoiselab.commands.template import complete
from denoiselab.data.markov import ALPHABET
from denoiselab.data.subword import BPE, TokenizerFile
from denoiselab.data.tokenizer import UNKNOWN, Byte, Character
from denoiselab.run import infilling
from denoiselab.run.loaded import Run
from denoiselab.spec import Refused, Spec

MARKOV = ["data=markov", "data.length=24", "data.train=64", "data.val=16", "data.test=16"]
DATES = ["data=dates", "data.train=64", "data.val=16", "data.test=16"]
SMALL = [*[w for w in TINY if not w.startswith(("architecture", "sampler"))], "architecture.width=16",
         "architecture.layers=1"]  # fmt: skip
CELLS = {
    "masked": ["experiment=mdlm", *MARKOV, "sampler.steps=3"],
    "masked_padded": ["experiment=mdlm", *DATES, "sampler.steps=3"],
    "uniform": ["experiment=d3pm", *MARKOV, "sampler.steps=3"],
    "bert": ["experiment=bert", *MARKOV],
}
SAMPLERS = ["ancestral", "nucleus", "ancestral_cached", "confident", "blocks", "one_shot"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    found = {}
    for name, words in CELLS.items():
        root = tmp_path_factory.mktemp(name)
        assert run(["train", *words, *SMALL, f"outputs={root}"]) == 0
        [marker] = root.rglob("COMPLETED")
        found[name] = marker.parent
    return found


def fitted(text):
    return Character().fit(text)


# -- reading a template


def test_a_template_is_its_tokens_and_its_holes():
    template = infilling.read("ab[MASK]c[MASK*3][MASK]", fitted("abc "), 12)
    assert template.size == 8
    assert template.hidden.tolist() == [False, False, True, False, True, True, True, True, *[False] * 4]
    known = ~template.hidden & (torch.arange(12) < 8)
    assert fitted("abc ").decode(template.ids[known][None]) == ["abc"]
    for codec in (Byte(), BPE(300).fit("the cat sat on the mat, the cat")):
        template = infilling.read("the [MASK] sat é", codec, 40)
        assert template.hidden.sum() == 1
        assert codec.decode(template.ids[: template.size][template.hidden[: template.size].logical_not()][None]) == [
            "the  sat é"
        ]


MISTAKES = {
    "no_mask": ("abc", "where something is missing"), "empty": ("", "where something is missing"),
    "lower": ("a[mask]", "where something is missing"), "none": ("a[MASK*0]", "one token or more"),
    "huge": ("a[MASK*99999]", "one token or more"), "long": ("abc" * 4 + "[MASK]", "12 tokens"),
    "unknown": ("aß[MASK]", "does not know"),
}  # fmt: skip


@pytest.mark.parametrize("text, said", MISTAKES.values(), ids=MISTAKES)
def test_a_template_that_means_nothing_is_refused(text, said):
    with pytest.raises(Refused, match=said):
        infilling.read(text, fitted("abc "), 12)


def test_an_unknown_symbol_of_the_codec_does_not_make_characters_known():
    codec = Character().fit("abc ", "ß")
    assert UNKNOWN in codec.known
    with pytest.raises(Refused, match="does not know"):
        infilling.read("aß[MASK]", codec, 12)


def word_pieces(path):
    """A tokenizer.json as BERT has: no token is a space, and capitals are lost."""
    model = tokenizers.Tokenizer(tokenizers.models.WordPiece({"the": 0, "cat": 1, "sat": 2, "##s": 3, "[U]": 4},
                                                             unk_token="[U]"))  # fmt: skip
    model.normalizer = tokenizers.normalizers.Lowercase()
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    model.decoder = tokenizers.decoders.WordPiece()
    model.save(str(path))
    return TokenizerFile(str(path)).fit("")


@pytest.mark.parametrize("text, filled, want", [
    ("The [MASK] sat", "cat", "The cat sat"), ("The [MASK] [MASK]", "cat", "The cat cat"),
    ("The cat[MASK] sat", "##s", "The cats sat"), ("[MASK*2] Sat", "the", "the the Sat"),
])  # fmt: skip
def test_what_is_written_is_shown_as_written_by_any_tokenizer(text, filled, want, tmp_path):
    codec = word_pieces(tmp_path / "tokenizer.json")
    template = infilling.read(text, codec, 8)
    found = template.ids.masked_fill(template.hidden, codec.model.token_to_id(filled))
    opened = SimpleNamespace(data=SimpleNamespace(codec=codec))
    [row] = infilling.texts(opened, found[None], template)
    assert "".join(part for part, _ in row) == want
    assert "".join(part for part, new in row if not new) == infilling.HOLE.sub("", text)


def test_a_model_without_a_space_takes_templates():
    template = infilling.read("AC[MASK*2]T", fitted("ACGT"), 8)
    assert template.ids[~template.hidden].tolist() == [0, 1, 3, 0, 0, 0]


# -- completing it


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("cell", ["masked", "masked_padded"])
def test_every_sampler_of_masked_text_keeps_what_is_known(cell, name, runs):
    opened = Run(runs[cell], device="cpu")
    text = "the [MASK] ca[MASK*3]t" if cell == "masked" else "[MASK*2] March 19[MASK*2]"
    template = infilling.read(text, opened.data.codec, opened.spec.shape[0])
    more = {"size": 8, "steps": 5} if name == "blocks" else {} if name == "one_shot" else {"steps": 5}
    sampler = opened.sampler(name, **more)
    found = infilling.completed(opened, [template] * 5, sampler, seed=3)
    assert torch.equal(found[:, ~template.hidden], template.ids[~template.hidden].expand(5, -1))
    assert (found < opened.spec.vocabulary).all()
    alone = infilling.completed(opened, [template], sampler, seed=3)
    assert torch.equal(alone, found[:1])
    said = ["".join(part for part, _ in row) for row in infilling.texts(opened, found, template)]
    assert said == opened.data.codec.decode(found[:, : template.size])
    assert all(len(text) == template.size for text in said)


@pytest.mark.parametrize("cell", ["uniform", "bert"])
def test_uniform_noise_and_bert_complete_too(cell, runs):
    opened = Run(runs[cell], device="cpu")
    template = infilling.read("the [MASK] cat", opened.data.codec, 24)
    found = infilling.completed(opened, [template] * 3, opened.sampler(), seed=3)
    assert torch.equal(found[:, ~template.hidden], template.ids[~template.hidden].expand(3, -1))
    assert (found < opened.spec.vocabulary).all()


def test_the_exact_belief_completes_by_the_law_of_the_source(runs):
    """With the oracle in the place of the network: what fills one hole is as likely as the source says."""
    opened = Run(runs["masked"], device="cpu")
    oracle = opened.data.oracle(opened.corruption)
    length = opened.spec.shape[0]
    text = "".join(ALPHABET[i] for i in opened.data.test.x[0].tolist())
    template = infilling.read(f"{text[:10]}[MASK]{text[11:]}", opened.data.codec, length)
    seen = torch.where(template.hidden, opened.spec.vocabulary, template.ids)[None]
    share = oracle(seen, torch.tensor(0.5, dtype=torch.float64)).mean[0, 10]
    exact = type("At", (torch.nn.Module,), {"forward": lambda self, x, t, **context: oracle(x, t.double() * 0 + 0.5)})
    opened.module.denoiser = exact()
    n = 600
    found = infilling.completed(opened, [template] * n, opened.sampler("ancestral", steps=2))[:, 10]
    for token in share.topk(3).indices.tolist():
        p = share[token]
        assert abs((found == token).double().mean() - p) < 5 * (p * (1 - p) / n) ** 0.5


def test_what_follows_a_template_is_not_there_for_one_that_answers_at_once(runs):
    """The answer is that to the text alone: longer padding changes nothing."""
    opened = Run(runs["bert"], device="cpu")
    template = infilling.read("the [MASK] cat", opened.data.codec, 24)
    short = infilling.read("the [MASK] cat", opened.data.codec, template.size)
    agreed = infilling.accepts(opened, opened.sampler())
    answers = []
    for one in (template, short):
        there = (torch.arange(len(one.ids)) < one.size)[None]
        found = infilling.filled(opened, agreed, one.ids[None], one.hidden[None], there, opened.sampler(), keys(1),
                                 lambda: None, {})  # fmt: skip
        answers.append(found[:, : template.size])
    assert torch.equal(*answers)


# -- the command


def test_the_command_writes_and_shows_completions(runs, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["template=the [MASK*2] sat", "sampler=confident", "steps=2", f"output={out}"]
    assert run(["sample", f"run={runs['masked']}", *words]) == 0
    shown = capsys.readouterr().out
    lines = (out / "samples.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4
    assert all(line.startswith("the ") and line.endswith(" sat") and len(line) == 10 for line in lines)
    assert all(line in shown for line in lines)
    assert load_file(out / "samples.safetensors")["samples"].shape == (4, 24)


def test_what_a_template_holds_commands_no_screen(capsys, tmp_path, monkeypatch):
    """Nor is it markup, nor the folder's name."""
    codec, out = Byte(), tmp_path / "x[" / "i]"
    spec = Spec("tokens", (24,), codec.size)
    opened = SimpleNamespace(data=SimpleNamespace(codec=codec), spec=spec, folder=tmp_path)
    monkeypatch.setattr(infilling, "accepts", lambda run, sampler: spec)
    monkeypatch.setattr(infilling, "completed", lambda run, templates, *more, **wish: templates[0].ids[None])
    asked = {"template": "[b]a\x1b[31m[MASK]", "n": 1, "seed": 0, "batch_size": 1, "weights": "best",
             "output": str(out), "guidance": None, "guidance.": {}}  # fmt: skip
    complete(opened, asked, None, SimpleNamespace(steps=1, calls=1), {})
    said = capsys.readouterr().out
    assert "[b]a\u241b[31m" in said
    assert str(out) in said


@pytest.mark.parametrize("cell", ["masked", "bert", "masked_padded"])
def test_masks_in_a_letter_are_filled_from_the_command_line(cell, runs, tmp_path, capsys):
    text = "the [MASK] c[MASK*2]t\r\n\r\nÉ and [MASK][MASK]\r\n" + "no hole here " * 9 + "[MASK*30]end"
    if cell == "masked_padded":
        text = "[MASK*3]day, 5 March 19[MASK*2]\r\nÉ 5.5.20[MASK]\n"
    path, out = tmp_path / "letter.txt", tmp_path / "corrected.txt"
    path.write_bytes(text.encode())
    assert run(["restore", f"run={runs[cell]}", f"input={path}", f"output={out}"]) == 0
    said, found = capsys.readouterr().out, out.read_bytes().decode()
    assert "1 characters of 1 kinds are not known" in said
    holes = infilling.HOLE.sub(lambda hole: "\0" * int(hole[1] or 1), text)
    assert len(found) == len(holes)
    assert all(a == b for a, b in zip(holes, found, strict=True) if a != "\0")
    assert "\0" not in found
    assert run(["restore", f"run={runs[cell]}", f"input={path}", f"output={out}"]) == 2
    assert "written over" in capsys.readouterr().err


REFUSED = {
    "no_mask": ("masked", ["template=the cat"], "where something is missing"),
    "long": ("masked", ["template=" + "a" * 40 + "[MASK]"], "24 tokens"),
    "unknown": ("masked", ["template=THE [MASK]"], "does not know"),
    "guidance": ("masked", ["template=a[MASK]", "guidance=3"], "own guidance"),
    "sampler": ("masked", ["template=a[MASK]", "sampler=heun"], "Additive"),
    "one_shot": ("uniform", ["template=a[MASK]", "sampler=one_shot"], "never saw a mask"),
    "top_p": ("masked", ["template=a[MASK]", "sampler=nucleus", "sampler.top_p=2"], "top_p"),
    "seed": ("masked", ["template=a[MASK]", "seed=1.5"], "for example seed=1"),
    "grid": ("bert", ["template=a[MASK]", "grid.rho=5"], "no grid"),
    "of_grid": ("masked", ["template=a[MASK]", "grid=karras", "grid.roh=5"], "did you mean rho"),
}


@pytest.mark.parametrize("cell, words, said", REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_refused_and_nothing_is_written(cell, words, said, runs, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["sample", f"run={runs[cell]}", f"output={out}", *words]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_the_arguments_of_a_grid_can_be_given(runs):
    opened = Run(runs["masked"], device="cpu")
    node = opened.chosen("sampler", "ancestral", {"grid": "karras", "grid.": {"rho": 3.0}})
    assert node["grid"]["rho"] == 3.0
    assert opened.sampler("ancestral", **{"grid": "karras", "grid.": {"rho": 3.0}}).grid.keywords["rho"] == 3.0
