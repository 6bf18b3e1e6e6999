"""How a search proposes and what it stops, as Optuna has them. Each is made anew for each proposal, with a seed of the
trial's own: what it knows it reads from the study, so that a search that went on is the one that nobody stopped.

Imports Optuna where it makes something of it, and no torch but for `GP`."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator

from denoiselab.search.space import Space
from denoiselab.spec import Refused


class Method(ABC):
    """What proposes."""

    @abstractmethod
    def accepts(self, space: Space, objectives: int) -> int | None:
        """Refuses what it cannot search; the number of trials after which nothing is left, None for no end."""

    @abstractmethod
    def made(self, seed: int, space: Space, index: int):
        """Optuna's sampler for the trial of this index."""


class TPE(Method):
    """A tree of Parzen estimators (Bergstra et al., 2011), the trials that run counted as bad. `startup` trials are
    random; the best of `candidates` is proposed."""

    def __init__(self, startup: int = 10, candidates: int = 24):
        self.startup, self.candidates = startup, candidates

    def accepts(self, space, objectives):
        counts("startup", self.startup, 0)
        counts("candidates", self.candidates, 1)

    def made(self, seed, space, index):
        from optuna.samplers import TPESampler

        return quiet(TPESampler, n_startup_trials=self.startup, n_ei_candidates=self.candidates, seed=seed,
                     constant_liar=True)  # fmt: skip


class CMAES(Method):
    """CMA-ES (Hansen, 2016, arXiv:1604.00772) for numbers; what else there is is random. `startup` trials are random;
    `population` is that of a generation, null for 4 + 3 log of the numbers."""

    def __init__(self, startup: int = 1, population: int | None = None):
        self.startup, self.population = startup, population

    def accepts(self, space, objectives):
        counts("startup", self.startup, 0)
        if self.population is not None:
            counts("population", self.population, 5)
        one(objectives, "cmaes")
        if len(space.numbers()) < 2:
            fix = "hydra/sweeper/sampler=tpe searches choices as well"
            raise Refused("CMA-ES searches two numbers or more, without conditions", space.numbers(), fix)

    def made(self, seed, space, index):
        from optuna.samplers import CmaEsSampler

        return quiet(CmaEsSampler, n_startup_trials=self.startup, popsize=self.population, seed=seed,
                     warn_independent_sampling=False)  # fmt: skip


class GP(Method):
    """The most promising by a Gaussian process, after `startup` random trials. Brings torch into the driver. A driver
    that is killed while it asks for a trial may go on with another proposal."""

    def __init__(self, startup: int = 10):
        self.startup = startup

    def accepts(self, space, objectives):
        counts("startup", self.startup, 0)

    def made(self, seed, space, index):
        from optuna.samplers import GPSampler

        return quiet(GPSampler, n_startup_trials=self.startup, seed=seed, warn_independent_sampling=False)


class Random(Method):
    """Each by itself."""

    def accepts(self, space, objectives):
        pass

    def made(self, seed, space, index):
        from optuna.samplers import RandomSampler

        return RandomSampler(seed=seed)


class Grid(Method):
    """All cells of a space without intervals, one after the other."""

    def accepts(self, space, objectives):
        return len(space.cells())

    def made(self, seed, space, index):
        from optuna.samplers import PartialFixedSampler, RandomSampler

        cells = space.cells()
        return quiet(PartialFixedSampler, cells[index % len(cells)], RandomSampler(seed=seed))


# -- pruners


class Pruner(ABC):
    """What stops a trial, by its validations; steps are validations here. A subclass keeps its arguments under their
    own names; one from outside is in a package of `plugins`, which the jobs of the trials import."""

    stops = True  # any trial at all

    @abstractmethod
    def made(self):
        """Optuna's pruner."""


class Never(Pruner):
    """All trials go on to the end."""

    stops = False

    def made(self):
        from optuna.pruners import NopPruner

        return NopPruner()


class Median(Pruner):
    """Stops a trial whose best validation is worse than the median of the earlier trials at the same one. None before
    `startup` trials are done, and none before `warmup` validations."""

    def __init__(self, startup: int = 5, warmup: int = 0):
        self.startup, self.warmup = startup, warmup

    def made(self):
        from optuna.pruners import MedianPruner

        counts("startup", self.startup, 0)
        counts("warmup", self.warmup, 0)
        return MedianPruner(n_startup_trials=self.startup, n_warmup_steps=self.warmup)


class Halving(Pruner):
    """Asynchronous successive halving (Li et al., 2018, arXiv:1810.05934): after `first` validations, and each `factor`
    times as many, one of `factor` trials goes on."""

    def __init__(self, first: int = 1, factor: int = 3):
        self.first, self.factor = first, factor

    def made(self):
        from optuna.pruners import SuccessiveHalvingPruner

        counts("first", self.first, 1)
        counts("factor", self.factor, 2)
        return SuccessiveHalvingPruner(min_resource=self.first, reduction_factor=self.factor)


class Hyperband(Pruner):
    """Hyperband (Li et al., 2018, arXiv:1603.06560): successive halvings that begin sooner and later."""

    def __init__(self, first: int = 1, factor: int = 3):
        self.first, self.factor = first, factor

    def made(self):
        from optuna.pruners import HyperbandPruner

        counts("first", self.first, 1)
        counts("factor", self.factor, 2)
        return HyperbandPruner(min_resource=self.first, reduction_factor=self.factor)


def said(method: Method | Pruner) -> dict[str, object]:
    """Its name and arguments."""
    return {"name": named(type(method)), **vars(method)}


def named(kind: type) -> str:
    """One of these by its class alone, one from outside with its module: no two are alike."""
    return kind.__name__ if kind.__module__ == __name__ else f"{kind.__module__}.{kind.__qualname__}"


def below(kind: type) -> Iterator[type]:
    """All of its subclasses, theirs too."""
    for each in kind.__subclasses__():
        yield each
        yield from below(each)


def pruner(said: dict) -> Pruner:
    """The one of which `said` told, whose module must be imported: a name brings nothing to life. LookupError or
    TypeError where there is none."""
    known = {named(kind): kind for kind in below(Pruner)}
    return known[said["name"]](**{key: value for key, value in said.items() if key != "name"})


def counts(name: str, value: int, least: int) -> None:
    if value < least:
        raise Refused(f"{name} of the search counts", value, f"give at least {least}")


def one(objectives: int, method: str) -> None:
    if objectives > 1:
        raise Refused(f"{method} has one objective", f"{objectives} metrics", "hydra/sweeper/sampler=tpe has several")


def quiet(kind, *arguments, **more):
    """Without what Optuna warns of its experiments."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(*arguments, **more)
