"""What a search's folder says of itself, and the marks of trials that were stopped early. Imports neither torch nor
Optuna."""

import json
from pathlib import Path

from denoiselab.spec import Refused

STUDY = "study.json"


def study(folder: Path) -> dict:
    """What is searched in a folder, as `study.json` says it. Raises `Refused`."""
    try:
        said = json.loads((folder / STUDY).read_text(encoding="utf-8"))
        said["space"].keys(), said["pruner"]["name"], said["trials"] + 0
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as e:
        raise Refused(f"{folder / STUDY} cannot be read", e, "give the command of the search again") from e
    return said


def mark(folder: Path, fit: str) -> Path:
    """The file that says that a fit was stopped, and why."""
    return folder / "pruned" / f"{fit}.json"


def why(place: Path) -> str:
    """What a mark says; nothing where there is none."""
    try:
        return json.loads(place.read_text(encoding="utf-8"))["why"]
    except (OSError, ValueError, LookupError):
        return ""
