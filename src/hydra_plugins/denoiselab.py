"""What Hydra finds: `hydra/launcher=local` and `hydra/sweeper=grid`, the defaults of -m.

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
    done.return_value = task.value if task.ended_well else RuntimeError(f"{task.state}: {task.why}")
    return done


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
