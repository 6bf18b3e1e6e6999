"""Which cells of a grid are valid, and what each of them is: asked in a process of its own, before the first job."""

import json

from denoiselab import build
from denoiselab.data.base import Loaded
from denoiselab.launch.order import Verdict
from denoiselab.run import cell, job
from denoiselab.spec import Refused


def judge(cells: list[tuple[dict, dict, list[str]]]) -> list[Verdict | Refused]:
    """Of configurations, choices and overrides. Data that several cells share is read once."""
    known: dict[str, Loaded | Refused] = {}

    def load(config: dict) -> Loaded:
        name = json.dumps([config["data"], config.get("codec")], sort_keys=True, default=str)
        if name not in known:
            try:
                known[name] = build.load(config)
            except Refused as e:
                known[name] = e
        if isinstance(known[name], Refused):
            raise known[name]
        return known[name]

    return [judged(*each, load) for each in cells]


def judged(config: dict, choices: dict, overrides: list[str], load) -> Verdict | Refused:
    try:
        found = cell.known(config, choices, overrides, load)
        trainer = job.checked(found)
    except Refused as e:
        return e
    done = found.results()
    return Verdict(
        found.fit, found.score, str(found.folder), done and str(done), bool(done) and cell.stale(done),
        trainer.world_size, trainer.strategy.root_device.type == "cuda",
    )  # fmt: skip
