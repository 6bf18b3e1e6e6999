"""`denoiselab COMMAND ...`: chooses the command, and turns a mistake into one screen and an exit code.

Exit codes: 0 done, 1 failed, 2 refused before any work, 75 stopped and resumable, 130 interrupted.
"""

import importlib
import signal
import sys

from denoiselab.run.signals import INTERRUPTED, PREEMPTING
from denoiselab.spec import Failed, Refused, near

COMMANDS = {
    "train": "train a cell of the grid, or with -m a product of them",
    "sample": "make new samples with a finished run: run=FOLDER [n=64] [label=3] [guidance=3] [sampler=...]",
    "evaluate": "score a finished run: run=FOLDER [sampler=...] [steps=...] [guidance=...] [evaluation=full]",
    "restore": "denoise or complete pictures of your own: run=FOLDER input=PICTURE [noise=25] [mask=PICTURE]",
    "compare": "which arm won, over seeds, by how much: PATH... [by=KEY,KEY] [metric=NAME] [baseline=KEY=VALUE]",
    "status": "how a sweep stands, live: [SWEEP or FOLDER] [--once]",
    "sweep": "a sweep at W&B: export-wandb GROUP=CHOICE,CHOICE ... writes its sweep.yaml, workspace SWEEP its view",
    "show": "look before training (corruption=... data=...), or at a finished run (run=FOLDER)",
    "list": "every choice of every group, with one line each",
}
HELP = """denoiselab: experiments on denoising. A classical denoiser is a diffusion model whose schedule ignores time.

usage: denoiselab COMMAND [GROUP=CHOICE ...] [KEY=VALUE ...]

{commands}

examples:
  denoiselab train                                            the default: diffusion on digits, about a minute
  denoiselab train experiment=mdlm                            masked diffusion on text
  denoiselab train -m schedule=cosine,linear seed=0,1         a sweep of four
  denoiselab show experiment=denoising_autoencoder            a corruption, and one training step told
  denoiselab list experiment

denoiselab COMMAND --help says more."""


def main() -> None:
    code = run(sys.argv[1:])
    for number in PREEMPTING:  # the outcome is decided: a signal while Python shuts down must not change it
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """The exit code of a command line."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP.format(commands="\n".join(f"  {name:8} {line}" for name, line in COMMANDS.items())))
        return 0
    try:
        command, *rest = arguments
        if command not in COMMANDS:
            raise Refused(f"there is no command {command!r}", " ".join(arguments), near(command, COMMANDS))
        importlib.import_module(f"denoiselab.commands.{command}").command(rest)
    except Refused as e:
        print(f"refused: {e}", file=sys.stderr)
        return 2
    except Failed as e:
        print(f"failed: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as e:  # of a run that saved itself, or a sweep
        return e.code if isinstance(e.code, int) else int(e.code is not None)
    return 0
