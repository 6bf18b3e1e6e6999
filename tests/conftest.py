"""What all tests share: one thread each (two workers share two cores), real data where it is, no network, no key."""

import os
from pathlib import Path

os.environ["WANDB_MODE"] = "offline"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("WANDB_API_KEY", None)

import browser
import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start
# The same examples every time: what passes here passes there.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("DENOISELAB_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture
def data_root() -> Path:
    """The folder of real data, or a skip in words."""
    if not DATA.is_dir():
        pytest.skip(f"real data is not here: set DENOISELAB_DATA to the folder that holds it (looked at {DATA})")
    return DATA


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A cache of the test's own, and no folder of real data."""
    monkeypatch.setenv("DENOISELAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DENOISELAB_DATA", raising=False)


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """A cache of the session's own: tests neither read nor fill the user's."""
    before = os.environ.get("DENOISELAB_CACHE")
    os.environ["DENOISELAB_CACHE"] = str(tmp_path_factory.getbasetemp().parent / "denoiselab-cache")
    yield
    if before is None:
        del os.environ["DENOISELAB_CACHE"]
    else:
        os.environ["DENOISELAB_CACHE"] = before


@pytest.fixture(scope="module")
def chromium():
    if browser.found() is None:
        pytest.skip(f"no browser: install one of {', '.join(browser.NAMES)}")
    with browser.browser() as page:
        yield page


@pytest.fixture
def patient(monkeypatch):
    """Who watches jobs that are elsewhere looks often, and waits for no queue."""
    from denoiselab.launch import away

    monkeypatch.setattr(away, "LOOK", 0.01)
    monkeypatch.setattr(away, "QUEUE", 0.01)
    monkeypatch.setattr(away, "LAG", 0.01)
