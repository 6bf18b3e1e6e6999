"""Latents: an autoencoder's network, the pictures that it encodes once, and a run that holds its first stage."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from runs import equal_runs

import denoiselab
from denoiselab.architecture.autoencoder import Autoencoder
from denoiselab.commands.main import run
from denoiselab.corruption import Batch
from denoiselab.data.base import Encoded, Identity, floating
from denoiselab.data.image import Digits
from denoiselab.data.latent import Latent
from denoiselab.evaluation.metrics import PSNR, SSIM
from denoiselab.launch.judge import judge
from denoiselab.randomness import Keyed
from denoiselab.run import checkpoint, record
from denoiselab.spec import Refused, Spec

STEPS = 8
TINY = ["logger=none", f"trainer.max_steps={STEPS}", "trainer.val_check_interval=4", "trainer.log_every_n_steps=1",
        "trainer.enable_progress_bar=false", "evaluation.samples=8", "evaluation.metrics=[]", "data.batch_size=8",
        "data.n=64"]  # fmt: skip
FIRST = [*TINY, "experiment=autoencoder", "architecture.width=8"]
SECOND = [*TINY, "experiment=latent_diffusion", "architecture=mlp", "architecture.width=16", "architecture.layers=1",
          "sampler.steps=2"]  # fmt: skip


# -- the network

SHAPES = {
    "even": (Spec("image", (1, 8, 8)), (1, 2), (3, 4, 4)),
    "odd": (Spec("image", (3, 7, 5)), (1, 2), (3, 4, 3)),
    "quarter": (Spec("image", (1, 28, 28)), (1, 1, 1), (3, 7, 7)),
    "eighth": (Spec("image", (1, 9, 13)), (1, 1, 1, 1), (3, 2, 2)),
    "learned": (Spec("image", (2, 6, 6), given=(4, 6, 6)), (1, 2), (3, 3, 3)),
}


def network(spec, multipliers, **more):
    """Small, of weights of which none is zero."""
    torch.manual_seed(0)
    plan = Autoencoder(8, multipliers, channels=3, **more)
    made = plan.build(plan.accepts(spec))
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return made


@pytest.mark.parametrize("spec, multipliers, latent", SHAPES.values(), ids=SHAPES)
def test_pictures_of_any_size_become_latents_of_mean_0_and_variance_1_and_come_back(spec, multipliers, latent):
    coder, x, noise = network(spec, multipliers).eval(), torch.randn(5, *spec.shape), torch.rand(5)
    z, back = coder.encode(x), coder(x, noise)
    assert z.shape == (5, *latent)
    assert back.shape == (5, *(spec.given or spec.shape))
    torch.testing.assert_close(z.flatten(1).mean(1), torch.zeros(5), rtol=0, atol=1e-5)
    torch.testing.assert_close(z.flatten(1).var(1, correction=0), torch.ones(5), rtol=1e-3, atol=0)
    assert torch.equal(back, coder.decode(z))
    assert torch.equal(back, coder(x, 1 - noise, label=noise)), "neither time nor context is told"
    torch.testing.assert_close(coder(x[2:3], noise[2:3])[0], back[2], rtol=1e-4, atol=1e-4)
    back.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in coder.parameters())


def test_noise_is_in_training_alone_and_from_the_generator_that_is_seeded():
    x, noise = torch.randn(2, 1, 8, 8), torch.zeros(2)
    coder, silent = network(SHAPES["even"][0], (1, 2), noise=0.5), network(SHAPES["even"][0], (1, 2), noise=0)
    assert torch.equal(silent.train()(x, noise), silent.eval()(x, noise))
    assert torch.equal(silent(x, noise), coder.eval()(x, noise))
    coder.train()
    torch.manual_seed(1)
    a, b = coder(x, noise), coder(x, noise)
    torch.manual_seed(1)
    assert torch.equal(coder(x, noise), a)
    assert not torch.equal(a, b)


WRONG = {"width": {"width": 12}, "channels": {"channels": 0}, "noise": {"noise": -0.1}, "many": {"noise": 10},
         "empty": {"multipliers": ()}, "blocks": {"blocks": 0}, "dropout": {"dropout": 1.0}}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_plan_that_cannot_be_is_refused(wrong):
    with pytest.raises(Refused):
        Autoencoder(**wrong)


UNFIT = {
    "text": (Spec("tokens", (9,), vocabulary=3), (1, 2), "is for image"),
    "small": (Spec("image", (1, 3, 9)), (1, 1, 1), "2 times"),
    "nothing": (Spec("image", (1, 1, 3)), (1,), "a latent has 4 numbers"),
    "part": (Spec("image", (1, 8, 8), seen=(1, 4, 4)), (1, 2), "a part"),
}


@pytest.mark.parametrize("spec, multipliers, word", UNFIT.values(), ids=UNFIT)
def test_what_does_not_fit_is_refused(spec, multipliers, word):
    with pytest.raises(Refused, match=word):
        Autoencoder(8, multipliers, channels=1).accepts(spec)


# -- the data


@pytest.fixture(scope="module")
def pictures():
    return Digits(Latent("somewhere"), 8, 100).load()


@pytest.fixture(scope="module")
def coder():
    return network(Spec("image", (1, 8, 8)), (1, 2))


@pytest.fixture(scope="module")
def data(pictures, coder):
    return pictures.codec.opened(coder, "a digest", pictures)


def test_what_is_decoded_is_what_the_network_says(data, coder):
    x = data.raw.train.x[:20]
    z = data.codec.encode(x)
    assert torch.equal(z, data.train.x[:20])
    with torch.no_grad():
        said = coder(floating(x), torch.zeros(20))
    torch.testing.assert_close(data.codec.pictures(z), said, rtol=1e-4, atol=1e-4)
    far = (data.codec.decode(z).int() - Identity().decode(said).int()).abs()
    assert data.codec.decode(z).dtype == torch.uint8
    assert far.max() <= 1, "where 127.5 times a picture is near a half"
    assert torch.equal(data.codec.encode(floating(x)), z)


def test_each_channel_of_the_training_split_is_standard(data):
    x = data.train.x.double()
    assert data.train.x.dtype == torch.float32
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(x.std((0, 2, 3), correction=0), torch.ones(3).double(), rtol=1e-4, atol=0)
    # By the training split alone: what is held out is shifted and scaled alike.
    for split in ("val", "test"):
        assert torch.equal(data.codec.encode(data.raw.split(split).x), data.split(split).x)


def test_all_else_of_the_data_stays(data, pictures):
    assert data.spec == pictures.spec._replace(shape=(3, 4, 4), facts=pictures.spec.facts | {Encoded})
    for split in ("train", "val", "test"):
        assert torch.equal(data.split(split).context["label"], pictures.split(split).context["label"])
        assert torch.equal(data.seen.split(split).x, pictures.split(split).x)
    assert pictures.seen is pictures
    assert torch.equal(data.seen.codec.decode(data.seen.test.x), pictures.test.x)
    assert data.notes == pictures.notes
    assert floating(data.train.x) is data.train.x


def test_the_fingerprint_is_of_the_pictures_and_of_the_weights(data, pictures, coder):
    fewer = Digits(Latent("somewhere"), 8, 50).load()
    prints = {
        data.fingerprint(), pictures.fingerprint(), pictures.codec.opened(coder, "another", pictures).fingerprint(),
        fewer.codec.opened(coder, "a digest", fewer).fingerprint(),
    }  # fmt: skip
    assert len(prints) == 4
    moved = Digits(Latent("elsewhere"), 8, 100).load()
    assert moved.codec.opened(coder, "a digest", moved).fingerprint() == data.fingerprint()


def test_a_channel_that_says_nothing_is_not_blown_up(pictures):
    silent = network(Spec("image", (1, 8, 8)), (1, 2))
    torch.nn.init.zeros_(silent.encoder[-1].weight)
    data = pictures.codec.opened(silent, "a digest", pictures)
    assert data.train.x.isfinite().all()
    assert data.train.x.abs().max() < 1


def test_pixels_of_latents_are_not_compared(data):
    for metric in (PSNR(), SSIM()):
        with pytest.raises(Refused, match="Encoded"):
            metric.accepts(data.spec)


def test_latents_are_of_pictures():
    with pytest.raises(Refused, match="Latent is for image"):
        Latent("somewhere").accepts(Spec("tokens", (3,), vocabulary=2))


# -- runs


def trained(root, *words):
    """The folder of a run, or of its scores, that a command makes anew."""
    before = {path.parent for path in root.rglob("summary.json")}
    assert run(["train", *words, f"outputs={root}"]) == 0
    [made] = {path.parent for path in root.rglob("summary.json")} - before
    return made


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("first"), *FIRST)


@pytest.fixture(scope="module")
def alone(autoencoder, tmp_path_factory):
    """A run whose first stage was deleted, and the samples that it made before."""
    root = tmp_path_factory.mktemp("second")
    shutil.copytree(autoencoder, root / "first")
    made = trained(root, *SECOND, f"codec.run={root / 'first'}")
    samples = denoiselab.load(made).sample(5)
    shutil.rmtree(root / "first")
    return made, samples


@pytest.fixture
def copy(alone, tmp_path):
    """A copy of that run, to do harm to."""
    shutil.copytree(alone[0], tmp_path / "runs" / "latent_diffusion" / alone[0].name)
    return tmp_path / "runs" / "latent_diffusion" / alone[0].name


def test_an_autoencoder_restores_what_it_sees(autoencoder):
    opened = denoiselab.load(autoencoder)
    x = floating(opened.data.test.x[:4])
    assert torch.equal(opened.corruption(Batch(x, torch.arange(4)), torch.ones(4), Keyed.of(0, torch.arange(4))).x_t, x)
    assert torch.equal(opened.denoiser(x, torch.ones(4)).mean, opened.denoiser.network(x, torch.ones(4)))


def test_a_run_holds_its_first_stage_and_needs_no_other(alone, autoencoder, copy):
    made, before = alone
    assert {path.name for path in (made / "codec").iterdir()} == {"config.yaml", "best.ckpt"}
    assert (made / "codec" / "best.ckpt").read_bytes() == (autoencoder / "checkpoints" / "best.ckpt").read_bytes()
    for place in (made, copy):
        opened = denoiselab.load(place)
        assert torch.equal(opened.sample(5), before)
        assert opened.data.codec.decode(before).shape == (5, 1, 8, 8)
        assert run(["sample", f"run={place}", "n=4"]) == run(["show", f"run={place}"]) == 0
    network = denoiselab.load(autoencoder).denoiser.network
    ours = denoiselab.load(made).data.codec.network.state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in network.state_dict().items())


def test_a_first_stage_is_known_by_content_and_not_by_path(alone, autoencoder, tmp_path, capfd):
    shutil.copytree(autoencoder, tmp_path / "moved")
    for path in (autoencoder, tmp_path / "moved", alone[0] / "codec"):
        assert run(["train", *SECOND, f"codec.run={path}", f"outputs={alone[0].parents[1]}"]) == 0
        assert "finished before" in capfd.readouterr().out
    saved = checkpoint.load(autoencoder / "checkpoints" / "best.ckpt")
    name = next(name for name, value in saved["state_dict"].items() if value.is_floating_point())
    saved["state_dict"][name] = saved["state_dict"][name] * 1.01
    checkpoint.save(saved, tmp_path / "moved" / "checkpoints" / "best.ckpt")
    other = trained(alone[0].parents[1], *SECOND, f"codec.run={tmp_path / 'moved'}")
    assert other.parent == alone[0].parent


def test_a_killed_run_goes_on_from_its_own_copy(alone, copy, tmp_path):
    """The first stage is deleted, and the copy that the run itself holds is named in its place."""
    whole, _ = alone
    (copy / "COMPLETED").unlink()
    (copy / "summary.json").unlink()
    (copy / "checkpoints" / f"{STEPS:09}.ckpt").unlink()
    shutil.copytree(copy / "codec", copy / ".codec.1.tmp")
    assert run(["train", *SECOND, f"codec.run={copy / 'codec'}", f"outputs={tmp_path / 'runs'}"]) == 0
    assert f"resumed at step {STEPS // 2}" in (copy / "log.txt").read_text(encoding="utf-8")
    assert not [*copy.glob(".codec*")], "left by a kill within the copying"
    equal_runs(copy, whole)
    assert torch.equal(denoiselab.load(copy).sample(5), alone[1])


@pytest.mark.parametrize("harm", ["gone", "other", "half"])
def test_a_copy_is_made_anew_when_training_goes_on(harm, autoencoder, copy, tmp_path):
    (copy / "COMPLETED").unlink()
    best = copy / "codec" / "best.ckpt"
    if harm == "gone":
        shutil.rmtree(copy / "codec")
    elif harm == "other":
        best.write_bytes(b"other")
    else:
        (copy / "codec" / "config.yaml").unlink()
    assert run(["train", *SECOND, f"codec.run={autoencoder}", f"outputs={tmp_path / 'runs'}"]) == 0
    assert best.read_bytes() == (autoencoder / "checkpoints" / "best.ckpt").read_bytes()
    assert denoiselab.load(copy).sample(1).isfinite().all()


def test_trained_anew_from_its_own_copy(copy, tmp_path):
    words = [*SECOND, f"codec.run={copy / 'codec'}", f"outputs={tmp_path / 'runs'}", "rerun=true"]
    assert run(["train", *words]) == 0
    assert denoiselab.load(copy).sample(1).isfinite().all()


def test_scores_of_a_trained_run_are_opened_with_its_copy(copy, tmp_path):
    words = [*SECOND[:-1], "sampler.steps=3", f"codec.run={copy / 'codec'}"]
    place = trained(tmp_path / "runs", *words)
    assert place.parent == copy / "scores"
    assert denoiselab.load(place).sample(1).isfinite().all()


def test_metrics_are_of_decoded_pictures_against_real_ones(autoencoder, tmp_path):
    words = [word for word in SECOND if "metrics" not in word]
    made = trained(tmp_path, *words, f"codec.run={autoencoder}")
    scores = record.read_summary(made)["metrics"]
    assert "test/psnr" not in scores
    assert scores["test/fd_smallcnn"]["value"] > 0
    pixels = trained(tmp_path, *[word for word in words if "experiment" not in word])
    by = record.read_summary(pixels)["metrics"]["test/fd_smallcnn"]["extractor"]
    assert scores["test/fd_smallcnn"]["extractor"] == by, "one extractor judges both"
    assert (made / "samples" / "samples.png").exists()
    with Image.open(made / "samples" / "samples.png") as ours, Image.open(pixels / "samples" / "samples.png") as theirs:
        assert ours.size == theirs.size


def test_before_training_it_can_be_looked_at(autoencoder, tmp_path, capfd):
    assert run(["show", *SECOND, f"codec.run={autoencoder}", f"outputs={tmp_path}"]) == 0
    assert "each of shape (2, 4, 4)" in capfd.readouterr().out


def test_pictures_are_not_restored_in_latents(alone, tmp_path, capfd):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    assert run(["restore", f"run={alone[0]}", f"input={tmp_path / 'a.png'}", "noise=25"]) == 2
    assert "in the space of pixels" in capfd.readouterr().err


# -- mistakes


def unfinished(folder):
    (folder / "COMPLETED").unlink()


def damaged(folder):
    file = folder / "checkpoints" / "best.ckpt"
    raw = bytearray(file.read_bytes())
    raw[-3] ^= 1
    file.write_bytes(raw)


def lost(folder):
    (folder / "checkpoints" / "best.ckpt").unlink()


def rewritten(**changes):
    def change(folder):
        file = folder / "config.yaml"
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        file.write_text(yaml.safe_dump({**config, **changes}, sort_keys=False), encoding="utf-8")

    return change


HARM = {
    "empty": (shutil.rmtree, "which has a config.yaml"),
    "unfinished": (unfinished, "no COMPLETED"),
    "damaged": (damaged, "SHA-256"),
    "lost": (lost, "cannot be read"),
    "other": (rewritten(seed=5), "seed: 0 -> 5"),
    "plugin": (rewritten(plugins=["evil_module"]), "if you trust it"),
    "target": (rewritten(sampler={"_target_": "os.system", "command": "touch canary"}), "not allowed"),
    "number": (rewritten(seed="x"), "not the configuration"),
}


@pytest.mark.parametrize("harm, words", HARM.values(), ids=HARM)
def test_a_first_stage_that_is_not_whole_is_refused(harm, words, autoencoder, tmp_path, capfd):
    shutil.copytree(autoencoder, tmp_path / "first")
    harm(tmp_path / "first")
    refused([f"codec.run={tmp_path / 'first'}"], words, tmp_path, capfd)


def refused(more, words, tmp_path, capfd):
    assert run(["train", *SECOND, *more, f"outputs={tmp_path / 'out'}"]) == 2
    said = capfd.readouterr().err
    assert all(part in said for part in ("refused: ", "got: ", "fix: ", words)), said
    assert not (tmp_path / "out").exists()
    return said


def test_without_a_first_stage_it_is_said_how_to_train_one(tmp_path, capfd):
    said = refused([], "codec.run=null", tmp_path, capfd)
    assert "denoiselab train experiment=autoencoder" in said


DENOISER = ["experiment=denoising_autoencoder", "architecture=unet", "architecture.width=8"]
DIFFUSION = ["architecture=autoencoder", "architecture.width=8", "sampler.steps=2"]
LEARNED = [*DIFFUSION, "parameterization=x0", "posterior=learned", "objective=hybrid", "times=grid"]
OTHERS = {
    "denoiser": (DENOISER, "architecture UNet"), "diffusion": (DIFFUSION, "parameterization V"),
    "learned": (LEARNED, "posterior Learned"),
}  # fmt: skip


@pytest.mark.parametrize("others, words", OTHERS.values(), ids=OTHERS)
def test_a_run_that_is_no_autoencoder_is_refused(others, words, tmp_path, capfd):
    made = trained(tmp_path / "other", *TINY, *others)
    refused([f"codec.run={made}"], words, tmp_path, capfd)


def test_latents_of_latents_are_refused(autoencoder, tmp_path, capfd):
    made = trained(tmp_path / "other", *FIRST, "codec=latent", f"codec.run={autoencoder}")
    refused([f"codec.run={made}"], "not latents of another run", tmp_path, capfd)


@pytest.mark.parametrize("size, channels", [(8, 3), (7, 1)])
def test_pictures_of_another_shape_are_refused(size, channels, autoencoder, tmp_path, capfd):
    (tmp_path / "pictures").mkdir()
    for i in range(4):
        Image.new("RGB", (size, size), (i, 0, 0)).save(tmp_path / "pictures" / f"{i}.png")
    more = ["data=folder", f"data.root={tmp_path / 'pictures'}", f"data.channels={channels}", "data.n=2"]
    words = f"(1, 8, 8), and not ({channels}, {size}, {size})"
    refused([*more, f"codec.run={autoencoder}"], words, tmp_path, capfd)


def test_latents_of_text_and_of_points_are_refused(autoencoder, tmp_path, capfd):
    refused([f"codec.run={autoencoder}", "data=moons"], "Latent is for image", tmp_path, capfd)
    refused([f"codec.run={autoencoder}", "data=markov", "~data.n"], "cannot", tmp_path, capfd)


# -- a copy that somebody did harm to

TAMPERED = {
    "gone": (shutil.rmtree, "is gone"),
    "lost": (lambda codec: (codec / "best.ckpt").unlink(), "is gone"),
    "damaged": (lambda codec: (codec / "best.ckpt").write_bytes(b"x" * 100), "cannot be read"),
    "other": (rewritten(seed=5), "seed: 0 -> 5"),
    "plugin": (rewritten(plugins=["evil_module"]), "if you trust it"),
    "target": (rewritten(sampler={"_target_": "os.system", "command": "touch canary"}), "not allowed"),
    "text": (lambda codec: (codec / "config.yaml").write_text("a: !!python/name:os.system"), "not the configuration"),
}


@pytest.mark.parametrize("harm, words", TAMPERED.values(), ids=TAMPERED)
def test_a_copy_that_is_not_whole_is_refused_by_every_door(harm, words, copy, capfd):
    harm(copy / "codec")
    for command in ("sample", "show"):
        assert run([command, f"run={copy}"]) == 2
        said = capfd.readouterr().err
        assert all(part in said for part in ("refused: ", "got: ", "fix: ", words)), said
        assert "codec" in said
    with pytest.raises(Refused):
        denoiselab.load(copy)
    assert not Path("canary").exists()


def test_a_whole_copy_of_another_autoencoder_is_refused(copy, capfd):
    saved = checkpoint.load(copy / "codec" / "best.ckpt")
    name = next(name for name, value in saved["state_dict"].items() if value.is_floating_point())
    saved["state_dict"][name] = saved["state_dict"][name] + 1
    checkpoint.save(saved, copy / "codec" / "best.ckpt")
    assert run(["sample", f"run={copy}"]) == 2
    assert "fingerprint: " in capfd.readouterr().err


@pytest.mark.parametrize("key, value", [("state_dict", 3), ("state_dict", {}), ("about", 3), ("about", {}), ("fit", 3)])
def test_a_copy_of_any_content_is_refused_in_words(key, value, copy, capfd):
    saved = checkpoint.load(copy / "codec" / "best.ckpt")
    checkpoint.save({**saved, key: value}, copy / "codec" / "best.ckpt")
    assert run(["sample", f"run={copy}"]) == 2
    assert "Traceback" not in capfd.readouterr().err


def test_another_path_in_the_configuration_is_not_followed(copy, tmp_path, alone):
    """A folder from somebody else could name any file: its own copy alone is opened."""
    file = copy / "config.yaml"
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    config["codec"]["run"] = config["data"]["codec"]["run"] = str(tmp_path / "elsewhere")
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    assert torch.equal(denoiselab.load(copy).sample(5), alone[1])


def test_a_sweep_judges_a_cell_in_latents_as_the_run_that_it_is(alone, autoencoder, tmp_path):
    config = yaml.safe_load((alone[0] / "config.yaml").read_text(encoding="utf-8"))
    cells = []
    for path in (autoencoder, tmp_path):
        codec = {"codec": {**config["codec"], "run": str(path)}}
        cells.append(({**config, "data": {**config["data"], **codec}, **codec}, {}, []))
    found, no_run = judge(cells)
    assert found.finished == str(alone[0])
    assert isinstance(no_run, Refused)
