"""The command line: mistakes get one screen and exit code 2, before any work; help does not wait for torch."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from PIL import Image

from denoiselab.commands.main import COMMANDS, run
from denoiselab.configuration import groups
from denoiselab.names import OVERLAYS
from denoiselab.run.record import read_summary
from denoiselab.spec import Refused

TINY = ["architecture=mlp", "architecture.width=8", "architecture.layers=1", "trainer.max_steps=2", "data.batch_size=8",
        "evaluation.samples=4", "evaluation.metrics=[]", "sampler.steps=2", "logger=none"]  # fmt: skip
# What a person may type, and what the screen must say. {here} is an empty folder.
MISTAKES = {
    "command": (["trian"], ["trian", "did you mean train"]),
    "choice": (["train", "schedule=cosin"], ["schedule", "cosin", "did you mean cosine"]),
    "far_choice": (["train", "schedule=zzz"], ["schedule", "zzz", "cosine", "linear_beta"]),
    "group": (["train", "corrupton=gaussian"], ["corrupton", "did you mean corruption"]),
    "key": (["train", "optimizer.lrr=1"], ["optimizer.lrr", "did you mean optimizer.lr"]),
    "trainer_key": (["train", "trainer.max_step=1"], ["trainer.max_step", "did you mean trainer.max_steps"]),
    "short_key": (["train", "lr=1"], ["'lr'", "did you mean optimizer.lr"]),
    "added_key": (["train", "+optimizer.lrr=1"], ["lrr"]),
    "added_argument": (["train", "+architecture.widht=8"], ["widht"]),
    "experiment": (["train", "experiment=ddmp"], ["ddmp", "did you mean ddpm"]),
    "sweep": (["train", "-m", "schedule=cosine,linaer"], ["linaer", "did you mean linear"]),
    "sweep_without_m": (["train", "seed=range(3)"], ["seed=range(3)", "add -m"]),
    "sweep_grammar": (["train", "-m", "seed=range(1,x)"], ["seed=range(1,x)", "range(0,3)"]),
    "quotes": (["train", "outputs=mein Ordner/ä"], ["outputs=mein Ordner/ä", "'outputs=\"mein Ordner/ä\"'"]),
    "text_on_pictures": (["train", "experiment=bert", "data=digits"], ["text", "codec=identity"]),
    "mask_on_pictures": (["train", "corruption=token_mask"], ["TokenMask is for tokens", "image"]),
    "gaussian_on_text": (["train", "experiment=bert", "corruption=gaussian"], ["GaussianNoise", "tokens"]),
    "terminal_epsilon": (["train", "parameterization=epsilon"], ["Epsilon", "Terminal", "parameterization=v"]),
    "bound_off_grid": (["train", "objective=bound"], ["times.steps", "times=grid has it"]),
    "unet_on_points": (["train", "data=moons"], ["UNet is for image", "points"]),
    "no_folder": (["train", "data=folder", "data.root={here}/nothing"], ["{here}/nothing", "data.root"]),
    "empty_folder": (["train", "data=folder", "data.root={here}"], ["{here}"]),
    "no_root": (["train", "data=folder"], ["data.root"]),
    "no_text": (["train", "experiment=mdlm", "data=text_file"], ["data.path"]),
    "no_text_there": (["train", "experiment=mdlm", "data=text_file", "data.path={here}/a.txt"], ["{here}/a.txt"]),
    "no_fashion": (["train", "data=fashion_mnist", "data.root={here}"], ["{here}", "github.com"]),
    "batch_size": (["train", "data.batch_size=0"], ["data.batch_size", "0"]),
    "batch_size_word": (["train", "data.batch_size=many"], ["data.batch_size", "many"]),
    "batch_size_half": (["train", "data.batch_size=2.5"], ["data.batch_size", "2.5"]),
    "n": (["train", "data.n=-1"], ["data.n", "-1"]),
    "too_many": (["train", "data.n=100000"], ["data.n", "100000"]),
    "steps": (["train", "trainer.max_steps=0"], ["trainer.max_steps", "0"]),
    "steps_word": (["train", "trainer.max_steps=abc"], ["trainer.max_steps", "abc"]),
    "sampler_steps": (["train", "sampler.steps=0"], ["sampler.steps", "0"]),
    "seed": (["train", "seed=1.5"], ["seed", "1.5"]),
    "seed_word": (["train", "seed=one"], ["seed", "one"]),
    "lr_word": (["train", "optimizer.lr=fast"], ["optimizer.lr", "fast"]),
    "monitor": (["train", "monitor.name=val/los"], ["val/los", "val/loss"]),
    "monitor_mode": (["train", "monitor.mode=low"], ["low", "min"]),
    "precision": (["train", "trainer.precision=bf16-mixd"], ["precision", "bf16-mixed"]),
    "name_out": (["train", "name=../evil"], ["../evil"]),
    "name_path": (["train", "name=/tmp/evil"], ["/tmp/evil"]),
    "name_none": (["train", "name=null"], ["name"]),
    "logger": (["train", "logger=wandbb"], ["wandbb", "did you mean wandb"]),
    "target": (["train", "corruption._target_=os.system"], ["os.system", "not allowed"]),
    "added_target": (["train", "++callbacks.x._target_=os.system"], ["os.system", "not allowed"]),
    "prefix_target": (["train", "corruption._target_=denoiselab_evil.Noise"], ["denoiselab_evil.Noise", "not allowed"]),
    "no_class": (["train", "corruption._target_=denoiselab.corruption.Nothing"], ["denoiselab.corruption.Nothing"]),
    "plugin": (["train", "plugins=[her_package]"], ["her_package", "PYTHONPATH"]),
    "plugin_word": (["train", "plugins=her_package"], ["plugins=her_package"]),
    "no_value": (["train", "seed"], ["seed"]),
    "deleted": (["train", "~corruption"], ["corruption"]),
    "unread_grid": (["train", "experiment=bert", "grid=quadratic"], ["grid"]),
    "unread_weight": (["train", "objective=bound", "times=grid", "weight=simple"], ["weight"]),
    "show_choice": (["show", "corruption=gausian"], ["gausian", "did you mean gaussian"]),
    "show_sweep": (["show", "-m", "seed=0,1"], ["one cell", "leave out -m"]),
    "show_run": (["show", "run={here}"], ["{here}", "no run folder"]),
    "sample_run": (["sample", "run={here}/nothing"], ["{here}/nothing", "no run folder"]),
    "sample_nothing": (["sample"], ["run="]),
    "sample_argument": (["sample", "run={here}", "step=3"], ["step", "did you mean steps"]),
    "sample_n": (["sample", "run={here}", "n=many"], ["n", "many"]),
    "sample_none": (["sample", "run={here}", "n=0"], ["n=0"]),
    "flag": (["train", "--dryrun"], ["--dryrun", "did you mean --dry-run"]),
    "flag_key": (["train", "--seed=1"], ["--seed", "did you mean seed=VALUE"]),
    "flag_far": (["train", "--wibble"], ["--wibble", "KEY=VALUE, without dashes"]),
    "retry_word": (["train", "-m", "seed=0,1", "--retry", "nonsense"], ["nonsense", "choose failed"]),
    "retry_nothing": (["train", "-m", "seed=0,1", "--retry"], ["--retry failed"]),
    "status_key": (["status", "outputs=there"], ["outputs=there", "denoiselab status there"]),
    "list_group": (["list", "shedule"], ["shedule", "did you mean schedule"]),
}
MISTAKEN = pytest.mark.parametrize("mistake", MISTAKES)


def sound(screen, *words):
    """One screen that says what, got, fix, and these words."""
    # Hydra's own line before is a law apart, below.
    lines = [line for line in screen.strip().splitlines() if not line.startswith("Error executing job with overrides")]
    assert lines[0].startswith("refused: "), screen
    assert sum(line.startswith("  got: ") for line in lines) == 1
    assert sum(line.startswith("  fix: ") for line in lines) == 1
    assert len(lines) <= 12, screen
    assert sum(-(-len(line) // 80) for line in lines) <= 24, screen
    assert "Traceback" not in screen
    for word in words:
        assert word in screen, (word, screen)


@MISTAKEN
def test_a_mistake_is_refused_in_one_screen_and_leaves_nothing(mistake, tmp_path, monkeypatch, capfd):
    monkeypatch.delenv("DENOISELAB_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    here = tmp_path / "here"
    here.mkdir()
    words, said = MISTAKES[mistake]
    words = [word.format(here=here) for word in words]
    # Two steps, so that what is not refused does not take long.
    short = ["logger=none"] if words[0] == "train" and not any(w.startswith("logger") for w in words) else []
    short += ["trainer.max_steps=2"] if short and "trainer.max" not in str(words) else []
    assert run([*words, *short]) == 2
    sound(capfd.readouterr().err, *(word.format(here=here) for word in said))
    assert not [*here.iterdir()]
    assert not [path for path in (tmp_path / "outputs").rglob("*") if ".sweeps" not in str(path)]


def test_a_refusal_is_all_that_is_printed(capfd):
    assert run(["train", "data.batch_size=0", "logger=none"]) == 2
    out, err = capfd.readouterr()
    assert not out
    assert err.startswith("refused: ")


def picture(path, size=(8, 8)):
    Image.new("L", size, 128).save(path)


def test_damaged_files_are_named_before_training(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(6):
        picture(pictures / f"{i}.png", (32, 32))
    whole = (pictures / "3.png").read_bytes()
    (pictures / "3.png").write_bytes(whole[: len(whole) // 2])
    assert run(["train", "data=folder", f"data.root={pictures}", *TINY]) == 2
    sound(capfd.readouterr().err, "3.png")
    text = tmp_path / "text.txt"
    text.write_bytes(b"all is well until \xff\xfe here" * 50)
    assert run(["train", "experiment=mdlm", "data=text_file", f"data.path={text}", *TINY]) == 2
    sound(capfd.readouterr().err, "UTF-8", "text.txt")
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"], ["help"]])
def test_help_names_every_command(words, capsys):
    assert run(words) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)
    assert len(out.splitlines()) <= 24
    assert max(map(len, out.splitlines())) <= 120


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with_exit = pytest.raises(SystemExit) if command == "train" else None
    if with_exit:
        with with_exit as left:
            sys.exit(run([command, "--help"]))
        assert left.value.code in (0, None)
    else:
        assert run([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"denoiselab {command}" in out
    if command == "train":
        assert all(choice in out for choices in groups().values() for choice in choices)


QUICK = """
import contextlib, io, sys
from denoiselab.commands.main import run
for words in WORDS:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        assert run(words) == 0, words
    assert said.getvalue(), words
    slow = {"torch", "pytorch_lightning", "wandb", "torchmetrics", "sklearn", "matplotlib"} & set(sys.modules)
    assert not slow, (words, slow)
"""


def test_help_list_and_the_composed_configuration_do_not_import_torch(tmp_path):
    words = [["--help"], ["train", "--help"], ["sample", "--help"], ["show", "--help"], ["list"], ["list", "sampler"],
             ["train", "--cfg", "job"], ["train", "experiment=mdlm", "--cfg", "job", "--resolve"],
             ["train", "--hydra-help"], ["train", "--info", "defaults"]]  # fmt: skip
    done = python(f"WORDS = {words!r}\n{QUICK}", tmp_path)
    assert done.returncode == 0, done.stderr


def python(code, where, **environment):
    """A process of its own."""
    import os

    source = Path(__file__).resolve().parents[1] / "src"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=where, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(source), **environment},
    )  # fmt: skip


def test_the_composed_configuration_has_every_group(capsys):
    assert run(["train", "experiment=flow", "--cfg", "job"]) == 0
    out = capsys.readouterr().out
    assert all(f"{group}:" in out for group in groups() if group not in OVERLAYS)


def test_what_the_list_prints_can_be_chosen(capsys):
    assert run(["list", "schedule", "sampler"]) == 0
    out = capsys.readouterr().out.split()
    assert {*groups()["schedule"], *groups()["sampler"]} <= set(out)
    assert not {*groups()["cost"]} & set(out)


# -- a corruption from outside

HERS = '''
"""Hers."""

from denoiselab.corruption import Corruption, corrupted, everywhere
from denoiselab.schedule import match


class Flip(Corruption):
    """Pictures upside down, more of them the larger sigma."""

    def __init__(self, schedule, axis=2):
        super().__init__()
        self.schedule, self.axis = schedule, axis

    def forward(self, batch, t, random):
        hit = random.uniform((len(batch.x), 1, 1, 1)) < match(self.schedule.sigma(t), batch.x)
        return corrupted(batch, batch.x.flip(self.axis).where(hit, batch.x), touched=hit & everywhere(batch.x))

    def accepts(self, spec):
        return spec.of(("image",), self)
'''
HER_YAML = """# upside down
_target_: her_package.Flip
schedule: ${schedule}
axis: 2
"""
HER_WORDS = ["train", "experiment=denoising_autoencoder", "corruption=flip", "plugins=[her_package]", *TINY[:5],
             "evaluation.samples=4", "trainer.val_check_interval=1", "logger=none"]  # fmt: skip


@pytest.fixture
def hers(tmp_path, monkeypatch):
    """A package of a user's own, and her configurations."""
    (tmp_path / "her_package").mkdir()
    (tmp_path / "her_package" / "__init__.py").write_text(HERS, encoding="utf-8")
    (tmp_path / "her_conf" / "corruption").mkdir(parents=True)
    (tmp_path / "her_conf" / "corruption" / "flip.yaml").write_text(HER_YAML, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield [*HER_WORDS, f"hydra.searchpath=[file://{tmp_path / 'her_conf'}]"]
    sys.modules.pop("her_package", None)


def test_a_corruption_from_outside_trains_by_one_class_and_one_file(hers, tmp_path):
    assert run(hers) == 0
    [marker] = (tmp_path / "outputs").rglob("COMPLETED")
    assert "test/psnr" in read_summary(marker.parent)["metrics"]
    assert "her_package.Flip" in (marker.parent / "config.yaml").read_text(encoding="utf-8")
    import denoiselab

    with pytest.raises(Refused, match=r"denoiselab\.load\(PATH, plugins=\['her_package'\]\)"):
        denoiselab.load(marker.parent)
    found = denoiselab.load(marker.parent, plugins=["her_package"])
    assert type(found.corruption).__name__ == "Flip"
    assert run(["show", f"run={marker.parent}"]) == 2
    assert run(["show", f"run={marker.parent}", "plugins=her_package"]) == 0


def test_without_its_package_allowed_it_is_refused(hers, capfd):
    assert run([word for word in hers if "plugins" not in word]) == 2
    sound(capfd.readouterr().err, "her_package.Flip", "plugins=[her_package]")


def test_it_can_be_shown_before_it_is_trained(hers, tmp_path):
    words = [w for w in hers[1:] if not w.startswith(("logger", "trainer", "evaluation"))]
    assert run(["show", *words]) == 0
    assert [*(tmp_path / "outputs").rglob("*.png")]


def test_a_plugin_that_raises_is_its_own_mistake(hers, tmp_path, capfd):
    (tmp_path / "her_package" / "__init__.py").write_text("import no_such_module_of_hers\n", encoding="utf-8")
    assert run(hers) == 2
    sound(capfd.readouterr().err, "her_package", "no_such_module_of_hers")


# -- the commands themselves, in a process


def test_exit_codes_reach_the_shell(tmp_path):
    code = textwrap.dedent("""
        import sys
        from denoiselab.commands.main import main
        sys.argv = ["denoiselab", *WORDS]
        main()
    """)
    for words, expected in ((["list", "grid"], 0), (["list", "gird"], 2), (["trian"], 2)):
        done = python(f"WORDS = {words!r}\n{code}", tmp_path)
        assert done.returncode == expected, done.stderr
        assert bool(done.stderr) == bool(expected)
