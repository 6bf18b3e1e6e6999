"""What a frozen encoder knows of labels that it was never told."""

import torch
from torch import Tensor

from denoiselab.architecture.base import Features
from denoiselab.corruption import Batch
from denoiselab.corruption.tokens.pointwise import valid
from denoiselab.data.base import Table
from denoiselab.data.batches import Once
from denoiselab.evaluation.metrics.base import Evidence, Metric, Value
from denoiselab.evaluation.metrics.likelihood import counted
from denoiselab.spec import Refused


class LinearProbe(Metric):
    """`probe_accuracy`: logistic regression on the mean of the network's last features over a clean text, trained on
    the first `train` training samples, tried on the first `n` held-out ones (Alain and Bengio, 2016,
    arXiv:1610.01644). Beside it the same on shares of tokens, `probe_bag`, and the commonest label of the training
    samples, `probe_majority`."""

    def __init__(self, train: int = 2000, n: int = 1000):
        counted(self, train=train, n=n)
        self.train, self.n = train, n

    def accepts(self, spec):
        spec = spec.of(("tokens",), self)
        if "label" in spec.asks or not spec.classes:
            raise Refused("LinearProbe guesses labels", "a network that is told" if spec.classes else "data without",
                          "leave this metric out, or use data with labels and conditioning=none")  # fmt: skip
        return spec

    def __call__(self, evidence):
        network = found(evidence)
        tables = [evidence.data.train.take(slice(self.train)), evidence.data.split(evidence.split).take(slice(self.n))]
        labels = [table.context["label"] for table in tables]
        if len(labels[0].unique()) < 2:
            raise Refused("LinearProbe tells labels apart", "training samples of one label", "give more of them")
        vocabulary = evidence.module.parts.spec.vocabulary
        deep = [pooled(network, table, evidence) for table in tables]
        bags = [bag(table, vocabulary) for table in tables]
        right = {
            "probe_accuracy": regression(*deep, *labels),
            "probe_bag": regression(*bags, *labels),
            "probe_majority": (labels[1] == labels[0].mode().values).double().mean().item(),
        }
        return {name: Value(value, len(labels[1]), evidence.split) for name, value in right.items()}


def found(evidence: Evidence) -> Features:
    """The network whose features can be read; raises `Refused` where it offers none."""
    assert evidence.module is not None, "the module is asked"
    for module in evidence.module.denoiser.modules():
        if isinstance(module, Features):
            return module
    raise Refused("LinearProbe reads the features of a network", "an architecture that shows none",
                  "leave this metric out, or use architecture=transformer")  # fmt: skip


@torch.no_grad()
def pooled(network: Features, table: Table, evidence: Evidence) -> Tensor:
    """(N, width) float64 on the CPU."""
    means, earliest = [], evidence.module.corruption.schedule.t_min
    for share in Once(table, evidence.batch_size):
        evidence.pulse()
        batch = share.to(evidence.device).batch
        context = {name: value for name, value in batch.context.items() if name != "label"}
        noise = torch.full((len(batch.x),), float(earliest), device=evidence.device)
        there = valid(batch)[..., None]
        h = network.features(batch.x, noise, **context).double()
        means.append(((h * there).sum(1) / there.sum(1).clamp(min=1)).cpu())
    return torch.cat(means)


def bag(table: Table, vocabulary: int) -> Tensor:
    """Shares of each token, (N, V) float64."""
    there = valid(Batch(table.x, table.x, table.context)).double()
    counts = torch.zeros(len(table.x), vocabulary, dtype=torch.float64).scatter_add_(1, table.x, there)
    return counts / counts.sum(1, keepdim=True).clamp(min=1)


def regression(train: Tensor, test: Tensor, labels: Tensor, asked: Tensor) -> float:
    """Accuracy of logistic regression on standardized features."""
    from sklearn.linear_model import LogisticRegression

    mean, std = train.mean(0), train.std(0).clamp(min=1e-8)
    train, test = ((x - mean) / std for x in (train, test))
    model = LogisticRegression(max_iter=2000).fit(train.numpy(), labels.numpy())
    return float(model.score(test.numpy(), asked.numpy()))
