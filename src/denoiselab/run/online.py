"""What W&B is asked before a run starts: may it go online, and what has it written before?

Online only where a key is configured and the server answers, and takes the key: without a network, or before a server
that stalls, wandb would hang for minutes and then raise.

Offline, each attempt at a run writes a segment, a folder `wandb/offline-run-TIME-ID`; `wandb sync` appends them to one
run, in order. wandb writes in blocks of 32 KiB, so the segment of a killed process lacks its last rows (if it was
short, all of them), ends within a record, and makes `wandb sync` stop there, before the segments that follow. So one
without a last record is removed, and what it had is logged again from the run's own record. A process of wandb's that
outlives the killed one by a second or two writes, at most, into files that are gone.
"""

import json
import netrc
import os
import shutil
import socket
import subprocess
import sys
import threading
from base64 import b64encode
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, getproxies, proxy_bypass, urlopen

PATIENCE = 1.0  # seconds for a server to accept a connection
LONGEST = 10.0  # and to answer a question
STEP = "trainer/global_step"  # the axis of all curves, as Lightning calls it


def mode() -> tuple[str, str | None]:
    """online, offline or disabled, as wandb's settings and the environment say, and as there is a way; and what is in
    the way of one who wishes to be online: who has a key, or says so."""
    import wandb

    settings = wandb.setup().settings
    # The settings have seen the environment once, when they were made.
    asked = os.environ.get("WANDB_MODE") or settings.mode
    if asked in ("offline", "dryrun", "disabled"):
        return asked, None
    if not (key := key_of(settings)) and not os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return "offline", "no key is configured (wandb login)" if os.environ.get("WANDB_MODE") == "online" else None
    if not answers(settings.base_url):
        return "offline", f"{settings.base_url} does not answer"
    why = refused(settings.base_url, key) if key else None
    return ("offline", why) if why else ("online", None)


def refused(url: str, key: str) -> str | None:
    """Why the server at `url` will not do: it refuses the key, or takes more than `LONGEST` to answer. Asked before
    wandb is: what it began there it does not let go of, not even when the process ends."""
    request = Request(
        f"{url.rstrip('/')}/graphql", json.dumps({"query": "query Viewer { viewer { id } }"}).encode(),
        {"Content-Type": "application/json", "Authorization": f"Basic {b64encode(f'api:{key}'.encode()).decode()}"},
    )  # fmt: skip
    try:
        with urlopen(request, timeout=LONGEST):
            return None
    except HTTPError as e:
        return f"{url} refuses the key ({e.code} {e.reason})" if e.code in (401, 403) else f"{url} answers {e.code}"
    except (OSError, ValueError, HTTPException) as e:
        return f"{url} accepts a connection and does not answer ({getattr(e, 'reason', e)})"


def key_of(settings) -> str | None:
    """The key that is configured: in the environment, in wandb's settings, or for its host in the netrc file."""
    if key := os.environ.get("WANDB_API_KEY") or settings.api_key:
        return key
    files = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    host = urlsplit(settings.base_url).netloc
    for file in files:
        try:
            known = netrc.netrc(os.path.expanduser(file)).hosts
        except (OSError, netrc.NetrcParseError):
            continue
        # api.wandb.ai is where keys of older clients are filed.
        if found := known.get(host) or known.get("api.wandb.ai"):
            return found[2]
    return None


def answers(url: str) -> bool:
    """Does the server at `url`, or the proxy that leads to it, accept a connection within a second, names included?"""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname):
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    address = parts.hostname, parts.port or {"https": 443}.get(parts.scheme, 80)
    connected = threading.Event()

    def connect():
        try:
            socket.create_connection(address, PATIENCE).close()
            connected.set()
        except OSError:
            pass

    # In a thread: looking up a name has no timeout of its own.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return connected.is_set()


def segments(folder: Path, identity: str) -> list[Path]:
    """What attempts at the run of that id wrote offline below `folder`, the oldest first."""
    return sorted(folder.glob(f"wandb/offline-run-*-{identity}"))


def written(folder: Path, identity: str) -> set[tuple[int, str]]:
    """The steps and names that earlier attempts at this run logged. A segment that was cut short is removed."""
    found = set()
    for segment in segments(folder, identity):
        rows = records(segment)
        if any(row["type"] == "exit" for row in rows):
            found |= logged(rows)
        else:
            shutil.rmtree(segment, ignore_errors=True)
    # What an attempt online wrote beside its uploads; it is not ours to remove.
    for attempt in folder.glob(f"wandb/run-*-{identity}"):
        found |= logged(records(attempt))
    return found


def records(segment: Path) -> list[dict]:
    """What is in a segment, as wandb's own reader prints it; nothing where it was cut before its first record."""
    if not any(segment.glob("*.wandb")):
        return []
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(segment)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return [json.loads(line) for line in done.stdout.splitlines()]


def logged(rows: list[dict]) -> set[tuple[int, str]]:
    """The steps and names in the history of some records."""
    items = [row["history"]["item"] for row in rows if row["type"] == "history"]
    # A picture or a table is a group of keys, of which one is its type.
    return {(item[STEP], name.removesuffix("._type")) for item in items if STEP in item for name in item}
