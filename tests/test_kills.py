"""Runs that are killed at random moments of their whole life, reading data and evaluation included, and started again:
they end as the run that nobody killed, to the bit, and lose at most what lies between two saves.

The figures that `pytest -s` prints are those of experiments/LOG.md."""

import os
import random
import re
import signal
import time
from multiprocessing.connection import wait

import pytest
import yaml
from runs import equal_runs, forked, train

from denoiselab.run import record
from denoiselab.run.saver import last_good
from denoiselab.run.signals import PREEMPTED

pytestmark = pytest.mark.slow
EVERY, LENGTH = 20, 300
SYSTEMS = {
    "ddpm": ["data.n=100"],
    "flow": ["data.n=100"],
    "denoising_autoencoder": ["data.n=100"],
    "bert": ["data.train=100", "data.val=20", "data.test=20", "data.length=12"],
    "mdlm": ["data.train=100", "data.val=20", "data.test=20", "data.length=12"],
}
COMMON = [f"checkpoint.every={EVERY}", f"trainer.max_steps={LENGTH}", "trainer.val_check_interval=50",
          "architecture.dropout=0.1", "lr_schedule.warmup=10"]  # fmt: skip
KILLS, TERMS = 6, 4  # for each system


@pytest.fixture(scope="module", params=SYSTEMS)
def whole(request, tmp_path_factory):
    """The run that nobody kills, its configuration and about how long its process lives."""
    root = tmp_path_factory.mktemp(request.param)
    # What restores in one shot takes no steps.
    without = "sampler.steps" if request.param in ("denoising_autoencoder", "bert") else None
    [folder] = train(root, f"experiment={request.param}", *COMMON, *SYSTEMS[request.param], without=without)
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    lives = []
    for again in ("first", "second"):  # the first one waits for the server
        began = time.monotonic()
        child = forked({**config, "outputs": str(root / again)}, root / "log")
        child.join()
        assert child.exitcode == 0, (root / "log").read_text(encoding="utf-8")
        lives.append(time.monotonic() - began)
    return folder, config, min(lives), random.Random(request.param)


def attempt(config, root, number, moment):
    """A process that gets a signal `moment` seconds after its start: its exit code, the steps it had recorded, and the
    seconds it took to leave."""
    child = forked(config, root / "log")
    wait([child.sentinel], timeout=moment)
    began = time.monotonic()
    if child.is_alive():
        os.kill(child.pid, number)
    child.join()
    steps = [row["step"] for path in root.rglob("metrics.jsonl") for row in record.read(path)]
    return child.exitcode, max(steps, default=0), time.monotonic() - began


def finished(config, root):
    """The folder of a run that is left to end, and the step it was resumed from."""
    child = forked(config, root / "log")
    child.join()
    text = (root / "log").read_text(encoding="utf-8")
    assert child.exitcode == 0, text
    [marker] = root.rglob("COMPLETED")
    resumed = re.findall(r"resumed at step (\d+)", (marker.parent / "log.txt").read_text(encoding="utf-8"))
    begun = int(resumed[-1]) if resumed else 0
    return marker.parent, LENGTH if "finished before" in text else begun


@pytest.mark.parametrize("attempt_", range(KILLS))
def test_killed(attempt_, whole, tmp_path):
    reference, config, life, chance = whole
    config = {**config, "outputs": str(tmp_path / "out")}
    _, done, _ = attempt(config, tmp_path, signal.SIGKILL, chance.uniform(0.05, 1) * life)
    folder, resumed = finished(config, tmp_path)
    equal_runs(folder, reference)
    assert done - resumed <= EVERY
    print(f"\n{reference.parent.name}: killed after step {done}, resumed at {resumed}, equal to the bit")


@pytest.mark.parametrize("attempt_", range(TERMS))
def test_terminated(attempt_, whole, tmp_path):
    reference, config, life, chance = whole
    config = {**config, "outputs": str(tmp_path / "out")}
    code, done, seconds = attempt(config, tmp_path, chance.choice([signal.SIGTERM, signal.SIGUSR1]),
                                  chance.uniform(0.1, 1) * life)  # fmt: skip
    assert code in (PREEMPTED, 0)
    [*saved] = (tmp_path / "out").rglob("checkpoints")
    assert done == 0 or all(last_good(path.parent) for path in saved)
    folder, resumed = finished(config, tmp_path)
    equal_runs(folder, reference)
    assert resumed == done or done == LENGTH
    name = reference.parent.name
    print(f"\n{name}: signal after step {done}, exit {code} after {seconds:.2f} s, resumed at {resumed}")
