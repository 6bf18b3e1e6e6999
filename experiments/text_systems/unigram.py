"""What a unigram model pays on the question of each run, nats a scored token: python unigram.py RUN ...

The frequencies of the tokens that training samples ask for, each damaged once, with one count added to each; then the
mean cost of the first 200 test samples. Beside it the run's own loss on them.
"""

import sys

import torch

import denoiselab
from denoiselab.corruption import Batch
from denoiselab.randomness import Keyed

N = 5000  # training samples that are counted


def asked(run, table, n: int, seed: int) -> torch.Tensor:
    """The tokens that n samples are asked for."""
    x, context = table.x[:n], {name: value[:n] for name, value in table.context.items()}
    key = Keyed.of(seed, torch.arange(len(x)))
    schedule = run.corruption.schedule
    t = schedule.t_min + (schedule.t_max - schedule.t_min) * key.child("time").uniform((len(x), 1))[:, 0]
    c = run.corruption(Batch(x, torch.arange(len(x)), context), t, key)
    return c.target[c.scored]


for folder in sys.argv[1:]:
    run = denoiselab.load(folder)
    count = torch.ones(run.spec.vocabulary + run.spec.written, dtype=torch.float64)
    count += torch.bincount(asked(run, run.data.train, N, 0), minlength=len(count))
    cost = -(count / count.sum()).log()[asked(run, run.data.test, 200, 1)].mean().item()
    loss = run.summary["metrics"]["test/loss"]["value"]
    print(f"{run.config['name']:16} unigram {cost:.3f}  run {loss:.3f}  {folder}")
