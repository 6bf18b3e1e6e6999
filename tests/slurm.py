"""A real Slurm of one node on this machine, for tests: `python tests/slurm.py` installs it, where it can (root, apt),
starts it, and prints what to put into the environment; `python tests/slurm.py stop` ends what it started. The
configuration and all state lie in a folder of its own: /etc/slurm is not touched. `running()` starts what is installed,
and is used by the tests: they use no network."""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "munge", "slurm-client")
HOME = Path(os.environ.get("DENOISELAB_SLURM", Path(tempfile.gettempdir()) / "denoiselab-slurm"))
MUNGE = "/run/munge/munged.pid"
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort=6827
SlurmdPort=6828
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=5
AuthInfo=cred_expire=5
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


class Unavailable(Exception):
    """Why there is no Slurm here, in words."""


def running() -> dict[str, str]:
    """Starts Slurm if it does not run: what a command needs in its environment. Raises `Unavailable`."""
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name, path=path())]
    if missing:
        raise Unavailable(
            f"no Slurm here ({', '.join(missing)} not found): python tests/slurm.py, as root, installs it"
        )
    if os.geteuid():
        raise Unavailable("only root starts Slurm")
    HOME.mkdir(parents=True, exist_ok=True)
    environment = {"SLURM_CONF": str(HOME / "slurm.conf")}
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not answers(environment):
            start(environment)
    return environment


def path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def call(*words: str, **environment: str) -> subprocess.CompletedProcess:
    everything = {**os.environ, "PATH": path(), **environment}
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=120, env=everything, close_fds=True)
    except subprocess.TimeoutExpired as e:
        raise Unavailable(f"{words[0]} does not answer") from e


def answers(environment: dict[str, str]) -> bool:
    """Is there a node that takes jobs?"""
    if not Path(environment["SLURM_CONF"]).is_file():  # Slurm's commands would look for it for a minute
        return False
    said = call("sinfo", "--noheader", "--format=%T", **environment)
    return said.returncode == 0 and any(word in said.stdout for word in ("idle", "mixed", "allocated"))


def start(environment: dict[str, str]) -> None:
    for name in ("state", "spool"):
        (HOME / name).mkdir(exist_ok=True)
    host = socket.gethostname().partition(".")[0]
    cpus = max(os.cpu_count() or 1, 2)  # two ranks
    (HOME / "slurm.conf").write_text(CONF.format(host=host, home=HOME, cpus=cpus), encoding="utf-8")
    if call("munge", "-n").returncode:
        for name in ("/run/munge", "/var/log/munge", "/var/lib/munge"):
            Path(name).mkdir(parents=True, exist_ok=True)
            shutil.chown(name, "munge", "munge")
        call("runuser", "-u", "munge", "--", "munged", f"--pid-file={MUNGE}")
        with suppress(OSError):
            shutil.copy(MUNGE, HOME / "munged.pid")
    for daemon in ("slurmctld", "slurmd"):
        said = call(daemon, **environment)
        if said.returncode:
            raise Unavailable(f"{daemon} does not start: {said.stdout}{said.stderr}")
    until = time.monotonic() + 60
    while not answers(environment):
        if time.monotonic() > until:
            raise Unavailable(f"Slurm does not answer: see {HOME}/slurmctld.log and slurmd.log")
        time.sleep(0.2)


def stop() -> None:
    """Cancels all jobs, and ends the daemons that `start` started."""
    environment = {"SLURM_CONF": str(HOME / "slurm.conf")}
    if not os.geteuid() and HOME.is_dir() and answers(environment):
        call("scancel", f"--user={os.getuid()}", **environment)
        until = time.monotonic() + 30
        while call("squeue", "--noheader", **environment).stdout and time.monotonic() < until:
            time.sleep(0.2)
    for daemon in ("slurmd", "slurmctld", "munged"):
        with suppress(OSError, ValueError):
            pid = int((HOME / f"{daemon}.pid").read_text(encoding="utf-8"))
            if Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() == daemon:  # and no other of its number
                os.kill(pid, signal.SIGTERM)
            (HOME / f"{daemon}.pid").unlink(missing_ok=True)


def install() -> None:
    """What is missing, by apt."""
    if shutil.which("slurmctld", path=path()) and shutil.which("munged", path=path()):
        return
    if os.geteuid() or not shutil.which("apt-get"):
        raise Unavailable("Slurm is installed by root, with apt")
    for words in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", *PACKAGES]):
        try:
            said = subprocess.run(["apt-get", *words], capture_output=True, text=True, timeout=600,
                                  env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})  # fmt: skip
        except subprocess.TimeoutExpired as e:
            raise Unavailable(f"apt-get {words[0]} does not end") from e
        if said.returncode:
            raise Unavailable(f"apt-get {words[0]} failed: {(said.stderr or said.stdout).strip()[-300:]}")


if __name__ == "__main__":
    try:
        if sys.argv[1:] == ["stop"]:
            stop()
            sys.exit()
        install()
        for name, value in running().items():
            print(f"export {name}={value}")
    except Unavailable as e:
        sys.exit(f"no Slurm: {e}")
