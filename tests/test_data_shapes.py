"""Captioned pictures: what is said of a picture is there, and captions are words and back."""

import pytest
import torch
from scipy import ndimage

from denoiselab.data import captions, shapes
from denoiselab.data.base import Identity
from denoiselab.spec import Refused

N = 600


@pytest.fixture(scope="module")
def data():
    return shapes.Shapes(Identity(), 64, train=N, val=40, test=50).load()


def named(truth, name):
    return truth[:, list(captions.ATTRIBUTES).index(name)]


def test_shapes_and_context_are_what_the_spec_says(data):
    spec = data.spec
    for split, n in (("train", N), ("val", 40), ("test", 50)):
        x, context = data.split(split)
        assert x.shape == (n, *spec.shape)
        assert x.dtype == torch.uint8
        assert set(context) == spec.context
        assert context["caption"].shape == context["caption_valid"].shape == (n, spec.caption)
        assert context["caption"].max() < spec.words == len(spec.spelled)
        assert all((named(context["truth"], name) < k).all() for name, k in captions.ATTRIBUTES.items())
        assert (context["truth"] >= 0).all()


def test_every_attribute_takes_all_its_values(data):
    for name, values in captions.ATTRIBUTES.items():
        assert named(data.train.context["truth"], name).unique().tolist() == list(range(values)), name


def test_captions_are_words_and_back_and_say_what_is_true(data):
    context = data.train.context
    said = data.captions.spoken(context)
    again = data.captions.written(said)
    assert all(torch.equal(again[name], context[name]) for name in again)
    assert torch.equal(data.captions.truth(context), context["truth"])
    assert len(set(said)) > N / 2
    for text in said[:50]:
        assert [captions.ID[word] for word in text.split()] == captions.parsed(f"  {text.upper()} ")


def test_an_eight_is_a_eight():
    assert captions.parsed("an eight") == captions.parsed("a eight")


def test_what_is_said_the_other_way_round_is_true_of_the_same_picture():
    a, b = "two red circles", "a blue five"
    for there, back in (("left of", "right of"), ("above", "below")):
        one, other = (captions.true(*captions.groups(text)) for text in (f"{a} {there} {b}", f"{b} {back} {a}"))
        assert one == other
        assert one != captions.true(*captions.groups(f"{b} {there} {a}"))


def test_groups_lie_where_they_are_said_to_in_their_colors(data):
    """In each half is one group's color alone."""
    palette = torch.tensor(list(shapes.COLORS.values())).float()
    palette = palette / palette.norm(dim=1, keepdim=True)
    truth, seen = data.train.context["truth"], 0
    for x, row in zip(data.train.x.float(), truth, strict=True):
        relation = int(row[3])
        halves = {0: (x,), 1: (x[:, :, :16], x[:, :, 16:]), 2: (x[:, :16], x[:, 16:])}[relation]
        colors = [int(row[1])] + ([int(row[5]) - 1] if relation else [])
        for half, color in zip(halves, colors, strict=True):
            ink = half.flatten(1).T
            ink = ink[ink.norm(dim=1) > 100]
            assert len(ink) >= 4
            assert ((ink @ palette.T).argmax(1) == color).all()
            seen += 1
    assert seen > N


def test_there_are_as_many_as_said(data):
    """Squares leave a gap between them."""
    truth, seen = data.train.context["truth"], set()
    square = captions.SHAPES.index("square")
    rows = ((named(truth, "shape") == square) & (named(truth, "relation") == 0)).nonzero()[:, 0]
    for row in rows:
        _, found = ndimage.label(data.train.x[row].amax(0).numpy() > 120)
        assert found == truth[row, 0] + 1
        seen.add(found)
    assert seen == {1, 2, 3}


def test_a_sample_does_not_depend_on_how_many_there_are(data):
    few = shapes.Shapes(Identity(), 64, train=20, val=3, test=3, n=7).load()
    assert torch.equal(few.train.x, data.train.x[:7])
    assert len(few.uncut.x) == 20
    assert all(torch.equal(value, data.train.context[name][:7]) for name, value in few.train.context.items())
    assert torch.equal(few.test.x, data.test.x[:3])
    assert not torch.equal(few.test.x, few.val.x)


@pytest.mark.parametrize("size", [16, 27, 64])
def test_any_size_holds_its_objects(size):
    data = shapes.Shapes(Identity(), 64, size=size, train=200, val=1, test=1).load()
    assert data.train.x.shape == (200, 3, size, size)
    assert (data.train.x.flatten(1).max(1).values > 100).all()


def test_outlines_cover_what_their_formulas_say():
    circle, square, triangle, cross = shapes.outlines(64).mean((1, 2)).tolist()
    assert circle == pytest.approx(torch.pi / 4, abs=1e-3)
    assert square == pytest.approx(0.88**2, abs=1e-2)
    assert triangle == pytest.approx(0.5, abs=1e-2)
    assert cross == pytest.approx(1 - 0.7**2, abs=1e-2)


@pytest.mark.parametrize(
    "text, words",
    [
        ("two red circels", ["circels", "circles", "GROUP left of GROUP"]),
        ("one elephant", ["no caption has", "captions are"]),
        ("a red circles", ["a green square"]),
        ("two sevens", ["sevens", "seven"]),
        ("two red circles left of", ["GROUP left of GROUP"]),
        ("a red circle left of two red circles", ["differ"]),
        ("", ["captions are"]),
    ],
)
def test_what_cannot_be_said_is_refused_with_what_can(text, words):
    with pytest.raises(Refused) as caught:
        captions.parsed(text)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("wrong", [{"size": 15}, {"train": 0}, {"batch_size": 0}, {"n": 0}])
def test_sizes_that_mean_nothing_are_refused(wrong):
    with pytest.raises(Refused):
        shapes.Shapes(Identity(), **{"batch_size": 8, **wrong})
