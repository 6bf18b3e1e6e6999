"""No secret in a file. What counts as one: the value of an environment variable whose name says so (`HF_TOKEN`), what
stands beside such a name on a command line or in a configuration (`+hub.api_key=...`, `{password: ...}`), and the
password in a URL. Names are judged by how they end: `token` is a secret; `tokens`, `tokenizer`, `token_mask` are not.

In doubt too much is hidden: after a secret name an override is hidden to its end. A secret under a name that does not
say so, that is in no environment variable, cannot be known. Imports nothing heavy: it is asked before torch is.
"""

import os
import re
from collections.abc import Mapping

HIDDEN = "<redacted>"
SHORTEST = 8  # characters of an environment variable's value that is looked for in any text
NAME = re.compile(
    r"(api_?key|access_?key|private_?key|token|secret|password|passwd|passphrase|credentials?)$", re.IGNORECASE
)
NONE = ("", "null", "none", "~", "''", '""')  # how a value that is not there is written
OVERRIDE = re.compile(r"([+~-]*)([\w.@/-]+)(\s*=\s*)(.*)", re.DOTALL)
PAIR = re.compile(
    r"""(?P<head>["']?(?P<name>[\w.@/-]+)["']?\s*)"""
    r"""(?:(?P<equals>=\s*)|(?P<colon>:(?!//)\s*))"""
    r"""(?P<value>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[\[{(].*|(?(equals)[^\s,;&]+|[^,}\n]+))""",
    re.DOTALL,
)
URL = re.compile(r"([a-zA-Z][\w+.-]*://[^\s/:@]*:)[^\s/]+(?=@)")


def is_secret(name: str) -> bool:
    """Does a dotted key, or the name of an environment variable, say that its value is a secret?"""
    return NAME.search(re.split(r"[./@]", name)[-1].replace("-", "_")) is not None


def redacted(value: object, name: str = "") -> object:
    """A copy of plain dictionaries, lists and strings without secrets; `name` is the key that the whole stands under.
    What is no string is hidden under a secret name only; None, true, false and what is empty are no secrets."""
    return hidden(value, name, environment())


def environment() -> list[str]:
    """The values of the environment's secret variables, the longest first: one may hold another."""
    known = {secret for name, secret in os.environ.items() if is_secret(name) and len(secret) >= SHORTEST}
    # What the mark itself holds would be hidden again and again.
    return sorted((secret for secret in known if secret not in HIDDEN), key=lambda secret: (-len(secret), secret))


def hidden(value: object, name: str, known: list[str]) -> object:
    """As `redacted`, of an environment with these secrets."""
    if isinstance(value, Mapping):
        return {concealed(key, known): hidden(item, name if is_secret(name) else str(key), known)
                for key, item in value.items()}  # fmt: skip
    if isinstance(value, list | tuple):
        return type(value)(hidden(item, name, known) for item in value)
    if is_secret(name) and not isinstance(value, bool | None) and str(value).lower() not in NONE:
        return HIDDEN
    return text(value, known) if isinstance(value, str) else value


def text(line: str, known: list[str]) -> str:
    """A line without secrets: an override, a command, a URL, or words."""
    line = URL.sub(rf"\1{HIDDEN}", concealed(line, known))
    override = OVERRIDE.fullmatch(line)
    if override and is_secret(override[2]):
        return line if override[4].lower() in NONE else line[: override.start(4)] + HIDDEN
    return pairs(line)


def pairs(line: str) -> str:
    """The values beside secret names within a line: `name=value`, `name: value`, `"name": "value"`."""
    parts, here = [], 0
    while found := PAIR.search(line, here):
        if not is_secret(found["name"]):
            # The value may itself hold names.
            end = found.start("value")
            parts.append(line[here:end])
            here = end
            continue
        said = found["value"]
        quote = said[0] if said[0] in "\"'" and said[0] == said[-1] and len(said) > 1 else ""
        shown = said if said.strip().lower() in NONE else quote + HIDDEN + quote
        parts += [line[here : found.start("value")], shown]
        here = found.end("value")
    return "".join([*parts, line[here:]])


def concealed(value: object, known: list[str]) -> object:
    """A string without these secrets; anything else as it is."""
    if isinstance(value, str):
        for secret in known:
            value = value.replace(secret, HIDDEN)
    return value
