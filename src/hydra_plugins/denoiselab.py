"""What Hydra finds: `hydra/launcher=local` and `hydra/sweeper=grid`, the defaults of -m, the other launchers, and
`hydra/sweeper=optuna`.

Hydra imports this file at every start and accepts plugins from this namespace alone (no `__init__.py` here): nothing
heavy is imported before a sweep begins.
"""

from abc import abstractmethod
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


class Crewed(Launcher):
    """The cells of a sweep, given to a crew."""

    @abstractmethod
    def crew(self):
        """Who trains them."""

    def setup(self, *, hydra_context, task_function, config):
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from denoiselab.launch import sweep

        tasks = sweep.run(self.context.config_loader, self.config, job_overrides, initial_job_idx, self.crew())
        return [returned(task) for task in tasks]


class Local(Crewed):
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

    def crew(self):
        from denoiselab.launch.crew import Here

        return Here(self.limits)


class Joblib(Crewed):
    """Each job in a process of joblib's.

    Args:
        n_jobs: how many run at once; -1: one a core.
        backend: joblib's; null: loky. Others are registered by a package in `plugins`: `ray`.
        timeout, grace: as of the local launcher.
    """

    def __init__(self, n_jobs: int = -1, backend: str | None = None, timeout: float | None = 1800.0,
                 grace: float = 10.0):  # fmt: skip
        from denoiselab.launch.pool import Limits

        self.n_jobs, self.backend, self.limits = n_jobs, backend, Limits(1, 1, timeout, grace)

    def crew(self):
        from denoiselab.launch.parallel import Joblib

        return Joblib(self.n_jobs, self.backend, self.limits)


class SubmititSlurm(Crewed):
    """Each job one of a Slurm cluster's, all of them an array. What is null is left to the cluster.

    Args:
        timeout_min: minutes for a job; its time up, it saves, is queued again and goes on.
        nodes, tasks_per_node: null: what trainer.num_nodes and trainer.devices say; a task is a rank.
        gpus_per_node: null: with trainer.accelerator=gpu as many as trainer.devices.
        array_parallelism: how many jobs run at once.
        max_num_timeout: how often a job is queued again by itself.
        signal_delay_s: seconds before the end of its time at which a job is told to save.
        additional_parameters: other options of sbatch.
        setup: commands of the shell that run before a job.
        timeout, grace: as of the local launcher.
    """

    def __init__(self, timeout_min: int = 60, cpus_per_task: int | None = None, gpus_per_node: int | None = None,
                 tasks_per_node: int | None = None, mem_gb: float | None = None, nodes: int | None = None,
                 name: str | None = None, stderr_to_stdout: bool = False, partition: str | None = None,
                 qos: str | None = None, comment: str | None = None, constraint: str | None = None,
                 exclude: str | None = None, gres: str | None = None, cpus_per_gpu: int | None = None,
                 gpus_per_task: int | None = None, mem_per_gpu: str | None = None, mem_per_cpu: str | None = None,
                 account: str | None = None, signal_delay_s: int = 120, max_num_timeout: int = 100,
                 additional_parameters: dict | None = None, array_parallelism: int = 256,
                 setup: list[str] | None = None, timeout: float | None = 1800.0, grace: float = 20.0):  # fmt: skip
        from denoiselab.launch.pool import Limits

        self.shared = {
            "timeout_min": timeout_min, "cpus_per_task": cpus_per_task, "gpus_per_node": gpus_per_node,
            "tasks_per_node": tasks_per_node, "mem_gb": mem_gb, "nodes": nodes, "name": name,
            "stderr_to_stdout": stderr_to_stdout,
        }  # fmt: skip
        self.own = {
            "partition": partition, "qos": qos, "comment": comment, "constraint": constraint, "exclude": exclude,
            "gres": gres, "cpus_per_gpu": cpus_per_gpu, "gpus_per_task": gpus_per_task, "mem_per_gpu": mem_per_gpu,
            "mem_per_cpu": mem_per_cpu, "account": account, "signal_delay_s": signal_delay_s,
            "additional_parameters": additional_parameters, "array_parallelism": array_parallelism, "setup": setup,
        }  # fmt: skip
        self.requeues, self.limits = max_num_timeout, Limits(1, 1, timeout, grace)

    def crew(self):
        from denoiselab.launch.away import Away
        from denoiselab.launch.submitit import Slurm

        return Away(Slurm(self.shared, self.own, self.requeues), self.limits)


class SubmititLocal(Crewed):
    """Each job a process of this machine that submitit starts, and that goes on when the command is gone.

    Args:
        timeout_min: minutes for a job.
        tasks_per_node: null: what trainer.devices says; a task is a rank.
        gpus_per_node: null: as many as a job has ranks, where it trains on GPUs.
        array_parallelism: how many jobs run at once.
        signal_delay_s, setup: as of the Slurm launcher.
        timeout, grace: as of the local launcher.
    """

    def __init__(self, timeout_min: int = 60, gpus_per_node: int | None = None, tasks_per_node: int | None = None,
                 array_parallelism: int = 1, signal_delay_s: int = 120, setup: list[str] | None = None,
                 timeout: float | None = 1800.0, grace: float = 10.0):  # fmt: skip
        from denoiselab.launch.pool import Limits

        self.shared = {"timeout_min": timeout_min, "gpus_per_node": gpus_per_node, "tasks_per_node": tasks_per_node}
        self.rest = array_parallelism, signal_delay_s, setup
        self.limits = Limits(1, 1, timeout, grace)

    def crew(self):
        from denoiselab.launch.away import Away
        from denoiselab.launch.submitit import Local

        return Away(Local(self.shared, *self.rest), self.limits)


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
        self.arms, self.loader = config.get("arms"), hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        words = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        parsed = OverridesParser.create(self.loader).parse_overrides(words)
        # What is said to the command is no part of its cells: each is the run of its own command.
        from denoiselab import configuration
        from denoiselab.launch import arms

        own = [each for each in parsed if arms.command_key(each.input_line or "")]
        for each in own:
            if each.is_sweep_override():
                raise Refused("this is said once of a whole sweep", each.input_line, f"{each.key_or_group}=VALUE")
        for each in parsed:
            configuration.valued(each)
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
        from omegaconf import read_write

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
        if "n_jobs" in config.hydra.launcher and config.hydra.launcher.n_jobs is None:
            with read_write(config.hydra):
                config.hydra.launcher.n_jobs = self.given["n_jobs"]  # those that are asked for at once run at once
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        from omegaconf import OmegaConf

        from denoiselab.launch import arms, search, searched
        from denoiselab.search import grammar

        parsed = OverridesParser.create().parse_overrides(arguments)
        typed = [each for each in parsed if not arms.command_key(each.input_line or "")]
        params = OmegaConf.to_container(self.params) if OmegaConf.is_config(self.params) else self.params
        found, fixed = grammar.made(typed, params)
        given = {key: list(value) if OmegaConf.is_list(value) else value for key, value in self.given.items()}
        asked = searched.checked(found, fixed, self.config, given)
        folder = searched.place(asked, self.config, self.study)
        search.tried(asked, folder, self.loader, self.config)
        if self.config.dry_run:
            return search.dry(asked, self.config, self.launched)
        return search.run(asked, folder, self.config, self.launched)

    def launched(self, cells, first):
        """How each of a batch ended: state, why, and where it lies."""
        ended = self.launcher.launch(cells, first)
        return [(done.task_name, str(done._return_value).partition(": ")[2] if done.status == JobStatus.FAILED else "",
                 done.working_dir) for done in ended]  # fmt: skip
