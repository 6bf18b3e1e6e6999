"""What came of a search: study.yaml in its folder, and what is printed at the end."""

import shlex
import warnings
from pathlib import Path

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from denoiselab.files import replacing
from denoiselab.run import screen
from denoiselab.run.secrets import redacted

FILE = "study.yaml"
STYLES = {"completed": "green", "failed": "red", "pruned": "yellow", "refused": "yellow"}
FRONT = 5  # best trials of several objectives that are printed


def last(study) -> list:
    """The trials, without those that were tried again."""
    trials = study.get_trials(deepcopy=False)
    again = {trial.user_attrs.get("again") for trial in trials}
    return [trial for trial in trials if trial.number not in again]


def best(study) -> list:
    """The best trial, the earliest of equal ones; of several objectives all that none is better than in each."""
    done = [trial for trial in last(study) if trial.state.name == "COMPLETE"]
    signs = [1 if direction.name == "MINIMIZE" else -1 for direction in study.directions]
    scores = [tuple(sign * value for sign, value in zip(signs, trial.values, strict=True)) for trial in done]
    if len(signs) == 1:
        return [done[scores.index(min(scores))]] if done else []
    return [trial for trial, score in zip(done, scores, strict=True) if not any(beaten(score, by) for by in scores)]


def beaten(score: tuple, by: tuple) -> bool:
    """Is another at least as good in each objective, and better in one?"""
    return by != score and all(a <= b for a, b in zip(by, score, strict=True))


def command(search, trial) -> str:
    """What trains a trial again."""
    words = [word for word in [*search.fixed, *trial.user_attrs.get("words", [])] if redacted(word) == word]
    return shlex.join(["denoiselab", "train", *words])


def importance(search, study) -> dict[str, dict[str, float]]:
    """Of each parameter that all trials have, for each metric, by functional ANOVA (Hutter et al., 2014); nothing where
    it cannot be said."""
    import optuna

    found = {}
    for i, metric in enumerate(search.metrics):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                said = optuna.importance.get_param_importances(
                    study, target=lambda trial, i=i: trial.values[i],
                    evaluator=optuna.importance.FanovaImportanceEvaluator(seed=search.seed),
                )  # fmt: skip
        except (ValueError, RuntimeError):
            continue
        if said:
            found[metric] = {name: round(float(value), 4) for name, value in said.items()}
    return found


def said(search, study) -> dict:
    """All of it but what mattered, plain."""
    trials, chosen = last(study), best(study)
    counts: dict[str, int] = {}
    for trial in trials:
        state = trial.user_attrs.get("state", "running")
        counts[state] = counts.get(state, 0) + 1
    return {
        **search.said(), "n_trials": search.n_trials, "states": counts,
        "best": [{"trial": trial.number, **values(search, trial), "command": command(search, trial)}
                 for trial in chosen],
        "trials": [
            {"trial": trial.number, "state": trial.user_attrs.get("state", "running"), **values(search, trial),
             "words": [redacted(word) for word in trial.user_attrs.get("words", [])],
             "run": trial.user_attrs.get("run"), "why": trial.user_attrs.get("why") or None}
            for trial in trials
        ],
    }  # fmt: skip


def values(search, trial) -> dict:
    return {"values": dict(zip(search.metrics, trial.values, strict=True))} if trial.state.name == "COMPLETE" else {}


def write(folder: Path, found: dict) -> None:
    with replacing(folder / FILE) as temporary:
        text = yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=1000)
        temporary.write_text(text, encoding="utf-8")


# -- on the screen


def space(search) -> None:
    console = Console(highlight=False, soft_wrap=True)
    table = Table(header_style="bold")
    for name in ("key", "searched", "when"):
        table.add_column(name, overflow="fold")
    for axis in search.space.axes:
        table.add_row(escape(axis.key), escape(redacted(axis.text)), escape(" and ".join(map(str, axis.when))))
    console.print(table)


def show(search, folder: Path, found: dict) -> None:
    """The trials, the best first; what was refused or failed; the best again, and what mattered."""
    console = screen.console()
    front = {row["trial"] for row in found["best"]}
    first, sign = search.metrics[0], 1 if search.directions[0] == "minimize" else -1
    rows = sorted(found["trials"], key=lambda row: sign * row.get("values", {}).get(first, sign * float("inf")))
    columns = {
        "#": [str(row["trial"]) for row in rows],
        "trial": [" ".join(row["words"]) for row in rows],
        "state": [row["state"] for row in rows],
        **{name: [f"{row['values'][name]:.4g}" if "values" in row else "" for row in rows] for name in search.metrics},
    }
    styles = ["bold green" if row["trial"] in front else STYLES.get(row["state"], "") for row in rows]
    console.print(screen.fitting(columns, styles, console.width)[0])
    reasons: dict[str, list[int]] = {}
    for row in found["trials"]:
        if row["why"] and row["state"] != "completed":
            reasons.setdefault(f"{row['state']}: {row['why']}", []).append(row["trial"])
    for why, numbers in reasons.items():
        console.print(escape(f"#{', #'.join(map(str, numbers))} {why}"))
    console.print(", ".join(f"{n} {state}" for state, n in found["states"].items()))
    for metric, shares in found["importance"].items():
        words = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        console.print(escape(f"importance for {metric}: {words}"))
    if not front:
        console.print("no trial was completed, so none is the best")
    for row in found["best"][:FRONT]:
        numbers = ", ".join(f"{name} {value:.6g}" for name, value in row["values"].items())
        console.print(escape(f"best: #{row['trial']}, {numbers}\n  {row['command']}"))
    if len(found["best"]) > FRONT:
        console.print(f"and {len(found['best']) - FRONT} more that none is better than: see {FILE}")
    console.print(escape(f"the search: {folder / FILE}; denoiselab status {shlex.quote(str(folder))}"))
