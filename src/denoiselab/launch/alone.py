"""One cell on several devices: a process each, which this one watches."""

from denoiselab.launch import server, sweep
from denoiselab.launch.pool import Limits, Pool, Stopped, gpus
from denoiselab.launch.task import Task
from denoiselab.run.signals import PREEMPTED
from denoiselab.spec import Failed

LIMITS = {"n_jobs": 1, "jobs_per_gpu": 1, "timeout": 1800.0, "grace": 10.0}


def run(config: dict, choices: dict[str, str], overrides: list[str], limits: dict) -> None:
    """Trains a composed cell; its first rank prints to the screen. `limits` as of the local launcher."""
    given = Limits(**{**LIMITS, **limits}).checked()
    context = server.started()
    task = Task(0, "", overrides, config, choices, on_screen=True)
    sweep.judged(context, [task])
    if task.refusal is not None:
        raise task.refusal
    task.state = "waiting"  # what is finished says so itself
    try:
        Pool(context, given, gpus() if task.gpu else [], lambda task: None).run([task])
    except Stopped as e:
        raise SystemExit(e.code) from None
    if task.state == "preempted":
        raise SystemExit(PREEMPTED)
    if task.state == "failed":
        raise Failed(f"{task.why}\n  log: {task.log(task.cause)}")
