"""What the whole stack costs a training step: denoiselab (Lightning, keyed noise, record, averaged weights, logger=csv)
beside a bare PyTorch loop of the same network, batch and optimizer, alternately in one process.

    python benchmarks/overhead.py [--rounds 5] [--steps 200] [--threads 2]

Goals: at most 1.10 times at 5 ms a step, 1.02 times at 50 ms. Prints a table and writes it as JSON beside this file.
"""

import tempfile
import time
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from measure import in_turn, parser, write
from omegaconf import OmegaConf

from denoiselab import build
from denoiselab.data.batches import Batches, Once
from denoiselab.evaluation.evaluate import Evaluation
from denoiselab.files import CONF
from denoiselab.optim import groups
from denoiselab.run.cost import Cost
from denoiselab.run.job import make_trainer
from denoiselab.run.progress import Progress
from denoiselab.run.record import Record
from denoiselab.run.saver import Saver
from denoiselab.run.watch import SeedEachStep, Watch

WARM = 20
CASES = {  # name: (overrides, goal as a ratio)
    "5 ms": (["architecture=mlp", "architecture.width=160", "data.batch_size=128"], 1.10),
    "50 ms": (["architecture=unet", "data.batch_size=128"], 1.02),
}


class Clock(pl.Callback):
    """Seconds between the end of step WARM and the end of the last."""

    def on_train_batch_end(self, trainer, module, out, batch, index):
        now = time.perf_counter()
        if index + 1 == WARM:
            self.first = now
        self.last = now


def ours(config: dict, data) -> float:
    """Seconds a step of the whole stack."""
    with tempfile.TemporaryDirectory() as folder:
        return trained(config, data, Path(folder))


def trained(config: dict, data, folder: Path) -> float:
    steps = config["trainer"]["max_steps"]
    module = build.module(config, data.spec)
    logger = build.make(config, "logger")
    logger.start(folder, "benchmark", "benchmark", {})
    cost, clock = Cost.of(module, data, config["data"]["batch_size"]), Clock()
    extra = [build.instantiated(node, name) for name, node in config["callbacks"].items()]
    watch = Watch(Record(folder), logger, cost, every=config["trainer"]["log_every_n_steps"])
    saver = Saver(folder, "val/loss", "min", seconds=None)
    callbacks = [SeedEachStep(0), *extra, watch, Progress(), clock, saver]
    trainer = make_trainer(config, callbacks, folder)
    evaluation: Evaluation = build.make(config, "evaluation")
    batches = Batches(data.train, config["data"]["batch_size"], 0)
    trainer.fit(module, batches, Once(data.val, evaluation.batch_size))
    return (clock.last - clock.first) / (steps - WARM)


def bare(config: dict, data) -> float:
    """Seconds a step of a plain loop: velocity prediction on straight paths."""
    steps, size = config["trainer"]["max_steps"], config["data"]["batch_size"]
    network = build.module(config, data.spec).denoiser.network
    optimizer = build.make(config, "optimizer")(groups(network.parameters()))
    x = data.train.x
    for step in range(steps):
        if step == WARM:
            began = time.perf_counter()
        clean = x[torch.randint(len(x), (size,))].float() / 127.5 - 1
        t, noise = torch.rand(size), torch.randn_like(clean)
        at = t[:, None, None, None]
        loss = (network((1 - at) * clean + at * noise, t) - (noise - clean)).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config["trainer"]["gradient_clip_val"], foreach=True)
        optimizer.step()
        optimizer.zero_grad()
    return (time.perf_counter() - began) / (steps - WARM)


def main() -> None:
    asked = parser(__doc__, rounds=5, steps=200, threads=torch.get_num_threads()).parse_args()
    torch.set_num_threads(asked.threads)
    rows = []
    for name, (overrides, goal) in CASES.items():
        with initialize_config_dir(str(CONF), version_base="1.3"):
            fixed = [
                "experiment=flow",
                "logger=csv",
                f"trainer.max_steps={asked.steps}",
                "trainer.val_check_interval=1000000",
            ]
            config = OmegaConf.to_container(compose("train", [*fixed, *overrides]), resolve=True)
        data = build.load(config)
        both = {"ours": partial(ours, config, data), "bare": partial(bare, config, data)}
        mine, peer = (median * 1e3 for median in in_turn(asked.rounds, both).values())
        rows.append({"case": name, "ours_ms": mine, "bare_ms": peer, "ratio": mine / peer, "goal": goal})
        print(f"{name:6}  ours {mine:7.2f} ms  bare {peer:7.2f} ms  ratio {mine / peer:.3f}  goal {goal}")
    write(__file__, rows, asked.threads)


if __name__ == "__main__":
    main()
