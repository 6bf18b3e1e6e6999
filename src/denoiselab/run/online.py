"""May W&B go online? Only where a key is configured and the server answers: with a key and no network it would hang for
minutes and then raise."""

import netrc
import os
import socket
import threading
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

PATIENCE = 1.0  # seconds for a server to answer


def mode() -> str:
    """online, offline or disabled, as wandb's settings and the environment say, and as there is a way."""
    import wandb

    settings = wandb.setup().settings
    # The settings have seen the environment once, when they were made.
    asked = os.environ.get("WANDB_MODE") or settings.mode
    if asked in ("offline", "dryrun", "disabled"):
        return asked
    return "online" if has_key(settings) and answers(settings.base_url) else "offline"


def has_key(settings) -> bool:
    """Is a key configured: in the environment, in wandb's settings, or for its host in the netrc file?"""
    if settings.api_key or os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    files = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    host = urlsplit(settings.base_url).netloc
    for file in files:
        try:
            # api.wandb.ai is where keys of older clients are filed.
            known = netrc.netrc(os.path.expanduser(file)).hosts
        except (OSError, netrc.NetrcParseError):
            continue
        if host in known or "api.wandb.ai" in known:
            return True
    return False


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
