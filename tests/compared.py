"""What tests of comparisons share: finished runs that nobody trained, and what a page shows of them."""

import json

import yaml
from PIL import Image

from denoiselab.run import record

EVIL = "</script><script>window.broken=1</script><img src=x onerror=window.broken=1>{{script}}"
SCHEDULES, RATES, SEEDS = ("cosine", "linear", EVIL), ("0.0001", "0.001", "0.01"), (0, 1, 2)

BEST = {("linear", "0.01"): 15}  # of which step the best weights are, where it is not the last


def value(schedule, rate, seed):
    return 1 + SCHEDULES.index(schedule) + 0.3 * RATES.index(rate) + 0.05 * ((7 * seed + RATES.index(rate)) % 3)


def run(folder, schedule, rate, seed, end=20):
    (folder / "samples").mkdir(parents=True)
    typed = [f"schedule={schedule}", f"optimizer.lr={rate}", f"seed={seed}"]
    (folder / "overrides.yaml").write_text(yaml.safe_dump(typed))
    config = {"schedule": {"_target_": f"denoiselab.schedule.{schedule}", "steps": 9}, "optimizer": {"lr": float(rate)},
              "seed": seed, "monitor": {"name": "val/loss", "mode": "min"}, "plugins": []}  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    last = value(schedule, rate, seed)
    score = {"value": last, "n": 10, "split": "val", "extractor": None, "seed": 5}
    metrics = {"val/loss": score, "test/accuracy": score | {"value": 1 / last, "split": "test"}}
    code = {"version": "0.1.0", "source": "abcdef012345", "commit": "0123456789abcdef", "changed": True}
    steps = {"steps": end, "best_step": BEST.get((schedule, rate), end)}
    summary = {"metrics": metrics, "score": "0", "code": code, "seconds": 3.0, **steps}
    (folder / "summary.json").write_text(json.dumps(summary))
    log = record.Record(folder)
    for step in range(1, end + 1):
        spent = {"samples": 8 * step, "multiply_adds": 1000 * step, "seconds": 0.5 * step * (1 + seed)}
        log.write(step, {"train/loss": last + 1 / step, **spent})
        if step % 5 == 0:
            log.write(step, {"val/loss": last + 2 / step, **spent})
    Image.effect_noise((500 if seed == 0 else 40, 40), 60).save(folder / "samples" / "samples.png")
    (folder / "COMPLETED").touch()
    return folder


def column(tab, name="val/loss"):
    """The exact values in the table's rows of arms, from top to bottom."""
    return tab.ask(f"[...document.querySelectorAll('tr.arm-row td[data-column={json.dumps(name)}]')]"
                   ".map((cell) => Number(cell.dataset.value))")  # fmt: skip


def shown(tab):
    return tab.ask("[...document.querySelectorAll('tr.arm-row')].map((row) => DATA.arms[row.dataset.arm].label)")
