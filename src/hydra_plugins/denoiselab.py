"""What Hydra finds: `hydra/launcher=local` and `hydra/sweeper=grid`, the defaults of -m, and `hydra/sweeper=optuna`.

Hydra imports this file at every start and accepts plugins from this namespace alone (no `__init__.py` here): nothing
heavy is imported before a sweep begins.
"""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper

from denoiselab.search.methods import Method, Pruner
from denoiselab.spec import Refused


class Local(Launcher):
    """Each job in a process of its own on this machine.

    Args:
        n_jobs: how many run at once; null: one a GPU slot, or one on the CPU. They share the cores.
        jobs_per_gpu: how many jobs a GPU takes.
        timeout: seconds without progress after which a job is stopped; null: never.
        grace: seconds that a job has to save itself when it is asked to stop.
    """

    def __init__(self, n_jobs: int | None = None, jobs_per_gpu: int = 1, timeout: float | None = 1800.0,
                 grace: float = 10.0):  # fmt: skip
        from denoiselab.launch.pool import Limits

        self.limits = Limits(n_jobs, jobs_per_gpu, timeout, grace)

    def setup(self, *, hydra_context, task_function, config):
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from denoiselab.launch import sweep

        tasks = sweep.run(self.context.config_loader, self.config, job_overrides, initial_job_idx, self.limits)
        return [returned(task) for task in tasks]


def returned(task) -> JobReturn:
    """A task as Hydra's sweepers read it: its value is the monitored metric."""
    done = JobReturn(overrides=task.overrides, status=JobStatus.COMPLETED if task.ended_well else JobStatus.FAILED)
    done.return_value = task.value if task.ended_well else Ended(f"{task.state}: {task.why}")
    done.task_name = "completed" if task.ended_well else task.state
    done.working_dir = str((task.results if task.ended_well else None) or task.folder)
    return done


class Ended(RuntimeError):
    """Why a job has no value: `state: why`."""


class Grid(Sweeper):
    """The product of all choices, handed to the launcher whole: it composes and checks each cell, once."""

    def __init__(self, params: dict | None = None):
        self.params = params or {}

    def setup(self, *, hydra_context, task_function, config):
        from denoiselab import check

        HydraConfig.instance().set_config(config)
        check.hydra(list(config.hydra.overrides.hydra))
        self.arms = config.get("arms")
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        words = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        parsed = OverridesParser.create().parse_overrides(words)
        # What is said to the command is no part of its cells: each is the run of its own command.
        from denoiselab.launch import arms

        own = [each for each in parsed if arms.command_key(each.input_line or "")]
        for each in own:
            if each.is_sweep_override():
                raise Refused("this is said once of a whole sweep", each.input_line, f"{each.key_or_group}=VALUE")
        [cells] = BasicSweeper.split_arguments([each for each in parsed if each not in own], None)
        return self.launcher.launch(arms.crossed(self.arms, cells), 0)


class Search(Sweeper):
    """Trials of a space, proposed by what earlier ones gave; see denoiselab.launch.search.

    Args:
        sampler: what proposes.
        pruner: what stops trials early.
        params: key to what it may be, beside what is typed; or a YAML file of that.
        n_trials: how many in all; null: 50, or the whole of a grid.
        n_jobs: how many at once; null: as many as the launcher's n_jobs.
        metric: of the results, or several; null: the run's monitor.
        direction: minimize or maximize, a word a metric; null: as the monitor's mode says.
        seed: of what is proposed.
        study: the name of the folder; null: a folder of its own for each space.
    """

    def __init__(self, sampler: Method, pruner: Pruner, params: dict | str | None = None, n_trials: int | None = None,
                 n_jobs: int | None = None, metric: str | list[str] | None = None,
                 direction: str | list[str] | None = None, seed: int = 0, study: str | None = None):  # fmt: skip
        self.params, self.study = params, study
        self.given = {"sampler": sampler, "pruner": pruner, "n_trials": n_trials, "n_jobs": n_jobs, "metric": metric,
                      "direction": direction, "seed": seed}  # fmt: skip

    def setup(self, *, hydra_context, task_function, config):
        from denoiselab import check, search

        HydraConfig.instance().set_config(config)
        for group in ("sampler", "pruner"):
            if isinstance(word := self.given[group], str):
                raise Refused(f"hydra.sweeper.{group} is a group", word, f"write hydra/sweeper/{group}={word}")
        check.hydra(list(config.hydra.overrides.hydra))
        search.needed()
        if config.get("arms") is not None:
            raise Refused("arms are crossed by the grid alone", f"arms={config.arms}", "hydra/sweeper=grid")
        self.config, self.loader = config, hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        from omegaconf import OmegaConf

        from denoiselab.launch import arms, search
        from denoiselab.search import space

        parsed = OverridesParser.create().parse_overrides(arguments)
        typed = [each for each in parsed if not arms.command_key(each.input_line or "")]
        params = OmegaConf.to_container(self.params) if OmegaConf.is_config(self.params) else self.params
        found, fixed = space.made(typed, params)
        given = {key: list(value) if OmegaConf.is_list(value) else value for key, value in self.given.items()}
        asked = search.checked(found, fixed, self.config, given)
        folder = search.place(asked, self.config, self.study)
        search.tried(asked, folder, self.loader, self.config)
        if self.config.dry_run:
            return search.dry(asked, self.config, self.launched)
        return search.run(asked, folder, self.config, self.launched)

    def launched(self, cells, first):
        """How each of a batch ended: state, why, and where it lies."""
        ended = self.launcher.launch(cells, first)
        return [(done.task_name, str(done._return_value).partition(": ")[2] if done.status == JobStatus.FAILED else "",
                 done.working_dir) for done in ended]  # fmt: skip
