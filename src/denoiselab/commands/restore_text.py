"""`denoiselab restore run=FOLDER input=letter.txt output=corrected.txt`: a finished run on a text of one's own."""

import difflib
import re
from itertools import islice
from pathlib import Path

from denoiselab.commands.arguments import sampling, wished
from denoiselab.spec import Refused

PICTURES_ONLY = ("mask", "noise")
LISTED = 200  # pieces of a diff on the screen
WORD = re.compile(r"\s+|\w+|[^\w\s]")


def command(run, asked: dict) -> None:
    """Writes the restored text, and shows what changed."""
    from rich.console import Console

    from denoiselab.commands.progress import bar
    from denoiselab.files import replacing
    from denoiselab.run import rewriting

    if given := [key for key in PICTURES_ONLY if asked[key] is not None]:
        raise Refused("this run restores text", f"{given[0]}={asked[given[0]]}", f"leave {given[0]}= out")
    (name, arguments), wish = sampling(asked), wished(asked)
    sampler, source = run.sampler(name, **arguments), Path(asked["input"])
    letter = rewriting.letter(source)
    default = run.folder / "samples" / f"restored-{source.stem}-seed{asked['seed']}.txt"
    target = Path(asked["output"]) if asked["output"] else default
    if target.is_dir():
        target = target / source.name
    if target.exists() or target.resolve() == source.resolve():
        raise Refused("nothing is written over", f"{target} is there", "give another file: output=FILE")
    there = next(place for place in target.absolute().parents if place.exists())
    if not there.is_dir():
        raise Refused(f"{target} cannot be made", f"{there} is a file", "give another file: output=FILE")
    rewriting.accepts(run, sampler, letter.text, **wish)
    with bar(-(-len(letter.text) // run.spec.shape[0]), "restoring") as pulse:
        found = rewriting.restored(run, letter.text, sampler, asked["seed"], lambda n: [pulse() for _ in range(n)],
                                   **wish)  # fmt: skip
    with replacing(target) as temporary:
        temporary.write_bytes(letter.spelled(found.text).encode())
    console = Console(highlight=False, soft_wrap=True, markup=False)
    changed = [(line, *pair) for line, pair in numbered(found.pieces) if pair[0] != pair[1]]
    for line, before, after in islice(changed, LISTED):
        console.print(difference(line, before, after, console.color_system is not None))
    if len(changed) > LISTED:
        console.print(f"... and {len(changed) - LISTED} more", style="dim")
    for note in notes(found, letter):
        console.print(f"note: {note}")
    written = sum(not before.isspace() for before, _ in found.pieces)
    console.print(f"{len(changed)} of {written} pieces changed: {target}")


def numbered(pieces):
    """(the line a piece begins in, the piece)."""
    line = 1
    for before, after in pieces:
        yield line, (before, after)
        line += before.count("\n")


def notes(found, letter) -> list[str]:
    said = []
    if found.copied:
        some = " ".join(repr(c) for c, _ in found.copied.most_common(5))
        said.append(f"{found.copied.total()} characters of {len(found.copied)} kinds are not known to the model and "
                    f"were copied: {some}")  # fmt: skip
    if found.left:
        said.append(f"{found.left} pieces are as they were: the answer was no text, had no end, or lacked what had "
                    "to be copied")  # fmt: skip
    if found.respelled:
        said.append(f"{found.respelled} pieces are spelled as the run's tokenizer does, which does not give them back "
                    "as they were")  # fmt: skip
    if letter.marks:
        said.append("kept a byte order mark" if letter.marks == 1 else f"kept {letter.marks} byte order marks")
    return said


def difference(line: int, before: str, after: str, colored: bool = True):
    """What was removed, red, and what was added, green, in a piece that begins in a line. Where there are no colors
    the two are [-removed-] and {+added+}."""
    from rich.text import Text

    from denoiselab.evaluation.figures.text import visible

    text = Text(f"{line:>5}  ", "dim")
    old, new = WORD.findall(before), WORD.findall(after)
    for how, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if how == "equal":
            text.append(visible("".join(old[a:b])))
            continue
        for words, style, begin, end in ((old[a:b], "red strike", "[-", "-]"), (new[c:d], "bold green", "{+", "+}")):
            said = visible("".join(words))
            text.append(said if colored or not said else f"{begin}{said}{end}", style)
    return text
