"""`denoiselab list [group]`: every choice with one line each, from the configurations themselves."""

from rich.console import Console
from rich.markup import escape

from denoiselab.configuration import groups
from denoiselab.spec import Refused, near


def command(arguments: list[str]) -> None:
    known = {name: choices for name, choices in groups().items() if choices}
    if arguments and arguments[0] in ("-h", "--help"):
        print("denoiselab list [GROUP ...]: every choice of a group, or of all groups: " + ", ".join(known))
        return
    for name in arguments:
        if name not in known:
            raise Refused(f"there is no group {name!r}", name, near(name, known))
    console = Console(soft_wrap=True, highlight=False)
    for name in arguments or known:
        console.print(f"[bold]{name}[/bold]")
        width = max(map(len, known[name]))
        for choice, line in known[name].items():
            console.print(f"  [cyan]{choice:{width}}[/cyan]  {escape(line)}")
