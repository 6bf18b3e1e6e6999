"""What a sweep costs a job beyond the job's own work: denoiselab's local launcher (a process a job, forked from a warm
server) beside Hydra's basic one (all jobs in one process, one after another: the default of lightning-hydra-template)
and beside a command a job.

    python benchmarks/launch.py [--rounds 3] [--few 2] [--many 12]

Each sweep is a command of its own; sweeps of `few` and `many` cells give the cost of a further job as a slope, and what
the first one waits for as what is left. The job's own work is the same cell trained in a process that has everything
imported. Goal: at most 0.3 s a further job beyond its own work. Prints a table and writes it as JSON beside this file.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CELL = ["architecture=mlp", "architecture.width=16", "architecture.layers=1", "data.batch_size=8", "data.n=64",
        "logger=none", "trainer.max_steps=8", "trainer.val_check_interval=8", "trainer.enable_progress_bar=false",
        "evaluation.samples=4", "evaluation.held_out=16", "evaluation.metrics=[]", "sampler.steps=2"]  # fmt: skip
LAUNCHERS = {
    "local": [],
    "basic": ["hydra/launcher=basic", "hydra/sweeper=basic", "hydra.sweep.dir={root}/.sweep"],
}
GOAL = 0.3


def seconds(words: list[str]) -> float:
    """Of a command that must succeed."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "denoiselab", "train", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return time.perf_counter() - began


def swept(launcher: str, cells: int) -> float:
    with tempfile.TemporaryDirectory() as root:
        seeds = ",".join(map(str, range(cells)))
        chosen = [word.format(root=root) for word in LAUNCHERS[launcher]]
        return seconds(["-m", *CELL, *chosen, f"outputs={root}", f"seed={seeds}"])


def own(rounds: int) -> float:
    """The median of a cell trained here, after two that warm up."""
    from denoiselab.commands.main import run

    found = []
    with tempfile.TemporaryDirectory() as root, contextlib.redirect_stdout(io.StringIO()):
        for seed in range(rounds + 2):
            began = time.perf_counter()
            assert run(["train", *CELL, f"outputs={root}", f"seed={seed}"]) == 0
            found.append(time.perf_counter() - began)
    return statistics.median(found[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"rounds": 3, "few": 2, "many": 12}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    times: dict[str, dict[int, list[float]]] = {name: {asked.few: [], asked.many: []} for name in LAUNCHERS}
    cold = []
    for _ in range(asked.rounds):
        for launcher, found in times.items():
            for cells in found:
                found[cells].append(swept(launcher, cells))
        with tempfile.TemporaryDirectory() as root:
            cold.append(seconds([*CELL, f"outputs={root}"]))
    work, result = own(5), {}
    for launcher, found in times.items():
        few, many = (statistics.median(found[n]) for n in (asked.few, asked.many))
        further = (many - few) / (asked.many - asked.few)
        result[launcher] = {
            "further_job": further,
            "overhead": further - work,
            "first": few - (asked.few - 1) * further,
        }
    result["a command a job"] = {"further_job": statistics.median(cold), "overhead": statistics.median(cold) - work,
                                 "first": statistics.median(cold)}  # fmt: skip
    print(f"the job's own work: {work:.3f} s")
    print(f"{'':16} {'further job':>12} {'beyond its work':>16} {'the first':>10}")
    for name, row in result.items():
        print(f"{name:16} {row['further_job']:10.3f} s {row['overhead']:14.3f} s {row['first']:8.2f} s")
    met = result["local"]["overhead"] <= GOAL
    print(f"goal: at most {GOAL} s beyond its work: {'met' if met else 'missed'}")
    said = {"own_work": work, "launchers": result, "goal": GOAL, "cpu": f"{os.cpu_count()} x {platform.machine()}",
            "rounds": asked.rounds, "cells": [asked.few, asked.many]}  # fmt: skip
    Path(__file__).with_suffix(".json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
