"""What a comparison of many runs costs: the whole command, with its page, on runs made in a temporary folder.

    python benchmarks/compare.py [--runs 1000] [--points 1000] [--rounds 3]

Each run has a configuration, a record of `points` training lines and a tenth as many validations, a summary with three
metrics, and every twentieth a picture of samples. Goal: under 10 s and below 2 GiB, imports and page included. Prints
the seconds (and those of the processor, which other work on the machine does not change) and writes them as JSON beside
this file.
"""

import argparse
import json
import math
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice, product
from pathlib import Path

import yaml
from omegaconf import OmegaConf
from PIL import Image

GOAL = {"seconds": 10.0, "gib": 2.0}
AXES = {"schedule": ["cosine", "linear", "sigmoid", "log_linear"],
        "parameterization": ["v", "x0", "epsilon", "score", "flow"],
        "optimizer.lr": [f"{10**-e:.3g}" for e in (2, 2.5, 3, 3.5, 4)]}  # fmt: skip


def configuration() -> dict:
    said = subprocess.run([sys.executable, "-m", "denoiselab", "train", "--cfg", "job"], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    return OmegaConf.to_container(OmegaConf.create(said.stdout), resolve=True)


def make(root: Path, runs: int, points: int) -> None:
    config = configuration()
    cells = product(range(10**6), *AXES.values())  # the seed varies last, so that each is a full product
    for number, (seed, *settings) in enumerate(islice(cells, runs)):
        draw = random.Random(number)
        folder = root / f"run-{number:06}"
        (folder / "samples").mkdir(parents=True)
        typed = {**dict(zip(AXES, settings, strict=True)), "seed": seed, "logger": "none"}
        words = [f"{key}={value}" for key, value in typed.items()]
        (folder / "overrides.yaml").write_text(yaml.safe_dump(words))
        own = config | {"seed": seed, "optimizer": config["optimizer"] | {"lr": float(settings[-1])}}
        (folder / "config.yaml").write_text(yaml.dump(own, Dumper=yaml.CSafeDumper, sort_keys=False))
        floor = 0.2 + 0.1 * (hash_of(settings) % 10)
        lines, clock = [], 0.0
        for step in range(1, points + 1):
            clock += 0.07 + 0.01 * draw.random()
            spent = {"samples": 64 * step, "multiply_adds": 22138060800 * step, "seconds": round(clock, 3)}
            loss = floor + math.exp(-step / 200) + 0.02 * draw.random()
            lines.append({"step": step, "train/loss": loss, "lr": 1e-3 * (1 - step / points), **spent})
            if step % 10 == 0:
                lines.append({"step": step, "val/loss": loss + 0.01, **spent})
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        score = lambda split, value: {"value": value, "n": 512, "split": split, "extractor": None, "seed": 0}  # noqa: E731
        metrics = {"test/loss": score("test", loss), "val/loss": score("val", loss + 0.01),
                   "test/fd": score("test", 10 * loss)}  # fmt: skip
        summary = {"metrics": metrics, "seconds": clock, "samples": 64 * points, "steps": points, "score": "0"}
        (folder / "summary.json").write_text(json.dumps(summary))
        if number % 20 == 0:
            Image.frombytes("L", (568, 568), draw.randbytes(568 * 568)).save(folder / "samples" / "samples.png")
        (folder / "COMPLETED").touch()


def processor() -> float:
    """The seconds that all commands so far have computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def hash_of(settings: list[str]) -> int:
    return sum(map(ord, "".join(settings)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"runs": 1000, "points": 1000, "rounds": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    times: dict[str, list[tuple[float, float]]] = {"table": [], "with x=, effects and the page": []}
    with tempfile.TemporaryDirectory() as root:
        make(Path(root) / "runs", asked.runs, asked.points)
        page = Path(root) / "report.html"
        more = ["x=samples", "effects=true", f"html={page}", f"csv={root}/table.csv"]
        for _ in range(asked.rounds):
            for (_, found), words in zip(times.items(), ([], more), strict=True):
                command = [sys.executable, "-m", "denoiselab", "compare", f"{root}/runs", *words]
                began, before = time.perf_counter(), processor()
                done = subprocess.run(command, capture_output=True, text=True)
                found.append((time.perf_counter() - began, processor() - before))
                assert done.returncode == 0, done.stdout + done.stderr
        size = page.stat().st_size
    gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20  # the greatest of all of them
    result = {name: statistics.median(s for s, _ in found) for name, found in times.items()}
    computed = {name: statistics.median(s for _, s in found) for name, found in times.items()}
    for name, seconds in result.items():
        print(f"{name:32} {seconds:6.2f} s, of the processor {computed[name]:.2f} s")
    print(f"{'memory at most':32} {gib:6.2f} GiB\n{'the page':32} {size / 1e6:6.2f} MB")
    met = max(result.values()) < GOAL["seconds"] and gib < GOAL["gib"]
    print(f"goal: under {GOAL['seconds']:.0f} s and {GOAL['gib']:.0f} GiB: {'met' if met else 'missed'}")
    said = {"seconds": result, "processor_seconds": computed, "gib": gib, "page_bytes": size,
            "runs": asked.runs, "points": asked.points,
            "goal": GOAL, "cpu": f"{os.cpu_count()} x {platform.machine()}", "rounds": asked.rounds}  # fmt: skip
    Path(__file__).with_suffix(".json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
