"""Agreement: real samples agree as often as the judge is right, shuffled ones by chance; and wishes become context."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_metrics import evidence

from denoiselab.data.base import Identity
from denoiselab.data.captions import ATTRIBUTES
from denoiselab.data.image import Digits
from denoiselab.data.shapes import Shapes
from denoiselab.evaluation import extractor
from denoiselab.evaluation.asked import figure, records, spoken, wishes
from denoiselab.evaluation.evaluate import conditions
from denoiselab.evaluation.figures import GAP, drawn
from denoiselab.evaluation.metrics import agreement
from denoiselab.evaluation.metrics.agreement import Agreement
from denoiselab.sampler import Generates
from denoiselab.spec import Refused, Spec

PICTURES = Spec("image", (3, 16, 16), facts=frozenset({Generates}))
CAPTION = frozenset({"caption", "caption_valid"})


@pytest.fixture(scope="module")
def digits():
    return Digits(Identity(), 8).load()


@pytest.fixture(scope="module")
def shapes():
    return Shapes(Identity(), 8, size=16, train=64, val=2, test=30).load()


def floating(x):
    return x / 127.5 - 1


def made(data, asked, samples=None):
    samples = floating(data.test.x) if samples is None else samples
    return evidence(data.test.x[:1] / 127.5 - 1, samples=samples, data=data)._replace(asked=asked)


def test_real_digits_agree_as_often_as_the_classifier_is_right(digits):
    label = digits.test.context["label"]
    (name, value), = Agreement()(made(digits, {"label": label})).items()  # fmt: skip
    assert name == "agreement_label"
    assert value.n == len(label)
    assert f"(test accuracy {value.value:.3f})" in value.extractor
    assert value.value > 0.9
    (value,) = Agreement()(made(digits, {"label": (label + 1) % 10})).values()
    assert value.value < 0.1


def test_samples_that_are_not_numbers_agree_with_nothing(digits):
    samples = floating(digits.test.x)
    samples[3] = torch.nan
    (value,) = Agreement()(made(digits, {"label": digits.test.context["label"]}, samples)).values()
    assert value.value != value.value


@pytest.fixture
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(agreement, "STEPS", 40)
    monkeypatch.setattr(agreement, "BATCH", 48)
    monkeypatch.setenv("DENOISELAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_captions_are_judged_by_attribute(quick, shapes, monkeypatch):
    """On what the judge has learned by heart; by the test split's captions it is the judge's accuracy."""
    asked = {name: shapes.test.context[name] for name in CAPTION}
    values = Agreement()(made(shapes, asked))
    assert set(values) == {f"agreement_{name}" for name in (*ATTRIBUTES, "caption")}
    for name, value in values.items():
        assert value.n == 30
        assert f"(test accuracy {value.value:.3f})" in value.extractor, name
    monkeypatch.setattr(agreement, "train", lambda *_: pytest.fail("trained again"))
    asked = {name: shapes.train.context[name] for name in CAPTION}
    values = Agreement()(made(shapes, asked, floating(shapes.train.x)))
    assert values["agreement_caption"].value > 0.9
    said = shapes.captions.spoken(asked)
    other = shapes.captions.written(["three yellow crosses"] * len(said))
    values = Agreement()(made(shapes, other, floating(shapes.train.x)))
    for i, (name, true) in enumerate(zip(ATTRIBUTES, (2, 3, 3, 0, 0, 0, 0), strict=True)):
        share = (shapes.train.context["truth"][:, i] == true).double().mean().item()
        assert values[f"agreement_{name}"].value == pytest.approx(share, abs=0.1), name
    assert [path.name.partition("-")[0] for path in quick.iterdir()] == ["attributecnn"]


def test_the_judge_is_the_same_for_all_cuts_of_the_data(quick, shapes):
    judge, accuracy, name = agreement.attribute_judge(shapes)
    cut = replace(shapes, train=shapes.train.take(slice(9)))
    again, *same = agreement.attribute_judge(cut)
    assert same == [accuracy, name]
    assert all(torch.equal(a, b) for a, b in zip(judge.parameters(), again.parameters(), strict=True))


def test_the_features_are_those_of_the_classifier(digits):
    network, name = extractor.classifier(digits)
    features, same = extractor.small_classifier(digits)
    assert name == same
    x = digits.test.x[:9]
    assert torch.equal(network.features(x), features(x))
    assert network(x).shape == (9, 10)


@pytest.mark.parametrize(
    "spec, speaks",
    [
        (PICTURES._replace(asks=frozenset({"label"})), True),
        (PICTURES._replace(asks=CAPTION, context=CAPTION | {"truth"}), True),
        (PICTURES._replace(asks=CAPTION, context=CAPTION), False),
        (PICTURES, False),
        (PICTURES._replace(asks=frozenset({"label"}), facts=frozenset()), False),
        (PICTURES._replace(asks=frozenset({"label"}), kind="tokens"), False),
    ],
)
def test_it_speaks_where_something_that_can_be_checked_is_asked(spec, speaks):
    if speaks:
        assert Agreement().accepts(spec) == spec
    else:
        with pytest.raises(Refused):
            Agreement().accepts(spec)


# -- wishes


def test_labels_are_given_in_turn(digits):
    spec = digits.spec.having(asks=frozenset({"label"}))
    for wish, expected in ((3, [3] * 5), ([0, 7], [0, 7, 0, 7, 0]), (torch.tensor([1, 2, 3]), [1, 2, 3, 1, 2])):
        found = wishes(digits, spec, 5, {"label": wish})
        assert found["label"].tolist() == expected
        assert found["label"].dtype == torch.int64
        assert spoken(digits, found) == [str(label) for label in expected]
        assert records(digits, found) == [{"label": label} for label in expected]
    assert torch.equal(conditions(digits.test, spec, 400)["label"][300:], digits.test.context["label"][:100])


def test_captions_are_given_in_turn(shapes):
    spec, texts = shapes.spec.having(asks=CAPTION), ["a five", "Two red  circles"]
    found = wishes(shapes, spec, 3, {"caption": texts})
    assert spoken(shapes, found) == ["a five", "two red circles", "a five"]
    assert records(shapes, found)[1] == {"caption": "two red circles"}
    assert spoken(shapes, wishes(shapes, spec, 2, {"caption": "a five"})) == ["a five", "a five"]
    assert spoken(shapes, {}) == records(shapes, {}) == []


def test_wishes_that_cannot_be_are_refused(digits, shapes):
    told, captioned = digits.spec.having(asks=frozenset({"label"})), shapes.spec.having(asks=CAPTION)
    for data, spec, wish, word in (
        (digits, told, {"label": 10}, "0 to 9"),
        (digits, told, {"label": [-1]}, "0 to 9"),
        (digits, told, {"label": []}, "0 to 9"),
        (digits, told, {"label": [0.5]}, "0 to 9"),
        (digits, told, {"lable": 1}, "did you mean label"),
        (digits, told, {"caption": "a five"}, "caption"),
        (digits, digits.spec, {"label": 1}, "guidance=classifier"),
        (shapes, captioned, {"caption": "a fife"}, "five"),
        (shapes, captioned, {"caption": []}, "caption"),
        (shapes, captioned, {"label": 1}, "label"),
        (shapes, shapes.spec, {"caption": "a five"}, "conditioning"),
    ):
        with pytest.raises(Refused) as caught:
            wishes(data, spec, 4, wish)
        assert word in str(caught.value)


def test_pictures_of_a_wish_lie_in_a_row_in_the_order_of_labels(shapes):
    x, pixels = shapes.train.x[:6], 64
    image = figure(x, ["10", "9", "10", "9", "9", "10"])
    assert image.height == figure(x, ["9", "9", "9", "9", "9", "10"]).height > 2 * pixels
    assert image.height - figure(x, ["9"] * 6).height == pixels + GAP
    upper = image.crop((0, 0, image.width, image.height // 2))
    inside = [find(upper, drawn(picture)) for picture in x]
    assert inside == [False, True, False, True, True, False]


def find(image, part):
    """Is a picture somewhere in another?"""
    whole, part = (torch.from_numpy(np.array(i)).int() for i in (image, part))
    tiles = whole.unfold(0, part.shape[0], 1).unfold(1, part.shape[1], 1)
    return bool((tiles == part.permute(2, 0, 1)).flatten(2).all(2).any())


def test_different_wishes_are_written_below_their_pictures(shapes):
    one, two = ("a five", "two red circles left of three blue squares")
    short, long = (figure(shapes.train.x[:3], [f"{i} {words}" for i in range(3)]) for words in (one, two))
    assert short.width == long.width
    assert long.height > short.height > 64
