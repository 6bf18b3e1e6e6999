"""One letter wrong in every key, choice and word: all are refused, and the right name is among the three shown."""

import random
import re

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from mistakes import LETTERS, added, composed, judged, leaves, plain, planted, typed
from omegaconf import OmegaConf

from denoiselab import check
from denoiselab.configuration import explained, groups
from denoiselab.files import CONF
from denoiselab.names import SHOWN, choices, known, targets
from denoiselab.spec import Refused

ENOUGH = 0.95  # of the right names are shown


def mutations(word: str, seed: int = 0) -> list[str]:
    """One letter replaced, left out, put in, and swapped with its neighbor, at random."""
    draw = random.Random(f"{word} {seed}")
    i, j = draw.randrange(len(word)), draw.randrange(len(word) + 1)
    letter = draw.choice([c for c in LETTERS if c != word[i]])
    made = [word[:i] + letter + word[i + 1 :], word[:i] + word[i + 1 :], word[:j] + draw.choice(LETTERS) + word[j:]]
    swaps = [k for k in range(len(word) - 1) if word[k] != word[k + 1]]
    if swaps:
        k = draw.choice(swaps)
        made.append(word[:k] + word[k + 1] + word[k] + word[k + 2 :])
    return [m for m in made if m]


class Tally:
    """How many were refused, with the right name, without it; and which were no mistake."""

    def __init__(self):
        self.right, self.missed, self.accepted, self.valid = 0, [], [], []

    def judged(self, right: str, typed: str, refusal: Refused | None):
        if refusal is None:
            self.accepted.append(typed)
        elif right in shown(refusal):
            self.right += 1
        else:
            self.missed.append((typed, right, str(refusal)))

    def hold(self, least: int):
        n = self.right + len(self.missed) + len(self.accepted)
        print(f"\n{n} mistakes: {len(self.accepted)} accepted, right name shown in {self.right / n:.1%}; "
              f"{len(self.valid)} are names themselves")  # fmt: skip
        assert n >= least
        assert not self.accepted
        assert self.right / n >= ENOUGH, self.missed


def shown(refusal: Refused) -> list[str]:
    """The names that a fix offers, three at most."""
    names = re.split("[?;]", refusal.fix.partition("did you mean ")[2])[0].split(" or ")
    assert len(names) <= SHOWN, refusal.fix
    return names


# -- keys


def test_a_misspelt_key_is_refused_and_the_right_one_shown():
    tally = Tally()
    for key, number in {key: number for number, key, _ in leaves()}.items():
        for wrong in mutations(key):
            if wrong in known():
                tally.valid.append(wrong)
            else:
                tally.judged(key, wrong, typed(number, f"{wrong}=1"))
    tally.hold(500)


def is_name(number: int, key: str) -> bool:
    """Is a key no mistake: of the configurations, or an argument of the class at its place?"""
    above, _, last = key.rpartition(".")
    node = {**plain(number), "hydra": OmegaConf.to_container(composed(number).hydra, resolve=False)}
    for name in above.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    target = node.get("_target_") if isinstance(node, dict) else None
    return key in known() or (target is not None and last in check.arguments(target)[0])


def test_an_added_key_that_is_misspelt_is_refused_and_the_right_one_shown():
    tally = Tally()
    for key, (number, value) in {key: (number, value) for number, key, value in leaves()}.items():
        if key.startswith(("where.", "shown.", "asked.")) and added(number, key, value) is not None:
            continue  # read with corruption=damage alone
        for wrong in mutations(key, seed=1):
            if is_name(number, wrong):
                tally.valid.append(wrong)
            else:
                tally.judged(key, wrong, added(number, wrong, value))
    tally.hold(500)


# -- words


def test_a_misspelt_group_is_refused_and_the_right_one_shown():
    tally = Tally()
    for group in groups():
        for wrong in mutations(group):
            if wrong in known():
                tally.valid.append(wrong)
                continue
            choice = choices(group)[0]
            tally.judged(group, wrong, typed(0, f"{wrong}={choice}"))
            tally.judged(group, f"++{wrong}", added(0, wrong, choice))
    tally.hold(100)


CHOICES = [(group, choice) for group in (*groups(), "hydra/launcher", "hydra/sweeper") for choice in choices(group)]
CLASSES = {name for name in targets() if not name.startswith(("hydra_plugins.", "denoiselab.search."))}  # of sweeps
NO_CHOICE = "In 'train': Could not find '{}/{}'"


def test_a_misspelt_choice_is_refused_and_the_right_one_shown():
    tally = Tally()
    for group, choice in CHOICES:
        for wrong in mutations(choice):
            if wrong in choices(group):
                tally.valid.append(wrong)
            else:
                tally.judged(choice, wrong, explained(ValueError(NO_CHOICE.format(group, wrong)), []))
    tally.hold(300)


def test_hydra_says_in_these_words_that_there_is_no_choice():
    with initialize_config_dir(str(CONF), version_base="1.3"), pytest.raises(HydraException) as said:
        compose("train", ["schedule=cosin"])
    assert NO_CHOICE.format("schedule", "cosin") in str(said.value)


def test_a_misspelt_class_is_refused_and_the_right_one_shown():
    tally = Tally()
    for target, (number, key) in {str(value): (number, key) for number, key, value in leaves()}.items():
        if target not in CLASSES:
            continue
        for wrong in mutations(target):
            tally.judged(target, wrong, judged(number, key, wrong))
    tally.hold(150)


# Words that are one of a few; a new one is an entry.
WORDS = {
    "monitor.mode": ["min", "max"], "rerun": ["stale"], "invalid": ["refuse", "skip"],
    "trainer.precision": ["32-true", "16-mixed", "bf16-mixed", "bf16-true", "64-true"],
    "trainer.accelerator": ["auto", "cpu", "gpu"], "trainer.strategy": ["auto", "ddp", "fsdp", "deepspeed_stage_2"],
}  # fmt: skip


def test_a_misspelt_word_is_refused_and_the_right_one_shown():
    tally = Tally()
    for key, words in WORDS.items():
        for word in words:
            check.config(planted(plain(0), key.split("."), word))
            for wrong in mutations(word, seed=1):
                tally.judged(word, wrong, judged(0, key, wrong))
    tally.hold(60)
