"""Searches: trials of a space, proposed by what earlier ones gave. Optuna proposes; a trial is a cell like any."""

from importlib.util import find_spec

from denoiselab.spec import Refused


def needed() -> None:
    """Refuses a search where Optuna is not installed."""
    if missing := [name for name in ("optuna", "cmaes") if find_spec(name) is None]:
        raise Refused("a search needs Optuna", f"no {' and no '.join(missing)}", "pip install denoiselab[optuna]")
