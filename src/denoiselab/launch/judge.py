"""Which cells of a grid are valid, and what each of them is: asked in a process of its own, before the first job."""

import functools
import json

from denoiselab.data.base import Loaded
from denoiselab.launch.order import Verdict
from denoiselab.run import cell, first, job
from denoiselab.spec import Refused

Asked = tuple[dict, dict, list[str]]  # a configuration, choices, overrides


def judge(cells: list[Asked]) -> list[Verdict | Refused]:
    """Of each cell. Data that several share is read once, and held while they are judged."""
    data = [json.dumps([config["data"], config.get("codec")], sort_keys=True, default=str) for config, _, _ in cells]
    verdicts: dict[int, Verdict | Refused] = {}
    for name in dict.fromkeys(data):
        numbers = [i for i in range(len(cells)) if data[i] == name]
        verdicts |= zip(numbers, together([cells[i] for i in numbers]), strict=True)
    return [verdicts[i] for i in range(len(cells))]


def together(cells: list[Asked]) -> list[Verdict | Refused]:
    """Of cells with the same data."""

    @functools.cache
    def data() -> Loaded:
        return first.load(cells[0][0])

    return [judged(*each, lambda config: data()) for each in cells]


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
        found.config["trainer"]["max_steps"],
    )  # fmt: skip
