"""`denoiselab train [overrides]`: one cell of the grid, or with -m a product of cells."""

from denoiselab.commands import configuration


def command(arguments: list[str]) -> None:
    configuration.run(train, arguments, "train")


def train(cfg) -> None:
    """One composed cell."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from denoiselab import check
    from denoiselab.build import plain
    from denoiselab.run.training import train as start

    hydra = HydraConfig.get()
    check.read(OmegaConf.to_container(cfg, resolve=False), list(hydra.overrides.task))
    choices = {group: choice for group, choice in hydra.runtime.choices.items() if not group.startswith("hydra/")}
    start(plain(cfg), choices, list(hydra.overrides.task))
