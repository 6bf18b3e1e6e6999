"""Which cells of a grid are valid, and what each of them is: asked in a process of its own, before the first job."""

import functools
import json

from denoiselab.data.base import Loaded
from denoiselab.launch.order import Verdict
from denoiselab.run import cell, first, job
from denoiselab.spec import Refused

Asked = tuple[dict, dict, list[str]]  # a configuration, choices, overrides


def judge(cells: list[Asked], elsewhere: bool = False) -> list[Verdict | Refused]:
    """Of each cell, which may be trained `elsewhere`, on other hardware than this machine's. Data that several share is
    read once, and held while they are judged."""
    data = [json.dumps([config["data"], config.get("codec")], sort_keys=True, default=str) for config, _, _ in cells]
    verdicts: dict[int, Verdict | Refused] = {}
    for name in dict.fromkeys(data):
        numbers = [i for i in range(len(cells)) if data[i] == name]
        verdicts |= zip(numbers, together([cells[i] for i in numbers], elsewhere), strict=True)
    return [verdicts[i] for i in range(len(cells))]


def together(cells: list[Asked], elsewhere: bool) -> list[Verdict | Refused]:
    """Of cells with the same data."""

    @functools.cache
    def data() -> Loaded:
        return first.load(cells[0][0])

    return [judged(*each, lambda config: data(), elsewhere) for each in cells]


def judged(config: dict, choices: dict, overrides: list[str], load, elsewhere: bool) -> Verdict | Refused:
    try:
        found = cell.known(config, choices, overrides, load)
        ranks = job.promised(found.config["trainer"]) if elsewhere else None
        trainer = job.checked(job.portable(found) if elsewhere else found)
    except Refused as e:
        return e
    done = found.results()
    return Verdict(
        found.fit, found.score, str(found.folder), done and str(done), bool(done) and cell.stale(done),
        ranks or trainer.world_size, ranks is None and trainer.strategy.root_device.type == "cuda",
        found.config["trainer"]["max_steps"],
    )  # fmt: skip
