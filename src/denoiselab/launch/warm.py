"""What the fork server imports, once. No tensor operation, no thread, no CUDA: see denoiselab.launch.server."""

import gc
import os
import signal

# NumPy's own threads would start at its import; the way to count GPUs without a context is NVML's.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

import PIL.Image
import sklearn.datasets  # noqa: F401
import wandb  # noqa: F401

import denoiselab.launch.child
import denoiselab.launch.judge  # noqa: F401
from denoiselab.run.signals import PREEMPTING

SERVER = os.getpid()


def heed() -> None:
    """A job ends at a signal until it knows better. The server ignores what a cluster sends to all processes."""
    if os.getppid() == SERVER:  # not what a job forks
        for number in PREEMPTING:
            signal.signal(number, signal.SIG_DFL)


os.register_at_fork(after_in_child=heed)
PIL.Image.preinit()  # the formats it reads

gc.collect()
gc.freeze()  # what is shared with the jobs stays shared
