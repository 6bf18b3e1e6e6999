"""Pictures of a user's own, and scores of a finished run, from the command line."""

import numpy as np
import pytest
import torch
from PIL import Image
from runs import TINY, scores, train

from denoiselab import build
from denoiselab.commands.main import run
from denoiselab.data.base import floating
from denoiselab.evaluation.metrics import psnr
from denoiselab.run import restoring
from denoiselab.run.loaded import Run


@pytest.fixture(scope="module")
def generative(tmp_path_factory):
    [folder] = train(tmp_path_factory.mktemp("generative"))
    return folder


@pytest.fixture(scope="module")
def classical(tmp_path_factory):
    words = ["schedule=constant", "schedule.level=0.2", "parameterization=residual", "weight=unit", "sampler=one_shot"]
    root = tmp_path_factory.mktemp("classical")
    tiny = [word for word in TINY if not word.startswith("sampler.")]
    assert run(["train", *tiny, f"outputs={root}", *words]) == 0
    [marker] = root.rglob("COMPLETED")
    return marker.parent


@pytest.fixture
def pictures(tmp_path):
    """A folder of two 8 x 8 pictures, gray and in color, and a mask that hides the right half."""
    folder = tmp_path / "mine"
    (folder / "more").mkdir(parents=True)
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / "a.png")
    Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / "more" / "b.jpg", quality=95)
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[:, 4:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return folder


def pixels(file):
    return np.asarray(Image.open(file)).astype(int)


def test_what_a_mask_shows_stays_and_what_it_hides_is_made(generative, pictures, tmp_path):
    mask = f"mask={tmp_path / 'mask.png'}"
    out = tmp_path / "out"
    assert run(["restore", f"run={generative}", f"input={pictures}", mask, "rounds=2", f"output={out}"]) == 0
    restored, own = pixels(out / "a.png"), pixels(pictures / "a.png")
    assert (restored[:, :4] == own[:, :4]).all()
    assert (restored[:, 4:] != own[:, 4:]).any()
    assert (out / "more" / "b.png").is_file()
    assert (out / "comparison.png").is_file()


def test_a_picture_alone_is_restored_as_among_others(generative):
    opened = Run(generative)
    x = floating(opened.data.test.x[:3])
    missing = torch.zeros(3, 1, 8, 8, dtype=torch.bool)
    missing[..., 2:5] = True
    sampler = opened.sampler("ancestral", steps=3)
    whole = restoring.restored(opened, x, sampler, missing=missing)
    alone = restoring.restored(opened, x[:1], sampler, missing=missing[:1])
    assert torch.allclose(whole[:1], alone, atol=1e-5)
    assert torch.equal(whole[~missing.expand_as(whole)], x[~missing.expand_as(x)])


def test_noise_is_removed_from_the_time_that_has_it(generative):
    """With the exact posterior in the place of the network: what is known is found again."""
    from denoiselab.oracle import Points

    opened = Run(generative)
    clean = floating(opened.data.train.x[:5])
    opened.module.denoiser = Points(clean, opened.corruption.schedule)
    noisy = clean + 30 / 127.5 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    restored = restoring.restored(opened, noisy, opened.sampler("ddim", steps=20), noise=30.0)
    byte = lambda x: (x + 1) * 127.5  # noqa: E731
    assert psnr(byte(noisy), byte(clean)) < 20
    assert psnr(byte(restored), byte(clean)) > 40


def test_a_classical_denoiser_takes_pictures_as_they_are(classical, pictures, tmp_path):
    out = tmp_path / "out"
    assert run(["restore", f"run={classical}", f"input={pictures / 'a.png'}", f"output={out}"]) == 0
    [x] = restoring.pictures(Run(classical), pictures / "a.png", False)[1]
    belief = Run(classical).denoiser(x[None], torch.ones(1)).mode
    expected = Run(classical).data.codec.decode(belief)[0, 0].numpy().astype(int)
    assert (pixels(out / "a.png") == expected).all()


# {mine}, {mask}, {generative}, {classical}, {here}: an empty folder
MISTAKES = {
    "no_picture": (["input={here}/nothing.png"], ["no such picture", "input="]),
    "empty_folder": (["input={here}"], ["no picture below"]),
    "no_input": ([], ["which picture?"]),
    "neither": (["input={mine}"], ["noise=", "mask="]),
    "both": (["input={mine}", "noise=25", "mask={mask}"], ["noise=", "mask="]),
    "noise_word": (["input={mine}", "noise=loud"], ["loud", "noise=25"]),
    "noise_below": (["input={mine}", "noise=-1"], ["-1"]),
    "rounds": (["input={mine}", "mask={mask}", "rounds=0"], ["rounds"]),
    "resize": (["input={mine}", "noise=25", "resize=yes"], ["resize", "yes"]),
    "steps": (["input={mine}", "noise=25", "steps=0"], ["steps", "0"]),
    "sampler": (["input={mine}", "noise=25", "sampler=ddmi"], ["ddmi", "did you mean ddim"]),
    "one_shot": (["input={mine}", "noise=25", "sampler=one_shot"], ["leave it out"]),
    "rounds_of_noise": (["input={mine}", "noise=25", "rounds=3"], ["rounds=3 without mask="]),
    "no_mask": (["input={mine}", "mask="], ["which mask?"]),
    "twice": (["input={mine}", "noise=25", "noise=30"], ["noise is given twice"]),
    "short_and_long": (["input={mine}", "noise=25", "steps=2", "sampler.steps=3"], ["steps is given twice"]),
    "label": (["input={mine}", "noise=25", "label=3"], ["cannot be asked for a label"]),
    "argument": (["input={mine}", "nois=25"], ["nois", "did you mean noise"]),
}


@pytest.mark.parametrize("words, said", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_refused_and_nothing_is_written(words, said, generative, pictures, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    places = {"mine": pictures, "mask": tmp_path / "mask.png", "here": tmp_path / "empty"}
    out = tmp_path / "out"
    typed = [word.format(**places) for word in words]
    assert run(["restore", f"run={generative}", f"output={out}", *typed]) == 2
    message = capsys.readouterr().err
    assert all(word in message for word in said), message
    assert not out.exists()


def test_damaged_pictures_are_named_and_nothing_is_written_over(generative, pictures, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["restore", f"run={generative}", f"input={pictures}", "noise=25", f"output={out}"]
    (pictures / "zero.png").write_bytes(b"")
    assert run(words) == 2
    assert "zero.png" in capsys.readouterr().err
    (pictures / "zero.png").unlink()
    assert run(words) == 0
    before = (out / "a.png").read_bytes()
    assert run(words) == 2
    assert "nothing is written over" in capsys.readouterr().err
    assert (out / "a.png").read_bytes() == before


def test_two_pictures_of_one_name_are_refused(generative, pictures, tmp_path, capsys):
    Image.new("L", (8, 8)).save(pictures / "a.bmp")
    out = tmp_path / "out"
    assert run(["restore", f"run={generative}", f"input={pictures}", "noise=25", f"output={out}"]) == 2
    assert "a.bmp, a.png" in capsys.readouterr().err
    assert run(["restore", f"run={generative}", f"input={pictures / 'a.png'}", "noise=25",
                f"output={pictures / 'a.bmp' / 'below'}"]) == 2  # fmt: skip
    assert "is a file" in capsys.readouterr().err
    assert not out.exists()


def test_pictures_of_another_size_are_refused_or_resized(generative, tmp_path, capsys):
    Image.new("L", (20, 30)).save(tmp_path / "large.png")
    words = [
        "restore",
        f"run={generative}",
        f"input={tmp_path / 'large.png'}",
        "noise=25",
        f"output={tmp_path / 'out'}",
    ]
    assert run(words) == 2
    assert "resize=true" in capsys.readouterr().err
    assert run([*words, "resize=true"]) == 0
    assert pixels(tmp_path / "out" / "large.png").shape[:2] == (8, 8)


def test_a_run_that_was_told_restores_by_what_is_said(tmp_path):
    """Nothing said is nothing told, whatever the test split has; a batch is no part of what is made."""
    [folder] = train(tmp_path, "conditioning=label", "edits=[withhold]")
    opened = Run(folder)
    x = floating(opened.data.test.x[:1]).expand(3, -1, -1, -1)
    sampler = opened.sampler("ddim", steps=3)
    free = restoring.restored(opened, x, sampler, noise=60.0)
    assert torch.allclose(free[0], free[2], atol=1e-5)
    said = restoring.restored(opened, x, sampler, noise=60.0, label=[3, 4])
    assert torch.allclose(said[0], said[2], atol=1e-5)


# -- evaluate


def test_a_run_is_scored_as_training_scores_it(generative, tmp_path, capsys):
    """`evaluate` with another sampler, and `train` with it, find one result."""
    assert run(["evaluate", f"run={generative}", "sampler=heun", "steps=2"]) == 0
    [place] = (generative / "scores").iterdir()
    first = scores(place)
    assert (place / "samples" / "samples.png").is_file()
    capsys.readouterr()
    assert run(["evaluate", f"run={generative}", "sampler=heun", "steps=2"]) == 0
    assert "scored before" in capsys.readouterr().out
    tiny = [word for word in TINY if not word.startswith("sampler.")]
    root = generative.parents[1]
    assert run(["train", *tiny, f"outputs={root}", "sampler=heun", "sampler.steps=2"]) == 0
    assert "finished before" in capsys.readouterr().out
    assert [*(generative / "scores").iterdir()] == [place]
    assert scores(place) == first


def test_its_own_sampler_is_scored_already(generative, capsys):
    assert run(["evaluate", f"run={generative}"]) == 0
    assert f"scored before: {generative}" in capsys.readouterr().out


def test_another_split_has_scores_of_its_own(generative):
    assert run(["evaluate", f"run={generative}", "split=val", "samples=4"]) == 0
    place = next((generative / "scores").glob("*-val-best"))
    assert {name.partition("/")[0] for name in scores(place)} == {"val"}


def test_what_is_scored_on_validation_is_what_was_measured(generative):
    words = ["split=val", "samples=5", "evaluation.held_out=10"]
    assert run(["evaluate", f"run={generative}", *words]) == 0
    opened = Run(generative)
    config = opened.chosen("evaluation", None, {"held_out": 10, "samples": 5})
    expected = build.make({"evaluation": config}, "evaluation").loss(opened.module, opened.data.val.take(slice(10)))
    found = [scores(place)["val/loss"] for place in (generative / "scores").glob("*-val-best")]
    assert any(abs(value - expected) < 1e-6 for value in found), (found, expected)


@pytest.mark.parametrize("words, said", [
    (["sampler=cold"], "Cold needs Degrading"), (["guidance=3"], "an unconditional run"), (["steps=0"], "steps"),
    (["split=tset"], "did you mean test"), (["samples=0"], "evaluation.samples"), (["sampler.etta=1"], "etta"),
])  # fmt: skip
def test_what_does_not_fit_is_not_scored(words, said, generative, capsys):
    before = {*(generative / "scores").glob("*")}
    assert run(["evaluate", f"run={generative}", *words]) == 2
    assert said in capsys.readouterr().err
    assert {*(generative / "scores").glob("*")} == before
