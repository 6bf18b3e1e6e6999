"""Secrets: what is one is found by its name, by its value and by its place, and reaches no file."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from denoiselab.run.secrets import HIDDEN, is_secret, redacted

KEY = "0123456789canary-of-a-key-in-the-environment"
TOKEN = "hf_CanaryOfATokenInTheEnvironment"
TYPED = "CanaryThatWasTyped"


@pytest.fixture
def environment(monkeypatch):
    """Secrets in the environment, and what only looks like them."""
    for name, value in {"WANDB_API_KEY": KEY, "HF_TOKEN": TOKEN, "SHORT_TOKEN": "abc", "TOKENIZER": "a-tokenizer",
                        "EMPTY_PASSWORD": ""}.items():  # fmt: skip
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("name", [
    "api_key", "data.api_key", "apikey", "APIKEY", "WANDB_API_KEY", "HF_TOKEN", "token", "data@hub.token", "a/b.secret",
    "accessToken", "client-secret", "password", "DB_PASSWD", "credential", "credentials", "private_key", "api-key",
    "AWS_SECRET_ACCESS_KEY", "passphrase",
])  # fmt: skip
def test_names_that_say_secret(name):
    assert is_secret(name)


@pytest.mark.parametrize("name", [
    "", "tokens", "tokenizer", "token_mask", "keys", "monkey", "key", "PWD", "token.path", "api_key.name", "secretary",
    "WANDB_IDENTITY_TOKEN_FILE", "token_mask_80_10_10", "AWS_ACCESS_KEY_ID",
])  # fmt: skip
def test_names_that_do_not(name):
    assert not is_secret(name)


@pytest.mark.parametrize("value, left", [
    ("+x.api_key=abc", "+x.api_key=<redacted>"),
    ("++logger.token='a b'", "++logger.token=<redacted>"),
    ("x.api_key=a,b", "x.api_key=<redacted>"),
    ("x.password=a b, c}", "x.password=<redacted>"),
    ("--api-key=abc", "--api-key=<redacted>"),
    ("+x={api_key: abc, n: 1}", "+x={api_key: <redacted>, n: 1}"),
    ("+x={user:{password:a b},n:1}", "+x={user:{password:<redacted>},n:1}"),
    ("+x={'token': 'a, b', n: 1}", "+x={'token': '<redacted>', n: 1}"),
    ('{"token": "a\\"b", "n": 1}', '{"token": "<redacted>", "n": 1}'),
    ("+x={token: {a: b}}", "+x={token: <redacted>"),
    ("denoiselab train +a.token=abc data=mnist", "denoiselab train +a.token=<redacted> data=mnist"),
    ("password: abc\nn: 1", "password: <redacted>\nn: 1"),
    ("data.root=https://me:abc@host/x", "data.root=https://me:<redacted>@host/x"),
    ("https://me:a@b:c@host/x and more@all", "https://me:<redacted>@host/x and more@all"),
    ("data.root=https://host/x?token=abc&n=1", "data.root=https://host/x?token=<redacted>&n=1"),
    (f"data.root=/home/{TOKEN}/x", "data.root=/home/<redacted>/x"),
    (f"{KEY}{TOKEN}", "<redacted><redacted>"),
])  # fmt: skip
def test_secrets_in_a_line(environment, value, left):
    assert redacted(value) == left
    assert redacted([{"a": value}]) == [{"a": left}]


@pytest.mark.parametrize("value", [
    "data=mnist", "corruption=token_mask", "optimizer.lr=1e-3", "codec.tokens=[a,b]", "x={tokens: [a], keys: 3}", "abc",
    "api_key=", "api_key=null", "{token: null, n: 1}", "https://host:80/x", "git@host:a/b.git", "a-tokenizer", "", "=",
    "the token", "ssh://git@host/x", "a: b", "x={a: 'b, c'}", "{token: ''}",
])  # fmt: skip
def test_what_is_no_secret_stays(environment, value):
    assert redacted(value) == value


def test_secrets_in_what_is_nested(environment):
    config = {
        "data": {"api_key": "abc", "token": None, "password": "", "n": 3, "tokens": ["a", 1.5],
                 "secret": [1, {"a": "b"}]},
        "logger": [{"passwd": 12345, "credentials": False}, f"x {KEY} y", None], TOKEN: 1, "overrides": ("a.token=b",),
    }  # fmt: skip
    before = json.dumps(config)
    assert redacted(config) == {
        "data": {"api_key": HIDDEN, "token": None, "password": "", "n": 3, "tokens": ["a", 1.5],
                 "secret": [HIDDEN, {"a": HIDDEN}]},
        "logger": [{"passwd": HIDDEN, "credentials": False}, "x <redacted> y", None], HIDDEN: 1,
        "overrides": ("a.token=<redacted>",),
    }  # fmt: skip
    assert json.dumps(config) == before, "a copy"
    assert redacted("abc", "data.api_key") == HIDDEN


WORD = st.text("abz09_-.:=,;&'\"{}[]()@/ \n<>", max_size=30)
LINE = st.builds("{}{}{}{}{}".format, WORD, st.sampled_from(["", " ", "+", "{", "?", "a."]),
                 st.sampled_from(["token", "x", "password", "http", "tokens"]), st.sampled_from(["=", ": ", "://", ""]),
                 WORD)  # fmt: skip


@given(st.recursive(LINE | st.none() | st.integers(), lambda v: st.lists(v) | st.dictionaries(LINE, v), max_leaves=5))
def test_twice_is_once(value):
    once = redacted(value)
    assert redacted(once) == once


@given(LINE, LINE)
def test_the_value_of_a_secret_variable_is_in_nothing(before, after):
    os.environ["A_CANARY_TOKEN"] = TYPED
    try:
        said = redacted({"a": [before + TYPED + after]})
    finally:
        del os.environ["A_CANARY_TOKEN"]
    assert TYPED not in json.dumps(said)


@pytest.mark.parametrize("value", ["redacted", "<redacted", HIDDEN])
def test_a_secret_like_the_mark_does_not_hide_the_mark(monkeypatch, value):
    monkeypatch.setenv("A_CANARY_TOKEN", value)
    assert redacted(f"a {HIDDEN} b") == f"a {HIDDEN} b"


def test_nothing_heavy_is_imported():
    code = "import sys, denoiselab.run.secrets; print('torch' in sys.modules or 'wandb' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# -- loggers -----------------------------------------------------------------------------------------------

RUN = """
import sys
import numpy as np
from PIL import Image
from denoiselab.run import logger

where = {"directory": sys.argv[4] + "/store"} if sys.argv[1] == "Trackio" else {}
log = getattr(logger, sys.argv[1])(**where)
config = {"schedule": "linear", "config": {"data": {"api_key": sys.argv[2].partition("=")[2], "root": sys.argv[3]}}}
log.start(sys.argv[4], "0123456789", logger.Label("name"), config)
log.log({"train/loss": 0.5}, 1)
log.image("samples", Image.fromarray(np.zeros((4, 4, 3), np.uint8)), 1)
log.table("texts", ["text"], [["a"]], 1)
log.finish()
"""


@pytest.mark.parametrize("logger", ["Wandb", "TensorBoard", "Trackio", "CSV", "Nothing"])
def test_no_logger_writes_a_secret(tmp_path, logger):
    if logger in ("TensorBoard", "Trackio"):
        pytest.importorskip(logger.lower(), reason=f"the package {logger.lower()} is not installed")
    # The command is typed in a checkout whose remote has a password.
    home, folder = tmp_path / "home", tmp_path / "run"
    home.mkdir()
    (home / "code.py").write_text(RUN)
    for command in ["init", "add code.py", f"remote add origin https://me:{TYPED}@host/x.git",
                    "-c user.name=a -c user.email=a@b commit -m a"]:  # fmt: skip
        subprocess.run(["git", *command.split()], cwd=home, check=True, capture_output=True)
    typed = [f"+data.api_key={TYPED}", f"https://me:{TYPED}@host/x"]
    environment = {**os.environ, "HOME": str(home), "WANDB_API_KEY": KEY, "HF_TOKEN": TOKEN, "WANDB_MODE": "offline",
                   "A_URL": f"https://me:{TYPED}@host", "WANDB_NOTES": f"with {TOKEN}"}  # fmt: skip
    command = [sys.executable, "code.py", logger, *typed, str(folder), KEY, f"data.root=x/{TOKEN}"]
    subprocess.run(command, cwd=home, env=environment, check=True, capture_output=True)
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []
    assert bool(files) == (logger != "Nothing")
    # A log of few records is one piece: what is written of a secret is in it as it is.
    holding = [path for path in files for secret in (KEY, TOKEN, TYPED) if secret.encode() in path.read_bytes()]
    assert not holding
    if logger == "Wandb":
        [log] = folder.rglob("*.wandb")
        assert b"+data.api_key=<redacted>" in log.read_bytes(), "the command is there, and has its place"
