"""Jobs by submitit: on a Slurm cluster as arrays, or as processes here. Imports no torch."""

import importlib.util
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from denoiselab.launch.away import Cluster, Shape
from denoiselab.launch.task import Task
from denoiselab.launch.worker import Work, submitted
from denoiselab.spec import Refused

PATIENCE = 60  # seconds for an answer of Slurm
LOOK = 0.05  # seconds between two looks at processes that are about to leave
LEAVING = 10.0  # seconds for them


def present() -> None:
    if importlib.util.find_spec("submitit") is None:
        raise Refused("this launcher needs submitit", "it is not installed", "pip install 'denoiselab[launchers]'")


def agreed(name: str, asked: int | None, key: str, needed: int) -> int:
    """What a job needs is said by its trainer."""
    if asked not in (None, needed):
        got = f"hydra.launcher.{name}={asked} and trainer.{key}={needed}"
        raise Refused("a task is a rank of the trainer", got, f"give trainer.{key}={asked} alone")
    return needed


def submit(executor, works: list[Work], requeues: int) -> list:
    with executor.batch():
        return [executor.submit(submitted, work, requeues) for work in works]


class Slurm(Cluster):
    """`shared` and `own` are parameters of submitit, the second those of Slurm alone; what is None is left out."""

    elsewhere = True

    def __init__(self, shared: dict, own: dict, requeues: int):
        self.shared, self.own, self.requeues = shared, own, requeues
        self.at_once = 1 << 30  # Slurm has the queue

    def check(self):
        present()
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            fix = "give the command on a machine that submits to the cluster, or hydra/launcher=local"
            raise Refused("there is no Slurm on this machine", "sbatch and srun are not found", fix)

    def shape(self, task):
        trainer = task.config["trainer"]
        devices = agreed("tasks_per_node", self.shared["tasks_per_node"], "devices", trainer["devices"])
        gpus = self.shared["gpus_per_node"]
        if gpus is None and trainer["accelerator"] in ("gpu", "cuda"):
            gpus = devices
        return Shape(agreed("nodes", self.shared["nodes"], "num_nodes", trainer["num_nodes"]), devices, gpus)

    def submit(self, folder, shape, works):
        import submitit

        shared = {**self.shared, "nodes": shape.nodes, "tasks_per_node": shape.tasks, "gpus_per_node": shape.gpus}
        shared["name"] = shared["name"] or works[0].sweep.name
        own = {**self.own, "srun_args": ["--kill-on-bad-exit=0"]}
        # submitit would send SIGUSR2, by which a job is asked where it hangs.
        signal = {"signal": f"USR1@{own['signal_delay_s']}", "requeue": True}
        own["additional_parameters"] = signal | (own["additional_parameters"] or {})
        given = shared | {f"slurm_{key}": value for key, value in own.items()}
        try:
            executor = submitit.AutoExecutor(folder=folder, cluster="slurm")
            executor.update_parameters(**{key: value for key, value in given.items() if value is not None})
            return [job.job_id for job in submit(executor, works, self.requeues)]
        except (submitit.core.utils.FailedJobError, subprocess.CalledProcessError, ValueError, TypeError) as e:
            fix = "hydra.launcher.partition=..., .account=...: `sinfo` and `sacctmgr` say which there are"
            raise Refused("Slurm does not take the job", re.sub(r"\s+", " ", str(e)).strip()[-300:], fix) from e

    def alive(self):
        said = call("squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i")
        return None if said is None else {*said.split()}

    def said(self, job: str) -> dict[str, str]:
        return dict(word.split("=", 1) for word in (call("scontrol", "show", "job", job) or "").split() if "=" in word)

    def fate(self, job):
        said = self.said(job)
        if not said:
            return ""
        code = said.get("ExitCode", "0:0")
        return said["JobState"] + (f", exit code and signal {code}" if code != "0:0" else "")

    def canceled(self, job):
        return self.said(job).get("JobState") == "CANCELLED"

    def cancel(self, jobs):
        for job in jobs:
            call("scancel", "--quiet", job)

    def close(self):
        pass

    def log(self, folder, job):
        return folder / f"{job}_0_log.err"


def call(*words: str) -> str | None:
    """What one of Slurm's commands says; None where it fails."""
    try:
        said = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if said.returncode else said.stdout


class Local(Cluster):
    """Processes of this machine that outlive the command, `at_once` of them."""

    elsewhere = False

    def __init__(self, shared: dict, at_once: int, signal_delay_s: int, setup: list[str] | None):
        self.shared, self.at_once, self.delay, self.setup = shared, at_once, signal_delay_s, setup
        self.jobs = {}

    def check(self):
        present()
        if self.at_once < 1:
            raise Refused("hydra.launcher.array_parallelism counts jobs", self.at_once, "give at least 1")

    def shape(self, task: Task):
        tasks = agreed("tasks_per_node", self.shared["tasks_per_node"], "devices", task.ranks)
        gpus = self.shared["gpus_per_node"] or (tasks if task.gpu else None)
        if gpus and self.at_once > 1:
            got = f"gpus_per_node={gpus} array_parallelism={self.at_once}"
            raise Refused("submitit_local gives all jobs the same GPUs", got, "hydra/launcher=local deals them out")
        return Shape(1, tasks, gpus)

    def submit(self, folder, shape, works):
        import submitit

        executor = submitit.AutoExecutor(folder=folder, cluster="local")
        given = {"timeout_min": self.shared["timeout_min"], "tasks_per_node": shape.tasks, "gpus_per_node": shape.gpus,
                 "local_setup": self.setup}  # fmt: skip
        executor.update_parameters(**{key: value for key, value in given.items() if value is not None})
        executor._executor.parameters["signal_delay_s"] = self.delay
        made = {job.job_id: job for job in submit(executor, works, 1)}
        self.jobs |= made
        return [*made]

    def alive(self):
        return {name for name, job in self.jobs.items() if job.get_info()["jobState"] == "RUNNING"}

    def fate(self, job):
        return self.jobs[job].get_info()["jobState"].lower()

    def canceled(self, job):
        return False

    def cancel(self, jobs):
        for job in jobs:
            self.jobs[job].cancel()

    def close(self):
        until = time.monotonic() + LEAVING
        while self.alive() and time.monotonic() < until:
            time.sleep(LOOK)

    def log(self, folder: Path, job):
        return folder / f"{job}_0_log.err"
