"""The contract between the parts: the fold, its facts, and refusals that say what, got and fix."""

import pickle
from typing import ClassVar

import pytest

from denoiselab.corruption import Additive, Markov, Reversible, TokenMask
from denoiselab.grid import even
from denoiselab.sampler import DDIM, Loop
from denoiselab.schedule import Constant, Linear, LinearBeta
from denoiselab.spec import Refused, Spec, about, compose, name, near
from denoiselab.times import OnGrid

IMAGE = Spec("image", (3, 8, 8))
# What a user can get wrong, and what the refusal must name.
MISTAKES = {
    "level": (lambda: Constant(-0.1), "level"),
    "betas": (lambda: LinearBeta(1000, 0.02, 1e-4), "linear_beta"),
    "beta_steps": (lambda: LinearBeta(0), "steps=0"),
    "grid_steps": (lambda: OnGrid(0), "times.steps"),
    "sampler_steps": (lambda: Loop(DDIM(), even, 0), "sampler.steps"),
    "eta": (lambda: DDIM(1.5), "eta"),
    "shares": (lambda: TokenMask(Linear(), 10, 0.8, 0.3), "swapped=0.8 kept=0.3"),
    "negative_share": (lambda: TokenMask(Linear(), 10, -0.1), "swapped"),
    "kind": (lambda: IMAGE.of(("tokens",), "somebody"), "tokens"),
    "missing_fact": (lambda: IMAGE.needs(Markov, "somebody", "use another"), "Markov"),
    "unwelcome_fact": (lambda: IMAGE.having(Markov).refuses(Markov, "somebody", "use another"), "Markov"),
}


class Notes:
    """A part that notes what it was asked, and adds a fact."""

    order: ClassVar[list] = []

    def __init__(self, label, *facts):
        self.label, self.facts = label, facts

    def accepts(self, spec):
        Notes.order.append((self.label, spec.facts))
        return spec.having(*self.facts, context=(self.label,))


class Refuses:
    def accepts(self, spec):
        raise Refused("no", 1, "do")


@pytest.mark.parametrize("mistake, word", MISTAKES.values(), ids=MISTAKES)
def test_refusals_say_what_got_and_fix_in_one_screen(mistake, word):
    with pytest.raises(Refused) as caught:
        mistake()
    e, lines = caught.value, str(caught.value).splitlines()
    assert isinstance(e, ValueError)
    assert lines[0] == e.what.splitlines()[0]
    assert f"  got: {e.got}" in lines
    assert f"  fix: {e.fix}" in lines
    assert word in str(e)
    assert e.what
    assert e.fix
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 200


@pytest.mark.parametrize("mistake, word", MISTAKES.values(), ids=MISTAKES)
def test_refusals_survive_pickling(mistake, word):
    """They cross from a job to the one who started it."""
    with pytest.raises(Refused) as caught:
        mistake()
    e = pickle.loads(pickle.dumps(caught.value))
    assert type(e) is Refused
    assert str(e) == str(caught.value)
    assert (e.what, e.got, e.fix) == (caught.value.what, caught.value.got, caught.value.fix)


def test_parts_are_asked_in_order_and_each_knows_what_was_agreed():
    Notes.order.clear()
    agreed = compose(IMAGE, Notes("a", Reversible), Notes("b", Markov), Notes("c"))
    assert Notes.order == [("a", frozenset()), ("b", {Reversible}), ("c", {Reversible, Markov})]
    assert agreed.facts == {Reversible, Markov}
    assert agreed.context == {"a", "b", "c"}


def test_the_first_refusal_ends_the_fold():
    Notes.order.clear()
    with pytest.raises(Refused, match="no"):
        compose(IMAGE, Notes("a"), Refuses(), Notes("never"))
    assert [label for label, _ in Notes.order] == ["a"]


def test_an_empty_fold_changes_nothing():
    assert compose(IMAGE) == IMAGE


def test_having_adds_and_leaves_the_former_as_it_was():
    more = IMAGE.having(Markov, context=("label",), classes=10)
    assert (more.facts, more.context, more.classes) == ({Markov}, {"label"}, 10)
    assert (IMAGE.facts, IMAGE.context, IMAGE.classes) == (frozenset(), frozenset(), 0)
    assert more.having(Additive, context=("valid",)).facts == {Markov, Additive}


def test_what_is_there_is_not_refused():
    spec = IMAGE.having(Markov)
    assert spec.needs(Markov, "somebody", "-") is spec
    assert IMAGE.refuses(Markov, "somebody", "-") is IMAGE
    assert IMAGE.of(("tokens", "image"), "somebody") is IMAGE


def test_a_missing_fact_is_explained_and_the_known_ones_are_listed():
    with pytest.raises(Refused) as caught:
        IMAGE.having(Reversible, Additive).needs(Markov, Linear(), "use another")
    assert caught.value.what == f"Linear needs Markov: {about(Markov)}"
    assert caught.value.got == "Additive, Reversible"


@pytest.mark.parametrize(
    "word, hint",
    [
        ("cosin", "did you mean cosine?"),
        ("liner", "did you mean linear"),
        ("LINEAR_BETA_", "choose one of cosine, exploding, linear, linear_beta"),
        ("zzz", "choose one of cosine, exploding, linear, linear_beta"),
    ],
)
def test_near_names_are_hinted_at(word, hint):
    assert near(word, ["linear", "cosine", "exploding", "linear_beta"]).startswith(hint)


def test_the_nearest_name_comes_first():
    assert near("linear_bet", {"linear", "cosine", "linear_beta"}).startswith("did you mean linear_beta")


def test_names_of_parts_and_facts():
    assert name(Linear()) == "Linear"
    assert name(even) == "even"
    assert about(Reversible) == "there is a way back, p(x_s | x_t), given a belief about clean x"
    assert about(type("Silent", (), {})) == ""
