"""A cell: a configuration whose identity is known, before anything is made of it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from denoiselab import build, check
from denoiselab.data.base import Loaded
from denoiselab.run import budget, first, identity, record, start
from denoiselab.run.secrets import redacted


class Cell(NamedTuple):
    """`fit` and `score` are hashes (denoiselab.run.identity); `folder` is that of the fit."""

    config: dict  # plain, with what a run starts from pinned to its content
    choices: dict[str, str]
    overrides: list[str]
    data: Loaded
    fingerprint: str
    fit: str
    score: str
    folder: Path

    @property
    def about(self) -> dict:
        """What the fit hash was made of: no secret, since the run is opened by what config.yaml says."""
        return identity.about(redacted(self.config), self.fingerprint)

    @property
    def place(self) -> Path:
        """Where the results go: the folder of a fit that is not trained yet, else one beneath it."""
        trained = (self.folder / "COMPLETED").exists()
        return self.folder / "scores" / self.score if trained else self.folder

    @property
    def outdated(self) -> bool:
        """Is it trained, and to be trained anew?"""
        config, trained = self.config, (self.folder / "COMPLETED").exists()
        return trained and (config["rerun"] is True or (config["rerun"] == "stale" and stale(self.folder)))

    def results(self) -> Path | None:
        """Where the results lie, if they are there and may stand."""
        return None if self.outdated else record.results(self.folder, self.score)

    def located(self) -> "Cell":
        """This cell as it is found now: another process may have made its folder since, under another readable name."""
        return self._replace(folder=folder(self.config, self.overrides, self.fit))


def known(config: dict, choices: dict[str, str], overrides: list[str],
          load: Callable[[dict], Loaded] = first.load) -> Cell:  # fmt: skip
    """Reads the data, and makes nothing else. Raises `Refused`."""
    identity.checked_name(config["name"])
    build.allow(config)
    check.config(config)
    config, data = start.pinned(config), load(config)
    config = budget.pinned(config, len(data.train.x))
    fingerprint, said = start.fingerprint(config, data), redacted(config)
    fit, score = identity.fit_hash(said, fingerprint), identity.score_hash(said, fingerprint)
    return Cell(config, choices, overrides, data, fingerprint, fit, score, folder(config, overrides, fit))


def folder(config: dict, overrides: list[str], fit: str) -> Path:
    return identity.run_folder(Path(config["outputs"]), config["name"], overrides, fit, config.get("arm"))


def stale(place: Path) -> bool:
    """Were these results made by other code than this?"""
    try:
        return record.read_summary(place)["code"].get("source") != record.source()
    except (OSError, ValueError, LookupError, AttributeError):  # what cannot be read is made anew
        return True
