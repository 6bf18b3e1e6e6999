"""The one LightningModule: a cell of the grid, trained.

A training step: times t for the places of the global batch, the corruption of each sample with its own keyed noise, the
network's belief, and

    loss = sum(scored * objective) / count

over the whole global batch, ranks and accumulation included. Nothing here depends on which cell it is.

Training stops before the optimizer's step if the loss or the gradient is not finite: weights, averages and the
optimizer's state are those of the step before. Both are sums over all ranks, so that all ranks stop.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from pytorch_lightning.utilities import GradClipAlgorithmType
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from denoiselab.corruption import Batch, Corrupted, Corruption
from denoiselab.corruption.edits import Edit
from denoiselab.data.base import floating
from denoiselab.data.batches import Share
from denoiselab.denoiser import Denoiser
from denoiselab.guidance import Guidance, Unguided
from denoiselab.objective import Objective
from denoiselab.optim import Rate, groups
from denoiselab.posterior import Posterior
from denoiselab.randomness import Keyed, key
from denoiselab.sampler import Sampler
from denoiselab.schedule import match
from denoiselab.spec import Failed, Spec
from denoiselab.times import Learns, Times

CALMER = "a smaller optimizer.lr, a longer lr_schedule.warmup, or trainer.gradient_clip_val"
NAMED = 8  # samples that a message names


class Parts(NamedTuple):
    """A cell: what was composed, and what was agreed before the sampler and its guidance: others may take their place.
    Edits act in training alone."""

    spec: Spec
    corruption: Corruption
    denoiser: Denoiser
    times: Times
    objective: Objective
    sampler: Sampler
    edits: Mapping[str, Edit] = {}
    guidance: Guidance = Unguided()

    @property
    def agreed(self) -> Spec:
        """What was agreed by all, the sampler included."""
        return self.sampler.accepts(self.guidance.accepts(self.spec))


class Asked(NamedTuple):
    """One question and its answer."""

    t: Tensor
    corrupted: Corrupted
    belief: Posterior
    cost: Tensor  # unreduced, importance and scores included
    count: Tensor
    drawn: Tensor  # t before it was brought to where the schedule is finite
    importance: Tensor


class Priced(NamedTuple):
    """What a message says of the samples of a micro-batch."""

    key: Tensor
    t: Tensor
    cost: Tensor


class DenoisingModule(pl.LightningModule):
    """`optimizer` is a function of parameter groups, `rate` of the step. `evaluation_seed` keys the times and the noise
    of validation: the same for all arms and seeds. `frozen` draws the same times at every step, to overfit a batch."""

    def __init__(self, parts: Parts, optimizer: Callable, rate: Rate, seed: int, evaluation_seed: int = 0,
                 frozen: bool = False):  # fmt: skip
        super().__init__()
        self.parts = parts
        self.corruption, self.denoiser, self.times = parts.corruption, parts.denoiser, parts.times
        self.optimizer, self.rate, self.seed, self.evaluation_seed = optimizer, rate, seed, evaluation_seed
        self.frozen = frozen
        self.learns = Learns in parts.spec.facts and not frozen
        self.lessons: list[Tensor] = []  # since the last step
        self.watch = parts.objective.held_out()
        self.last_loss: Tensor | None = None
        self.priced: list[Priced] = []  # since the last step
        self.held_out: list[Tensor] = []
        self.totals: list[Tensor] = []
        self.divisor = 1

    def ask(self, share: Share, times: Times, when: Keyed, noise: Keyed, denoiser: Denoiser | None = None,
            edits: Mapping[str, Edit] = {}) -> Asked:  # fmt: skip
        """Corrupts a share of a batch and asks the denoiser, its own unless another is given."""
        denoiser = denoiser or self.denoiser
        schedule = self.corruption.schedule
        drawn, importance = times(share.place, share.n, when)
        t = drawn.clamp(schedule.t_min, schedule.t_max)
        batch = Batch(floating(share.batch.x), share.batch.key, share.batch.context)
        corrupted = self.corruption(batch, t, noise)
        for name, edit in edits.items():
            corrupted = edit(corrupted, batch, t, noise.child(name), schedule)
        context = dict(corrupted.context)
        if self.parts.objective.scored_alone:
            context["asked"] = corrupted.scored > 0
        belief = denoiser(corrupted.x_t, t, seen=corrupted.seen, **context)
        cost = self.parts.objective(belief, corrupted, t, self.corruption)
        cost = cost * (corrupted.scored * match(importance, cost))
        return Asked(t, corrupted, belief, cost, self.parts.objective.count(corrupted), drawn, importance)

    # -- training

    def transfer_batch_to_device(self, batch: Share, device, dataloader_idx: int) -> Share:
        # Lightning's own walks through every container, each step.
        return batch.to(device)

    @property
    def alone(self) -> bool:
        """Is a step's batch the whole global batch?"""
        return self.trainer.world_size * self.trainer.accumulate_grad_batches == 1

    def training_step(self, share: Share, _) -> Tensor:
        when = Keyed(key(self.seed, 3, 0 if self.frozen else self.global_step, share.place))
        asked = self.ask(share, self.times, when, Keyed(key(self.seed, 4, share.batch.key)), edits=self.parts.edits)
        self.priced.append(Priced(share.batch.key, asked.t, asked.cost.detach()))
        if self.learns:
            self.lessons.append(lesson(asked, share))
        total = asked.cost.sum()
        if self.alone:
            loss = total / asked.count.clamp(min=1)
            self.last_loss = loss.detach()
            return loss
        # Lightning divides by the accumulation, DDP averages over ranks: gradients are set right once, in
        # on_before_optimizer_step, by the count of the whole global batch.
        self.totals.append(torch.stack((total.detach(), asked.count.to(total))))
        self.divisor = share.n
        return total / share.n

    def on_before_optimizer_step(self, optimizer) -> None:
        if self.alone:
            return
        total, count = self.trainer.strategy.reduce(torch.stack(self.totals).sum(0), reduce_op="sum")
        count = count.clamp(min=1)
        parts = self.trainer.world_size * self.trainer.accumulate_grad_batches
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        torch._foreach_mul_(gradients, parts * self.divisor / count)
        self.last_loss = total / count
        self.totals.clear()

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None) -> None:
        # Lightning's own refuses fused optimizers under mixed precision, and loops over parameters.
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        precision = self.trainer.precision_plugin
        scaled = isinstance(precision, MixedPrecision) and precision.scaler is not None
        # A GradScaler meets gradients that are not finite: it skips the step and scales less from then on.
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters], foreach=True)
        # Reading a number waits for a GPU: it is idle from the end of the backward pass until the optimizer's kernels
        # are queued, once a step. To stop before a step, its gradient must be known.
        if not math.isfinite(self.last_loss.item()) or not (scaled or math.isfinite(norm.item())):
            raise Failed(self.not_finite(optimizer, norm))
        self.priced.clear()
        if self.learns:
            self.times.learn(*self.trainer.strategy.reduce(torch.stack(self.lessons).sum(0), reduce_op="sum"))
            self.lessons.clear()
        if not gradient_clip_val:
            return
        if gradient_clip_algorithm == GradClipAlgorithmType.VALUE:
            torch.nn.utils.clip_grad_value_(parameters, gradient_clip_val, foreach=True)
        else:
            torch.nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, norm, foreach=True)

    @torch.no_grad()
    def not_finite(self, optimizer, norm: Tensor) -> str:
        """Where it comes from: step, rate, samples and parameters."""
        keys, t, finite = (torch.cat(each) for each in zip(
            *((p.key, p.t, p.cost.reshape(len(p.cost), -1).isfinite().all(1)) for p in self.priced), strict=True
        ))  # fmt: skip
        chosen = torch.arange(len(keys), device=keys.device) if finite.all() else (~finite).nonzero().flatten()
        whose = "samples of the batch, whose costs are finite" if finite.all() else "samples whose cost is not finite"
        samples = [f"key {keys[i].item()} at t={t[i].item():.6g}" for i in chosen[:NAMED]]
        names = [name for name, p in self.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
        return (
            f"the loss is {self.last_loss.item():.6g} and the gradient's norm {norm.item():.6g} in step "
            f"{self.global_step + 1}, at a rate of {optimizer.param_groups[0]['lr']:.6g}; the step is not taken, and a "
            "checkpoint, if there is one, is of a step before\n"
            f"  {whose}: {', '.join(samples)}{more(len(chosen), NAMED)}\n"
            f"  parameters whose gradient is not finite: {', '.join(names[:3]) or 'none'}{more(len(names), 3)}\n"
            f"  fix: {CALMER}"
        )

    def configure_optimizers(self):
        optimizer = self.optimizer(groups(self.parameters()))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, self.rate), "interval": "step"},
        }

    # -- validation

    def examine(self, share: Share, denoiser: Denoiser | None = None) -> Asked:
        """As in validation: fixed times and fixed noise."""
        when = Keyed(key(self.evaluation_seed, 5, share.place))
        return self.ask(share, self.watch, when, Keyed(key(self.evaluation_seed, 6, share.batch.key)), denoiser)

    def on_validation_epoch_start(self) -> None:
        self.held_out.clear()

    def validation_step(self, share: Share, _) -> None:
        asked = self.examine(share)
        self.held_out.append(torch.stack((asked.cost.sum().double(), asked.count.double())))

    def on_validation_epoch_end(self) -> None:
        total, count = self.trainer.strategy.reduce(torch.stack(self.held_out).sum(0), reduce_op="sum")
        self.log("val/loss", total / count.clamp(min=1))


def lesson(asked: Asked, share: Share) -> Tensor:
    """Times as drawn and mean costs, not reweighted, of the samples of a share, (2, n) by place in the global batch: 0
    elsewhere, so that the sum over shares is the batch."""
    cost = asked.cost.detach().flatten(1).mean(1) / asked.importance
    whole = cost.new_zeros(2, share.n)
    whole[:, share.place] = torch.stack((asked.drawn.to(cost), cost))
    return whole


def more(n: int, named: int) -> str:
    return f" and {n - named} more" if n > named else ""
