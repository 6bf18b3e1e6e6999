"""`denoiselab status [SWEEP or FOLDER] [--once]`: how a sweep stands, from its files alone."""

import time
from pathlib import Path

from denoiselab.spec import Refused

HELP = """denoiselab status [SWEEP or FOLDER] [--once]

A table that moves: the state of each cell of a sweep, how far those that run are, steps a second, how long it takes to
the end, and the best so far. SWEEP is the folder that train -m printed, FOLDER one that has sweeps: outputs/NAME, or
outputs (the default); the one that was worked on last is shown. Ctrl-C leaves it, and changes nothing of the sweep;
with --once, or where the output is no terminal, it is printed once. From any machine that sees the files.

States: pending, running, completed; failed (--retry failed in the sweep's command runs it again); preempted (the same
command goes on from what was saved)."""
PAUSE = 1.0  # seconds between two looks
MARGIN = 12  # lines of the screen that are not cells


def command(arguments: list[str]) -> None:
    if {"-h", "--help"} & {*arguments}:
        print(HELP)
        return
    paths = [word for word in arguments if word != "--once"]
    if paths and "=" in paths[0] and not Path(paths[0]).exists():
        fix = f"denoiselab status {paths[0].partition('=')[2] or 'outputs'}"
        raise Refused("status takes a folder as it is, without a key", paths[0], fix)
    if len(paths) > 1 or any(word.startswith("-") for word in paths):
        raise Refused("status takes one folder, and --once", " ".join(arguments), "denoiselab status --help says more")

    from denoiselab.launch import plan
    from denoiselab.launch.standing import Sweep
    from denoiselab.run import screen

    path = Path(paths[0] if paths else "outputs")
    if not (found := plan.found(path)):
        fix = "give the folder that train -m printed, or outputs/NAME"
        raise Refused("there is no sweep in this folder", path, fix)
    console, sweep = screen.console(), Sweep(found[0])
    if "--once" in arguments or not console.is_terminal:
        console.print(sweep.shown(console.width))
    else:
        watched(console, sweep)
    for other in found[1:4]:
        console.print(f"another sweep: {other}", markup=False)


def watched(console, sweep) -> None:
    """Until nobody works on it, or Ctrl-C."""
    console.soft_wrap = False  # what is drawn over must know its lines
    from rich.live import Live

    def rows() -> int:
        return max(console.height - MARGIN, 3)

    try:
        with Live(sweep.shown(console.width, rows()), console=console, auto_refresh=False) as live:
            while sweep.live:
                time.sleep(PAUSE)
                sweep.look()
                live.update(sweep.shown(console.width, rows()), refresh=True)
    except KeyboardInterrupt:
        pass
