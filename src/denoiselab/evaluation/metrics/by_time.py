"""The loss at each time: where in [0, 1] a denoiser is good, and where not."""

import torch

from denoiselab.corruption import Pointwise
from denoiselab.data.base import Table
from denoiselab.data.batches import Once
from denoiselab.denoiser import Denoiser
from denoiselab.evaluation.metrics.base import Evidence, Metric
from denoiselab.evaluation.shown import Curve
from denoiselab.spec import Refused


class LossByTime(Metric):
    """The training objective in `bins` equal parts of [0, 1], each on the same `n` held-out samples (at most
    evaluation.samples) with the same noise: samples/loss_by_time.png and .csv. Where the data's exact posterior is
    known, its loss too. A schedule that ignores time has no curve. There is no value: compare curves of one objective
    alone."""

    def __init__(self, bins: int = 20, n: int = 128):
        if bins < 2:
            raise Refused("LossByTime.bins counts parts of [0, 1]", bins, "give at least 2")
        if n < 1:
            raise Refused("LossByTime.n counts held-out samples", n, "give at least 1")
        self.bins, self.n = bins, n

    def accepts(self, spec):
        return spec

    @torch.no_grad()
    def __call__(self, evidence):
        module, data = evidence.module, evidence.data
        assert module is not None, "the module is asked"
        schedule = module.corruption.schedule
        if schedule.t_min == schedule.t_max:
            return {}
        table = data.split(evidence.split).take(slice(min(self.n, len(evidence.clean))))
        x, loss = self.curve(evidence, table)
        lines = {"loss": loss}
        if data.oracle and Pointwise in module.parts.agreed.facts:
            lines["exact posterior"] = self.curve(evidence, table, data.oracle(module.corruption).to(module.device))[1]
        return {"loss_by_time": Curve(x, lines, "t", "loss")}

    def curve(self, evidence: Evidence, table: Table, denoiser: Denoiser | None = None) -> tuple[list, list]:
        """Mean time and loss of each part: of the module's denoiser or of another."""
        module, n, x, y = evidence.module, len(table.x), [], []
        for i in range(self.bins):
            t = cost = count = 0.0
            for share in Once(table, evidence.batch_size):
                evidence.pulse()
                # Held-out times rise with the place: these are those of the i-th part of a split `bins` times as large.
                share = share._replace(place=i * n + share.place, n=self.bins * n)
                asked = module.examine(share.to(module.device), denoiser)
                t, cost = t + asked.t.double().sum(), cost + asked.cost.double().sum()
                count = count + asked.count.double()
            x.append((t / n).item())
            y.append((cost / count.clamp(min=1)).item())
        return x, y
