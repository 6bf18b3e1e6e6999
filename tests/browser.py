"""Headless Chromium, driven over its DevTools protocol through two pipes: nothing to install beside the browser."""

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage",
         "--no-first-run", "--no-default-browser-check", "--disable-extensions",
         "--remote-debugging-pipe")  # fmt: skip
KEYS = {"Enter": 13, "Tab": 9, "ArrowDown": 40, "ArrowUp": 38, "ArrowRight": 39}
PATIENCE = 60  # seconds for an answer
ALONE = ("file:", "data:")  # what a page that needs nothing else may ask for


def found() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """A tab. What goes wrong in it (console errors, exceptions, what its policy stopped) is in `errors`."""

    def __init__(self, reading: int, writing: int):
        self.reading, self.writing, self.buffer = reading, writing, b""
        self.numbers, self.session, self.errors, self.seen = itertools.count(1), None, [], []
        self.allowed = ALONE
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters) -> dict:
        number = next(self.numbers)
        said = {"id": number, "method": method, "params": parameters}
        os.write(
            self.writing, json.dumps(said | ({"sessionId": self.session} if self.session else {})).encode() + b"\0"
        )
        while (answer := self.next()).get("id") != number:
            self.note(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def next(self) -> dict:
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.reading], [], [], PATIENCE)
            assert ready, "the browser does not answer"
            more = os.read(self.reading, 1 << 20)
            assert more, "the browser is gone"
            self.buffer += more
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def note(self, event: dict) -> None:
        method, said = event.get("method"), event.get("params", {})
        self.seen.append(method)
        if method == "Runtime.exceptionThrown":
            self.errors.append(said["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.errors.append(str(said["args"]))
        elif method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.errors.append(said["entry"]["text"])
        elif method == "Network.requestWillBeSent" and not said["request"]["url"].startswith(self.allowed):
            self.errors.append(f"asked for {said['request']['url']}")

    def open(self, path: Path, width: int = 1366, height: int = 900) -> None:
        self.visit(path.resolve().as_uri(), width, height)

    def visit(self, url: str, width: int = 1366, height: int = 900) -> None:
        """Opens a page, which may ask its own server for more; a file may ask for nothing but files."""
        if not url.startswith("file:"):
            self.allowed = (*ALONE, "blob:", "/".join(url.split("/")[:3]))
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.seen.clear()
        self.call("Page.navigate", url=url)
        while "Page.loadEventFired" not in self.seen:
            self.note(self.next())

    def ask(self, expression: str):
        """What an expression gives, as JSON; promises are waited for."""
        said = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    def click(self, selector: str) -> None:
        """A true click of the pointer at the middle of what the selector finds."""
        x, y = self.ask(
            f"(() => {{ const node = document.querySelector({json.dumps(selector)});"
            "node.scrollIntoView({block: 'center', inline: 'center'}); const box = node.getBoundingClientRect();"
            "return [box.left + box.width / 2, box.top + box.height / 2]; })()"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def hover(self, selector: str) -> None:
        x, y = self.ask(
            f"(() => {{ const node = document.querySelector({json.dumps(selector)});"
            "node.scrollIntoView({block: 'center'}); const box = node.getBoundingClientRect();"
            "return [box.left + 4, box.top + 4]; })()"
        )
        self.point(x, y)

    def point(self, x: float, y: float) -> None:
        """The pointer moves there, in pixels of the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            more = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key], **more)

    def type(self, selector: str, text: str) -> None:
        """Types in place of what an input has, and waits until the page has drawn it."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.ask(f"{found}.focus(), {found}.select()")
        self.call("Input.insertText", text=text)
        self.ask("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def picture(self, path: Path, whole: bool = True, dark: bool = False) -> None:
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])  # fmt: skip
        said = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(said["data"]))


def away(descriptor: int) -> int:
    """The same file under a number that the browser's own do not need."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 20)
    os.close(descriptor)
    return moved


@contextmanager
def browser() -> Iterator[Page]:
    theirs_in, writing = map(away, os.pipe())
    reading, theirs_out = map(away, os.pipe())
    null = away(os.open(os.devnull, os.O_RDWR))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        actions = [(os.POSIX_SPAWN_DUP2, theirs_in, 3), (os.POSIX_SPAWN_DUP2, theirs_out, 4),
                   (os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1),
                   (os.POSIX_SPAWN_DUP2, null, 2)]  # fmt: skip
        program = found()
        pid = os.posix_spawn(program, [program, *FLAGS, f"--user-data-dir={home}"], os.environ | {"HOME": home},
                             file_actions=actions, setpgroup=0)  # fmt: skip
        try:
            os.close(theirs_in)
            os.close(theirs_out)
            yield Page(reading, writing)
        finally:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            for descriptor in (reading, writing, null):
                os.close(descriptor)
