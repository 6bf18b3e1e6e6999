"""`denoiselab evaluate run=FOLDER [sampler=...] [steps=...] [guidance=...]`: scores of a finished run."""

from denoiselab.commands.arguments import guiding, parse, sampling
from denoiselab.spec import Refused, near

HELP = """denoiselab evaluate run=FOLDER [sampler=NAME] [steps=N] [sampler.KEY=VALUE] [grid=NAME] [grid.KEY=VALUE]
                    [guidance=NAME or weight] [guidance.KEY=VALUE]
                    [evaluation=NAME] [samples=N] [common_damage=NAME]
                    [split=test] [weights=best] [plugins=PACKAGE]

Scores a finished run, with its own sampler, guidance and metrics or others: evaluation=full has likelihoods too;
common_damage=masked_spans asks text of what it need not have been trained on. The table, summary.json and pictures go
to FOLDER/scores/; what was scored before is shown again, and nothing is trained. `denoiselab train` with another
sampler finds the same scores, so a sweep over samplers trains once."""
DEFAULTS = {"run": None, "sampler": None, "steps": int, "grid": None, "guidance": None, "evaluation": None,
            "samples": int, "common_damage": None, "split": "test", "weights": "best", "plugins": ""}  # fmt: skip
SPLITS = ("train", "val", "test")


def command(arguments: list[str]) -> None:
    if {"-h", "--help"} & {*arguments}:
        print(HELP)
        return
    asked = parse(arguments, DEFAULTS)
    if asked["split"] not in SPLITS:
        raise Refused("split is one of three", asked["split"], near(asked["split"], SPLITS))

    from denoiselab.run import report, rescoring
    from denoiselab.run.loaded import Run

    run = Run(asked["run"], asked["weights"], plugins=asked["plugins"].split(","))
    more = {} if asked["samples"] is None else {"samples": asked["samples"]}
    if asked["common_damage"]:
        more["damage"] = run.chosen("common_damage", asked["common_damage"], {})
    nodes = {
        "sampler": run.chosen("sampler", *sampling(asked)),
        "guidance": run.chosen("guidance", *guiding(asked)),
        "evaluation": run.chosen("evaluation", asked["evaluation"], asked["evaluation."] | more),
    }
    report.show(rescoring.scored(run, nodes, asked["split"], asked["weights"]))
