"""How long a run trains: `trainer.max_steps`; or `max_samples`, samples seen; and at most `max_time`, in seconds.

All three are part of a run's configuration, and so of its identity. Samples are counted in whole batches and never
exceeded; they become a number of steps when the data are known, so that a schedule of the rate ends where training
does. Seconds are those of the record: of training and its validations, over all attempts, up to the checkpoint that an
attempt goes on from. So a run that was killed and resumed trains as long as one that nobody killed, and not longer;
steps that a kill took are in no weights, and count neither as steps nor as seconds. At the end of the step in which the
time is up the run validates and ends as a completed one.
"""

from collections.abc import Callable

import pytorch_lightning as pl

from denoiselab.spec import Refused

ROUNDED = 1e-3  # seconds, to which the record rounds them


def steps_of(samples: int, n: int, batch_size: int) -> int:
    """The steps that see at most so many samples of `n` training ones; the last batch of an epoch may be short."""
    epochs, rest = divmod(samples, n)
    return epochs * -(-n // batch_size) + rest // batch_size


def checked(node: dict) -> None:
    """Refuses limits of a trainer that mean nothing."""
    samples, seconds = node.get("max_samples"), node.get("max_time")
    if samples is not None and not samples >= 1:
        raise Refused("trainer.max_samples counts samples seen in training", samples, "give at least 1, or null")
    if seconds is not None and not seconds > 0:
        raise Refused("trainer.max_time is seconds of training", seconds, "give more than 0, or null for no end")


def pinned(config: dict, n: int) -> dict:
    """The configuration with its steps, for `n` training samples. Raises `Refused` where two lengths are given."""
    node = config["trainer"]
    checked(node)
    steps, samples = node.get("max_steps"), node.get("max_samples")
    if samples is not None:
        batch_size = config["data"]["batch_size"]
        if (counted := steps_of(samples, n, batch_size)) < 1:
            raise Refused("trainer.max_samples counts samples seen in training, in whole batches", samples,
                          f"give at least data.batch_size={batch_size}")  # fmt: skip
        if steps not in (None, counted):
            raise Refused("training is as long as trainer.max_steps says, or as max_samples",
                          f"trainer.max_steps={steps} trainer.max_samples={samples}, which is {counted} steps",
                          "add trainer.max_steps=null, or leave out trainer.max_samples")  # fmt: skip
        steps = counted
    if steps is None:
        raise Refused("training needs a number of steps, or of samples", "trainer.max_steps=null",
                      "trainer.max_samples=N with it; or a number that trainer.max_time does not reach")  # fmt: skip
    rate = config["lr_schedule"]
    if "steps" in rate and rate["steps"] is None:
        rate = {**rate, "steps": steps}
    return {**config, "trainer": {**node, "max_steps": steps}, "lr_schedule": rate}


def ended_by(config: dict, step: int, seconds: float) -> str:
    """Which limit ended a training, after so many steps and seconds."""
    node = config["trainer"]
    if step >= node["max_steps"]:
        return "trainer.max_samples" if node.get("max_samples") is not None else "trainer.max_steps"
    if node.get("max_time") is not None and seconds >= node["max_time"] - ROUNDED:
        return "trainer.max_time"
    return "callbacks.early_stopping"


class Deadline(pl.Callback):
    """Ends training when `spent()`, seconds over all attempts, reaches `seconds`. All ranks end at one step."""

    def __init__(self, seconds: float, spent: Callable[[], float]):
        self.seconds, self.spent = seconds, spent

    def look(self, trainer: pl.Trainer) -> None:
        late = self.spent() >= self.seconds
        trainer.should_stop = trainer.strategy.reduce_boolean_decision(late, all=False) or trainer.should_stop

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self.look(trainer)

    def on_validation_end(self, trainer, pl_module):
        if trainer.state.fn == "fit":
            self.look(trainer)
