"""The evaluation at the end of a run: the loss on a held-out split, evidence for the metrics, and samples.

Noise, times and the samples' keys come from `evaluation.seed` alone: the same for all arms and seeds, whatever the
batch size. Every metric is asked whether it speaks about the cell; those that do not are left out.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from denoiselab.corruption import Corrupted, Corruption, Pointwise, Written, everywhere
from denoiselab.data.base import Loaded, Table
from denoiselab.data.batches import Once, Share
from denoiselab.denoiser import Denoiser
from denoiselab.evaluation import damaged
from denoiselab.evaluation.metrics.base import Evidence, Metric, Value
from denoiselab.evaluation.shown import Shown
from denoiselab.module import DenoisingModule, Parts
from denoiselab.randomness import Keyed, key
from denoiselab.sampler import Generates, Loop, OneShot, Sampler
from denoiselab.sampler.base import nothing
from denoiselab.spec import Failed, Refused, Spec


def empty(spec: Spec, n: int, device: torch.device | str) -> Tensor:
    """(n, *shape) of the type that x_t has."""
    return torch.zeros(n, *spec.shape, dtype=torch.int64 if spec.kind == "tokens" else torch.float32, device=device)


@torch.no_grad()
def generate(denoiser: Denoiser, corruption: Corruption, sampler: Sampler, spec: Spec, n: int, seed: int,
             batch_size: int = 256, device: torch.device | str = "cpu",
             pulse: Callable[[], None] = nothing, asked: Mapping[str, Tensor] = {}) -> Tensor:  # fmt: skip
    """n new samples (n, *), on the CPU; `asked` is the context, (n, ...) each, that tells the network what to make.
    Sample i is a function of (seed, i) and of what is asked: the same whatever batch it fell in. Raises `Failed`,
    naming samples, time and seed, where they are not finite."""
    found = []
    for first in range(0, n, batch_size):
        pulse()
        places = torch.arange(first, min(first + batch_size, n), device=device)
        random, like = Keyed.of(seed, 7, places), empty(spec, len(places), device)
        x_1 = corruption.prior(like).sample(random.child("prior"))
        context = {name: value[first : first + batch_size].to(device) for name, value in asked.items()}
        context |= corruption.own(like, random.child("own"))
        one = torch.ones(len(places), device=device)
        samples = sampler(denoiser, corruption, x_1, one, random, pulse, **context)
        if not samples.isfinite().all():
            bad = (~samples.isfinite().flatten(1).all(1)).nonzero().flatten() + first
            where = lost(denoiser, corruption, sampler, x_1, random, context)
            raise Failed(
                f"{len(bad)} of a batch of {len(samples)} samples are not finite{where}: numbers "
                f"{', '.join(map(str, bad[:8].tolist()))}{' ...' if len(bad) > 8 else ''} of seed {seed}\n"
                "  fix: more steps, another grid or sampler, or calmer training; the checkpoints are kept"
            )
        found.append(samples.cpu())
    return torch.cat(found)


def lost(denoiser: Denoiser, corruption: Corruption, sampler: Sampler, x_1: Tensor, random, context: dict) -> str:
    """The move after which a sample is not finite any more, in words, by sampling again."""
    if isinstance(sampler, Loop):
        for s, x_s, _ in sampler.moves(denoiser, corruption, x_1, random, **context):
            if not x_s.isfinite().all():
                return f" from t = {s:.4g} on"
    return ""


def compared(parts: Parts, share: Share, c: Corrupted, restored: Tensor) -> dict[str, Tensor]:
    """Fields of `Evidence`, of a batch that was restored: of a text that was written token by token, the whole."""
    found = {"x_t": c.x_t, "touched": c.touched}
    valid = share.batch.context.get("valid")
    if Written in parts.spec.facts:
        whole, there = parts.corruption.rebuilt(c.x_t, restored, c.context)
        clean, read = share.batch.x, c.context.get("valid", everywhere(c.x_t))
        valid = everywhere(clean) if valid is None else valid
        return found | {"clean": clean, "valid": valid, "restored": whole, "restored_valid": there, "x_t_valid": read}
    found |= {"clean": c.target, "restored": restored}
    if valid is not None:
        found |= {"valid": valid, "restored_valid": valid, "x_t_valid": valid}
    return found


def conditions(table: Table, spec: Spec, n: int) -> dict[str, Tensor]:
    """What is asked of n new samples where the network is told what to make: what a split has, in turn."""
    rows = torch.arange(n) % len(table.x)
    return {name: table.context[name][rows] for name in sorted(spec.asks)}


class Found(NamedTuple):
    """What an evaluation gives."""

    values: dict[str, Value]
    evidence: Evidence
    sampling: dict[str, float]  # samples a second and network calls a sample, where there are samples
    left_out: list[str]  # why a metric that speaks about the cell could not
    shown: dict[str, Shown]  # curves and pictures of the metrics, by name


class Evaluation:
    """`samples` of the test split are restored and, where the sampler generates, as many are made anew; the loss is of
    the first `held_out` samples of a split (None: all). Text is also scored on a common `damage`, if one is given,
    whatever corruption it was trained on."""

    def __init__(self, metrics: Sequence[Metric], seed: int = 0, samples: int = 256, batch_size: int = 256,
                 held_out: int | None = None, damage: Corruption | None = None):  # fmt: skip
        counts = {"samples": samples, "batch_size": batch_size, "held_out": 1 if held_out is None else held_out}
        for name, count in counts.items():
            if count < 1:
                raise Refused(f"evaluation.{name} counts samples", count, "give at least 1")
        self.metrics, self.seed, self.samples, self.batch_size = list(metrics), seed, samples, batch_size
        self.held_out, self.damage = held_out, damage

    def some(self, table: Table) -> Table:
        """What of a held-out split the loss is of."""
        return table.take(slice(self.held_out))

    def fitting(self, spec: Spec) -> list[Metric]:
        """The metrics that speak about a cell."""
        return [metric for metric in self.metrics if not refusal(metric, spec)]

    @torch.no_grad()
    def loss(self, module: DenoisingModule, table: Table, denoiser: Denoiser | None = None,
             pulse: Callable[[], None] = nothing) -> float:  # fmt: skip
        """The training objective on a split, at fixed times and noise: of the module's denoiser or of another."""
        total = count = 0.0
        for share in Once(table, self.batch_size):
            pulse()
            asked = module.examine(share.to(module.device), denoiser)
            total, count = total + asked.cost.double().sum(), count + asked.count.double()
        return (total / count.clamp(min=1)).item()

    @torch.no_grad()
    def evidence(self, module: DenoisingModule, data: Loaded, split: str,
                 pulse: Callable[[], None] = nothing) -> tuple[Evidence, dict[str, float]]:  # fmt: skip
        """What the metrics look at, and how long samples took."""
        parts, table = module.parts, data.split(split).take(slice(self.samples))
        restorer = OneShot() if Generates in parts.agreed.facts else parts.sampler
        found: dict[str, list[Tensor]] = {}
        for share in Once(table, self.batch_size):
            pulse()
            asked = module.examine(share.to(module.device))
            c, random = asked.corrupted, Keyed(key(self.seed, 8, share.place.to(module.device)))
            restored = restorer(parts.denoiser, parts.corruption, c.x_t, asked.t, random, pulse, **c.context)
            for name, value in compared(parts, share, c, restored).items():
                found.setdefault(name, []).append(value.cpu())
        samples, cost, wanted = None, {}, {}
        if Generates in parts.agreed.facts:
            denoiser = parts.guidance.build(parts.denoiser, parts.corruption, data)
            began = time.perf_counter()
            wanted = conditions(data.split(split), parts.agreed, self.samples)
            samples = generate(denoiser, parts.corruption, parts.sampler, parts.spec, self.samples, self.seed,
                               self.batch_size, module.device, pulse, wanted)  # fmt: skip
            seconds = time.perf_counter() - began
            cost = {
                "samples_per_second": len(samples) / seconds,
                "network_calls_per_sample": parts.guidance.calls * parts.sampler.calls,
            }
        tensors = {name: torch.cat(values) for name, values in found.items()}
        evidence = Evidence(data=data, split=split, samples=samples, asked=wanted, **tensors)
        return evidence._replace(module=module, seed=self.seed, batch_size=self.batch_size, pulse=pulse, kept={}), cost

    def __call__(self, module: DenoisingModule, data: Loaded, split: str = "test",
                 pulse: Callable[[], None] = nothing) -> Found:  # fmt: skip
        """All metrics on a split, the evidence they rest on, and the cost of samples. `pulse` is called now and then,
        as a sign of life."""
        training = module.training
        module.eval()
        table, left_out, shown = self.some(data.split(split)), [], {}
        values = {f"{split}/loss": Value(self.loss(module, table, pulse=pulse), len(table.x), split)}
        if data.oracle and Pointwise in module.parts.agreed.facts:
            exact = self.loss(module, table, data.oracle(module.corruption).to(module.device), pulse)
            values[f"{split}/loss_oracle"] = Value(exact, len(table.x), split, "exact posterior")
        evidence, sampling = self.evidence(module, data, split, pulse)
        for metric in self.fitting(module.parts.agreed):
            pulse()
            try:
                said = metric(evidence)
            except Refused as e:
                left_out.append(f"{e.what} (got {e.got})")
                continue
            shown |= {name: thing for name, thing in said.items() if isinstance(thing, Shown)}
            values |= {f"{split}/{name}": value for name, value in said.items() if isinstance(value, Value)}
        if self.damage is not None:
            some = data.split(split).take(slice(self.samples))
            try:
                said = damaged.scores(module, data, some, self.damage, split, self.seed, self.batch_size, pulse)
                values |= {f"{split}/{name}": value for name, value in said.items()}
            except Refused as e:
                left_out.append(f"{e.what} (got {e.got})")
        module.train(training)
        return Found(values, evidence, sampling, left_out, shown)


def refusal(part: Metric, spec: Spec) -> str:
    """Why a part does not take a spec; empty where it does."""
    try:
        part.accepts(spec)
    except Refused as e:
        return str(e)
    return ""
