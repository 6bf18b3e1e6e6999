"""What training costs: parameters, multiply-adds, samples, tokens; curves can be drawn against any of them."""

from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from denoiselab.corruption import Batch
from denoiselab.data.base import Loaded, Table
from denoiselab.data.batches import Share
from denoiselab.module import DenoisingModule


class Cost(NamedTuple):
    """Of one run. `multiply_adds` are of the matrix products, convolutions and attention of one sample's forward pass;
    training counts three times as many (Kaplan et al., 2020, arXiv:2001.08361: the backward pass is two)."""

    parameters: int
    multiply_adds: int
    training_samples: int
    batch_size: int
    tokens: float  # a sample, on average; 0 where there are none

    @classmethod
    def of(cls, module: DenoisingModule, data: Loaded, batch_size: int) -> "Cost":
        valid = data.train.context.get("valid")
        per_sample = 0.0
        if data.spec.kind == "tokens":
            per_sample = float(data.spec.shape[0] if valid is None else valid.float().sum(1).mean())
        parameters = sum(p.numel() for p in module.denoiser.parameters())
        return cls(parameters, multiply_adds(module, data.train), len(data.train.x), batch_size, per_sample)

    def at(self, step: int) -> dict[str, float]:
        """What was spent after `step` optimizer steps."""
        per_epoch = -(-self.training_samples // self.batch_size)
        epochs, rest = divmod(step, per_epoch)
        samples = epochs * self.training_samples + rest * self.batch_size
        spent = {"samples": samples, "multiply_adds": 3 * self.multiply_adds * samples}
        return spent | ({"tokens": round(samples * self.tokens)} if self.tokens else {})


@torch.no_grad()
def multiply_adds(module: DenoisingModule, table: Table) -> int:
    """Of one sample's forward pass."""
    rows, first = table.take(slice(0, 1)), torch.zeros(1, dtype=torch.int64)
    module.eval()
    with FlopCounterMode(display=False) as counter:
        module.examine(Share(Batch(rows.x, first, rows.context), first, 1).to(module.device))
    module.train()
    return counter.get_total_flops() // 2
