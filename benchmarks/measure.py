"""What the benchmarks share: options, steps timed in turn, and the file beside the script."""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn


def parser(said: str, **defaults) -> argparse.ArgumentParser:
    """An option for each name, of its default's type; `said` is the help."""
    made = argparse.ArgumentParser(description=said, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in defaults.items():
        made.add_argument(f"--{name}", type=type(default), default=default)
    return made


def seconds(step: Callable[[], object], n: int = 1) -> float:
    """A step's."""
    began = time.perf_counter()
    for _ in range(n):
        step()
    return (time.perf_counter() - began) / n


def in_turn(rounds: int, measured: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """The median of each, asked one after another in each round: what else the machine does meets all alike."""
    found = {name: [] for name in measured}
    for _ in range(rounds):
        for name, ask in measured.items():
            found[name].append(ask())
    return {name: statistics.median(numbers) for name, numbers in found.items()}


def plain_step(network: nn.Module, loss: Callable[[], Tensor], rate: float, clip: float) -> Callable[[], None]:
    """A step of training as plain loops have it: AdamW, and gradients clipped to a norm of `clip`."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate)

    def step() -> None:
        loss().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()

    return step


def update(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], clip: float) -> None:
    """After the backward pass, as Lightning and ours: foreach clipping, and the optimizer."""
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters], foreach=True)
    torch.nn.utils.clip_grads_with_norm_(parameters, clip, norm, foreach=True)
    optimizer.step()
    optimizer.zero_grad()


def write(script: str, rows: list[dict], threads: int, **about) -> None:
    """As JSON beside the script, with the machine that measured it."""
    machine = {"processor": platform.processor() or platform.machine(), "threads": threads, "torch": torch.__version__}
    said = {"rows": rows, "machine": machine, **about}
    Path(script).with_suffix(".json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
