"""A rank of a job whose other ranks somebody else starts: a cluster, as tasks of one job, maybe on several nodes.

The first task is the driver of its cell (denoiselab.launch.worker). It says in a file where the ranks meet, and who
drives; the others train for as long as that driver holds its lease, and leave their exit codes beside it. Imports no
torch."""

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from denoiselab.files import write_json
from denoiselab.run.signals import PREEMPTED

LOOK = 0.2  # seconds between two looks at a file
LOST = -9  # the code of a rank that ended without a word


class Seat(NamedTuple):
    """One rank of `ranks`, the `local` one on node number `node`. Its job's files in `folder` begin with `job`, which
    names this start of it."""

    rank: int
    local: int
    node: int
    ranks: int
    folder: Path
    job: str
    address: str = ""
    port: int = 0

    @property
    def environment(self) -> dict[str, str]:
        said = {
            "RANK": self.rank, "LOCAL_RANK": self.local, "NODE_RANK": self.node, "WORLD_SIZE": self.ranks,
            "MASTER_ADDR": self.address, "MASTER_PORT": self.port,
        }  # fmt: skip
        return {name: str(value) for name, value in said.items()}

    def code(self, rank: int) -> Path:
        return self.folder / f"{self.job}.{rank}"

    @property
    def meeting(self) -> Path:
        return self.folder / f"{self.job}.json"

    def called(self, driver: str, nodes: int) -> "Seat":
        """The first rank's, who calls the others: where to meet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        address = socket.gethostname() if nodes > 1 else "127.0.0.1"
        write_json(self.meeting, {"driver": driver, "address": address, "port": port})
        return self._replace(address=address, port=port)

    def dismiss(self) -> None:
        """Says to the others that there is nothing to do; or tidies up after all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.meeting, {"driver": None})

    def met(self, patience: float) -> tuple["Seat", str | None]:
        """Waits for the first rank's call: the seat, and the driver, None where there is nothing to do."""
        until = time.monotonic() + patience
        while time.monotonic() < until:
            with suppress(OSError, ValueError):
                said = json.loads(self.meeting.read_text(encoding="utf-8"))
                if said["driver"] is None:
                    return self, None
                return self._replace(address=said["address"], port=said["port"]), said["driver"]
            time.sleep(LOOK)
        return self, None

    def leave(self, code: int) -> None:
        """How this rank ended, for the first one."""
        with suppress(OSError):
            write_json(self.code(self.rank), code)

    def found(self, rank: int) -> int | None:
        try:
            return json.loads(self.code(rank).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    @property
    def others(self) -> range:
        """Whom this one hears of: the first rank of all the others."""
        return range(1, self.ranks if self.rank == 0 else 1)

    def lost(self) -> bool:
        """Has another rank failed?"""
        return any(self.found(rank) not in (None, 0, PREEMPTED) for rank in self.others)

    def codes_of_others(self, patience: float) -> list[int]:
        until = time.monotonic() + patience
        while any(self.found(rank) is None for rank in self.others) and time.monotonic() < until:
            time.sleep(LOOK)
        return [LOST if (code := self.found(rank)) is None else code for rank in self.others]

    def tidy(self) -> None:
        for file in (self.meeting, *map(self.code, self.others)):
            with suppress(OSError):
                os.unlink(file)
