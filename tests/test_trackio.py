"""trackio: all that a run tells is in its store, once, whatever was killed; nothing asks for a network; a browser shows
it."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys

import browser
import pytest

from denoiselab.run.logger import Trackio
from denoiselab.spec import Refused

pytest.importorskip("trackio", reason="the package trackio is not installed")

# Of any process with this on its path: whom it wants to reach beside itself is written down, and not reached.
GUARD = """
import os, sys
LOCAL = ("127.0.0.1", "localhost", "::1", "0.0.0.0", None, "")
def guard(event, arguments):
    if event == "socket.getaddrinfo" and arguments[0] not in LOCAL:
        who = str(arguments[0])
    elif event == "socket.connect" and isinstance(arguments[1], tuple) and arguments[1][0] not in LOCAL:
        who = str(arguments[1][0])
    else:
        return
    with open(os.environ["ASKED"], "a") as file:
        file.write(who + "\\n")
    raise OSError("no network here")
sys.addaudithook(guard)
"""
RUN = """
import os
import sys
import numpy as np
from PIL import Image
from denoiselab.run.logger import Bars, Label, Trackio
from denoiselab.run.record import Record

folder, store, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
record, log = Record(folder), Trackio(directory=store, watch="all")
record.cut(first)
label = Label("schedule=linear lr=0.1", "a-sweep", axes={"axis/lr": 0.1})
log.start(folder, "0123456789", label, {"schedule": "linear", "config": {"seed": 1}}, first)
for step in range(first + 1, last + 1):
    record.write(step, {"train/loss": 1 / step})
    log.log({"train/loss": 1 / step}, step)
if last == 40:
    log.image("samples", Image.fromarray(np.full((4, 4, 3), 7, np.uint8)), last)
    log.table("texts", ["text", "loss"], [["a", 1.0]], last)
    log.histogram("gradients/w", Bars([1, 2], [0.0, 1.0, 2.0]), last)
    log.summary({"best/val/loss": 0.5}, last)
print("told", flush=True)
if last < 40:
    os.kill(os.getpid(), 9)
print(log.finish())
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A store with a run that was killed twice, what was said last, and the environment without a network."""
    here = tmp_path_factory.mktemp("trackio")
    (here / "guard").mkdir()
    (here / "guard" / "sitecustomize.py").write_text(GUARD)
    path = os.pathsep.join([str(here / "guard"), *filter(None, [os.environ.get("PYTHONPATH")])])
    # A key of the hub's and an address elsewhere are no reason to go there.
    env = {**os.environ, "PYTHONPATH": path, "ASKED": str(here / "asked"), "HF_TOKEN": "hf_" + "x" * 34,
           "TRACKIO_SPACE_ID": "me/space", "HF_HOME": str(here / "home")}  # fmt: skip
    env.pop("TRACKIO_DIR", None)
    for first, last in ((0, 30), (10, 35), (20, 40)):
        command = [sys.executable, "-c", RUN, str(here / "run"), str(here / "store"), str(first), str(last)]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert done.returncode == (0 if last == 40 else -signal.SIGKILL), done.stderr
    env.pop("TRACKIO_SPACE_ID")
    return here, done.stdout.splitlines(), env


def test_each_step_is_there_once_in_one_run(stored):
    here, said, _ = stored
    assert said == ["told", f"TRACKIO_DIR={here / 'store'} trackio show --project denoiselab"]
    with sqlite3.connect(here / "store" / "denoiselab.db") as store:
        rows = store.execute("select run_id, run_name, step, metrics from metrics").fetchall()
        [(config,)] = store.execute("select config from configs").fetchall()
    store.close()
    assert {row[:2] for row in rows} == {("0123456789", "schedule=linear lr=0.1")}
    told = [(step, name, value) for _, _, step, text in rows for name, value in json.loads(text).items()]
    losses = sorted((step, value) for step, name, value in told if name == "train/loss")
    assert losses == [(step, 1 / step) for step in range(1, 41)]
    last = {name: value for step, name, value in told if step == 40}
    assert last["texts"]["_value"] == [{"text": "a", "loss": 1.0}]
    assert last["gradients/w"] == {"_type": "trackio.histogram", "bins": [0, 1, 2], "values": [1, 2]}
    assert last["best/val/loss"] == 0.5
    [picture] = (here / "store" / "media").rglob("*.png")
    assert str(picture).endswith(last["samples"]["file_path"])
    config = json.loads(config)
    assert (config["_Group"], config["schedule"], config["axis/lr"]) == ("a-sweep", "linear", 0.1)


def test_nobody_elsewhere_is_asked(stored):
    here, _, _ = stored
    assert not (here / "asked").exists(), (here / "asked").read_text()


@pytest.mark.skipif(browser.found() is None, reason="no Chromium here")
def test_a_browser_shows_the_run_and_its_curve(stored, tmp_path):
    here, said, env = stored
    variable, program, *arguments = said[-1].split()
    name, _, value = variable.partition("=")
    command = [sys.executable, "-c", f"import sys; sys.argv[0] = {program!r}; from trackio.cli import main; main()"]
    env = {**env, name: value, "BROWSER": "true", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen([*command, *arguments], env=env, stdout=subprocess.PIPE, text=True) as show:
        try:
            url = next(found[1] for line in show.stdout if (found := re.search(r"launched at: (http[^\s\x1b]+)", line)))
            with browser.browser() as page:
                page.visit(url)
                shown = """new Promise((done) => { const look = () => document.querySelector("canvas, svg.marks")
                    && document.body.innerText.includes("schedule=linear lr=0.1") ? done(document.body.innerText)
                    : requestAnimationFrame(look); look(); })"""
                text = page.ask(shown)
                page.picture(tmp_path / "shown.png", whole=False)
                errors = page.errors
        finally:
            show.kill()
    assert "denoiselab" in text
    assert "train" in text
    assert not errors, "asked for something elsewhere, or failed"
    assert not (here / "asked").exists()


def test_trackio_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Refused, match=r"denoiselab\[dashboard\]"):
        Trackio()
