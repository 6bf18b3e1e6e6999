"""What a run starts from: nothing; the best weights of another (`init=RUN`); or another's end (`extend=RUN`), whose
training goes on as if it had not ended.

A run is identified by content, not by a path: a configuration's RUN becomes RUN#DIGEST, the digest of the checkpoint,
when the run is made. Then RUN may be moved or deleted.

`extend` takes over step, optimizer, averages and record; so only the length of training and the rate's schedule may
differ from RUN's configuration. With a rate that is a function of the step alone, the extended run equals, to the bit,
one that was that long from the beginning.
"""

import re
from pathlib import Path

import torch

from denoiselab.data.base import Loaded
from denoiselab.optim import Rate
from denoiselab.run import checkpoint, identity, record
from denoiselab.run.saver import last_good, steps
from denoiselab.spec import Refused

PINNED = re.compile(r"#[0-9a-f]{64}$")
KINDS = ("init", "extend")
# What of another run's configuration an extended one may change.
FREE = ("trainer.max_steps", "trainer.max_samples", "trainer.max_time", "trainer.val_check_interval", "lr_schedule.",
        "callbacks.early_stopping")  # fmt: skip


def pinned(config: dict) -> dict:
    """The configuration with RUN as RUN#DIGEST."""
    if config["init"] and config["extend"]:
        raise Refused("a run starts from one other", "init and extend", "give one of the two")
    try:
        found = {kind: f"{source.resolve()}#{checkpoint.digest_of(file)}"
                 for kind, (source, file) in sources(config).items()}  # fmt: skip
    except checkpoint.Damaged as e:
        raise Refused("a run cannot start from a damaged checkpoint", e, "give another run") from e
    return {**config, **found}


def sources(config: dict) -> dict[str, tuple[Path, Path]]:
    """Kind to run folder and checkpoint file, of those not pinned yet."""
    found = {}
    for kind in KINDS:
        if (run := config.get(kind)) is not None and not PINNED.search(run):
            folder = Path(run).expanduser()
            if not (folder / "config.yaml").is_file():
                raise Refused(f"{kind}= takes a run folder, which has a config.yaml", run, "the folder train printed")
            file = last_good(folder) if kind == "extend" else folder / "checkpoints" / "best.ckpt"
            if file is None or not file.is_file():
                raise Refused(f"{kind}={run}: the run has no such checkpoint", "no file", "train it first")
            found[kind] = folder, file
    return found


def fingerprint(config: dict, data: Loaded) -> str:
    """Of all content that a run depends on."""
    more = [f"{kind}:{config[kind].rpartition('#')[2]}" for kind in KINDS if config.get(kind)]
    return "+".join([data.fingerprint(), *more])


def opened(config: dict, kind: str) -> tuple[Path, dict] | None:
    """RUN's folder and the checkpoint that the configuration names, if it names one."""
    if not config.get(kind):
        return None
    run, _, digest = config[kind].rpartition("#")
    folder = Path(run)
    files = steps(folder / "checkpoints") if kind == "extend" else [folder / "checkpoints" / "best.ckpt"]
    for file in reversed(files):
        try:
            if checkpoint.digest_of(file) == digest:
                return folder, checkpoint.load(file)
        except (OSError, checkpoint.Damaged):
            continue
    raise Refused(f"{kind}={run}: the checkpoint it started from is not there any more", digest, "start another run")


def initialize(config: dict, module: torch.nn.Module) -> None:
    """The weights of `init`, where a run has it; all of them, under their names. What its times have learned is its
    own."""
    if found := opened(config, "init"):
        try:
            saved = {key: value for key, value in found[1]["state_dict"].items() if not key.startswith("times.")}
            own = {key: value for key, value in module.state_dict().items() if key.startswith("times.")}
            module.load_state_dict(saved | own)
        except (LookupError, TypeError, AttributeError, RuntimeError) as e:
            _, *found = str(e).splitlines() or [""]
            got = f"{(found or [e])[0]!s:.150}".strip() + (f" and {len(found) - 1} more" if len(found) > 1 else "")
            raise Refused("init= needs a run of the same network", got, "give the same architecture as RUN's") from e


def extendable(config: dict, about: dict) -> None:
    """Refuses to extend what is another run."""
    if not (found := opened(config, "extend")):
        return
    saved = found[1]
    if not isinstance(saved.get("about"), dict):
        raise Refused("the checkpoint does not say what it was trained on", config["extend"], "give another run")
    differing = [line for line in identity.difference(saved["about"], about)
                 if not line.startswith((*FREE, "fingerprint"))]  # fmt: skip
    if saved["about"]["fingerprint"].partition("+")[0] != about["fingerprint"].partition("+")[0]:
        differing.append("the content of the data")
    if differing:
        raise Refused("extend= trains the same cell on, only longer", "\n       ".join(differing),
                      "leave these as they were, or start anew from its weights: init=RUN")  # fmt: skip
    if (done := saved["global_step"]) >= (most := config["trainer"]["max_steps"]):
        raise Refused(f"{done} steps are done", f"trainer.max_steps={most}", f"give more than {done}")


def extend(config: dict, folder: Path, fit: str, about: dict, rate: Rate) -> None:
    """Puts what `extend` starts from into a run's folder, as this run's own."""
    if not (found := opened(config, "extend")):
        return
    source, saved = found
    best = checkpoint.load(source / "checkpoints" / "best.ckpt")
    step = saved["global_step"]
    record.Record(folder).take_over(source, step)
    for state, name in ((best, "best"), (saved, f"{step:09}")):  # the one that is resumed from comes last
        checkpoint.save(moved(state, rate) | {"fit": fit, "about": about}, folder / "checkpoints" / f"{name}.ckpt")


def moved(saved: dict, rate: Rate) -> dict:
    """A checkpoint under another rate: the schedule's own numbers are this run's. Nor was it ended early."""
    for state in saved["callbacks"].values():
        if "ended" in state:
            state["ended"] = False
    for scheduler, optimizer in zip(saved["lr_schedulers"], saved["optimizer_states"], strict=True):
        scheduler["lr_lambdas"] = [None] * len(scheduler["lr_lambdas"])
        for i, group in enumerate(optimizer["param_groups"]):
            group["lr"] = scheduler["_last_lr"][i] = group["initial_lr"] * rate(saved["global_step"])
    return saved
