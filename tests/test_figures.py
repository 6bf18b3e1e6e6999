"""Figures: every picture is there, unchanged and in its place; inputs stay as they were; files are whole."""

import math

import pytest
import torch
from PIL import Image, ImageChops
from sklearn.datasets import load_digits

from denoiselab.evaluation import figures

TEXT = list("to be or not\nto be")
TOUCHED = [i % 4 == 0 for i in range(len(TEXT))]
SHOWN = ["_" if touched else c for c, touched in zip(TEXT, TOUCHED, strict=True)]
ANSWER = [*TEXT[:4], "x", *TEXT[5:]]


def pictures(n: int = 10, channels: int = 1) -> torch.Tensor:
    x = torch.from_numpy(load_digits().images[:n] * (255 / 16)).round().to(torch.uint8)[:, None]
    return torch.cat((x, 255 - x, x.flip(-1)), 1)[:, :channels]


def spiral(n: int = 500) -> torch.Tensor:
    angle = torch.linspace(0, 9, n)
    return torch.stack((angle.cos() * angle, angle.sin() * angle), 1) / 9


def trajectory(x: torch.Tensor) -> list:
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return [(f"t {t:.2f}", (x + 50 * t * noise).clamp(0, 255).to(x.dtype) if x.ndim == 4 else x + t * noise, x)
            for t in (1.0, 0.5, 0.0)]  # fmt: skip


def severities(x: torch.Tensor) -> list:
    draw = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    return [(f"severity {s}", x, x, draw < s, x) for s in (0, 0.25, 0.5, 0.75, 1)]


def colors(image: Image.Image) -> torch.Tensor:
    return torch.tensor(list(image.tobytes())).reshape(image.height, image.width, 3)


def holds(image: Image.Image, picture: torch.Tensor, left: int, top: int, scale: int) -> bool:
    """Is the picture at this place, each of its pixels `scale` wide?"""
    _, h, w = picture.shape
    part = colors(image.crop((left, top, left + w * scale, top + h * scale)))
    true = picture.expand(3, h, w).repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    return torch.equal(part, true.movedim(0, -1).long())


# -- pictures


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("columns", [1, 4, 8, 20])
def test_a_grid_holds_every_picture_in_reading_order(channels, columns):
    x = pictures(10, channels)
    image, scale = figures.grid(x, columns), 8
    pitch = 8 * scale + figures.GAP
    for i, picture in enumerate(x):
        row, column = divmod(i, min(columns, 10))
        assert holds(image, picture, figures.MARGIN + column * pitch, figures.MARGIN + row * pitch, scale)


def test_small_pictures_are_enlarged_by_a_whole_number():
    assert figures.drawn(torch.zeros(1, 8, 8, dtype=torch.uint8)).size == (64, 64)
    assert figures.drawn(torch.zeros(3, 28, 28, dtype=torch.uint8)).size == (84, 84)
    assert figures.drawn(torch.zeros(3, 321, 481, dtype=torch.uint8)).size == (481, 321)
    assert figures.drawn(torch.zeros(1, 8, 8, dtype=torch.uint8), 2).size == (16, 16)


FIGURES = {
    "grid": figures.grid,
    "rows": lambda x: figures.rows({"clean": x, "corrupted": x, "restored": x}),
    "trajectory": lambda x: figures.trajectory(trajectory(x)),
    "severities": lambda x: figures.severities(severities(x)),
}


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("x", [pictures(), pictures(channels=3), spiral()], ids=["gray", "color", "points"])
def test_figures_leave_their_input_alone_and_have_a_white_margin(figure, x):
    before = x.clone()
    image = FIGURES[figure](x)
    assert torch.equal(before, x)
    shown = colors(image)
    edge = torch.cat([part.flatten(0, 1) for part in (shown[:6], shown[-6:], shown[:, :6], shown[:, -6:])])
    assert bool((edge == 255).all())
    assert bool((shown[6:-6, 6:-6] < 100).any())


@pytest.mark.parametrize("name", ["clean", "corrupted", "restored"])
def test_a_changed_picture_changes_its_cell_of_the_rows_alone(name):
    named = {n: pictures() for n in ("clean", "corrupted", "restored")}
    changed = named | {name: named[name].clone()}
    changed[name][2] = 255 - changed[name][2]
    left, top, right, bottom = ImageChops.difference(figures.rows(named), figures.rows(changed)).getbbox()
    assert (right - left, bottom - top) == (64, 64)
    row = list(named).index(name)
    assert (top - figures.MARGIN) // (64 + figures.GAP) == row
    assert holds(figures.rows(changed), changed[name][2], left, top, 8)


def test_a_trajectory_has_a_column_a_frame_and_a_block_a_sample():
    frames = trajectory(pictures())
    one, two = (figures.trajectory(frames, samples=n) for n in (1, 2))
    assert one.width == two.width
    assert two.height - one.height == 2 * (64 + figures.GAP) + 3 * figures.GAP
    longer = figures.trajectory([*frames, frames[-1]], samples=1)
    assert longer.width - one.width == 64 + figures.GAP
    # Below each x_t lies its belief, which here is the clean picture.
    label = one.width - figures.MARGIN - 3 * (64 + figures.GAP) + figures.GAP
    top = one.height - figures.MARGIN - 64
    assert all(holds(one, pictures()[0], label + i * (64 + figures.GAP), top, 8) for i in range(3))


def test_what_was_touched_is_dark():
    touched = torch.zeros(1, 3, 4, 4, dtype=torch.bool)
    touched[0, 1, 2, 3] = True
    shade = figures.shade(touched)
    assert shade.shape == (1, 1, 4, 4)
    assert (shade < 128).nonzero().tolist() == [[0, 0, 2, 3]]


# -- points


def darkness(points, **options) -> torch.Tensor:
    image = figures.scatter(torch.tensor(points).float(), size=100, **options)
    return 255 - colors(image)[:80, :90, 0]  # without the scale, which is written at the lower right


@pytest.mark.parametrize("at", [(0.5, 0.5), (-0.5, 0.5), (-0.5, 0.0), (0.25, -0.1)])
def test_a_point_lies_where_it_is(at):
    shown = darkness([at], limit=1.0).nonzero().float().mean(0)
    assert shown.tolist() == pytest.approx([50 * (1 - at[1]), 50 * (1 + at[0])], abs=2)


def test_more_points_are_darker_and_what_is_far_lies_on_the_edge():
    one, many = darkness([(0, 0)], limit=1.0), darkness([(0, 0)] * 9, limit=1.0)
    assert many.max() > one.max() > 0
    assert darkness([(0, 1000.0)], limit=1.0).nonzero()[:, 0].max() < 5
    assert not darkness([(math.nan, 0), (math.inf, 0)], limit=1.0).any()
    assert not darkness([(math.nan, 0)]).any()


# -- files


@pytest.mark.parametrize("x", [pictures(), pictures(channels=3), spiral()], ids=["gray", "color", "points"])
def test_an_animation_has_a_frame_a_move_and_keeps_its_size(tmp_path, x):
    before = x.clone()
    figures.animation(trajectory(x), tmp_path / "new" / "a.gif", milliseconds=70)
    assert torch.equal(before, x)
    with Image.open(tmp_path / "new" / "a.gif") as image:
        shown = []
        for i in range(image.n_frames):
            image.seek(i)
            shown.append(image.info["duration"])
    assert shown == [70, 70, 2000]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.gif"]


def test_a_curve_is_a_picture(tmp_path):
    ys = {"ddim": [3.0, 2.0, math.nan], "heun": [2.0, 1.5, 1.4]}
    figures.curve([1, 2, 5], ys, "steps", "fd_smallcnn", tmp_path / "curve.png")
    figures.curve([1, 2, 5], {"heun": ys["heun"]}, "steps", "fd_smallcnn", tmp_path / "one.png")
    with Image.open(tmp_path / "curve.png") as two, Image.open(tmp_path / "one.png") as one:
        assert two.size == one.size == (960, 600)
        assert ImageChops.difference(two.convert("RGB"), one.convert("RGB")).getbbox()


def test_a_saved_picture_is_what_was_drawn(tmp_path):
    image = figures.grid(pictures())
    figures.save(image, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as read:
        assert read.tobytes() == image.tobytes()


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path, monkeypatch):
    image = figures.grid(pictures())
    figures.save(image, tmp_path / "grid.png")
    before = (tmp_path / "grid.png").read_bytes()

    def half(self, path, **options):
        path.write_bytes(before[:50])
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="no space"):
        figures.save(image, tmp_path / "grid.png")
    assert (tmp_path / "grid.png").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


# -- text


def test_damage_is_colored_by_how_it_was_restored():
    text = figures.damaged(TEXT, SHOWN, ANSWER, TOUCHED)
    lines = text.plain.splitlines()
    assert [line[:10].strip() for line in lines] == ["clean", "corrupted", "restored"]
    assert [line[10:] for line in lines] == ["".join(x).replace("\n", "↵") for x in (TEXT, SHOWN, ANSWER)]
    styled = {style: [text.plain[s.start : s.end] for s in text.spans if s.style == style] for style in
              (figures.TOUCHED, figures.RIGHT, figures.WRONG)}  # fmt: skip
    assert styled[figures.TOUCHED] == [*"te", " ", "↵", "b", *"_____"]
    assert styled[figures.RIGHT] == ["t", " ", "↵", "b"]
    assert styled[figures.WRONG] == ["x"]


def test_brackets_stand_around_runs_of_touched_tokens():
    words = ["the", "cat", "sat", "on"]
    columns, rows = figures.text_rows(
        [words],
        [["the", "_", "_", "on"]],
        [["the", "cat", "ran", "on"]],
        [torch.tensor([False, True, True, False])],
        " ",
    )
    assert columns == ["clean", "corrupted", "restored", "touched", "right"]
    assert rows == [["the [cat sat] on", "the [_ _] on", "the [cat] {ran} on", 2, 1]]


def test_special_tokens_have_no_brackets_but_their_own():
    clean, seen, said = ["a", "b", "c", "["], ["[MASK]", "[MASK]", "x", "["], ["a", "b", "c", "["]
    _, (row,) = figures.text_rows([clean], [seen], [said], [[True, True, True, True]])
    assert row[1] == "[MASK][MASK][x[]"
    assert row[:1] + row[2:] == ["[abc[]", "[abc[]", 4, 4]


def test_texts_without_their_brackets_are_the_texts():
    _, ((*texts, touched, right),) = figures.text_rows([TEXT], [SHOWN], [ANSWER], [TOUCHED])
    for text, true in zip(texts, (TEXT, SHOWN, ANSWER), strict=True):
        assert text.translate(str.maketrans("", "", "[]{}")) == "".join(true).replace("\n", "↵")
    assert (touched, right) == (5, 4)


def test_a_text_that_is_written_anew_is_aligned():
    clean, said = [*"to be or not"], [*"to bee or nt"]
    _, (row,) = figures.text_rows([clean], [["<0>", " ", "b"]], [said], [[c in "bo" for c in clean]])
    assert row == ["t[o] [b]e [o]r n[o]t", "<0> b", "t[o] [b]{e}e [o]r nt", 4, 3]
    assert "<0>be" in figures.damaged(TEXT, ["<0>", "be"], ["to"], TOUCHED).plain


def test_what_was_not_touched_and_changed_is_wrong():
    _, (row,) = figures.text_rows([[*"abc"]], [[*"a_c"]], [[*"abx"]], [[False, True, False]])
    assert row == ["a[b]c", "a[_]c", "a[b]{x}", 1, 1]


def test_saved_text_says_what_its_marks_mean(tmp_path):
    figures.save_text(tmp_path / "samples" / "t.txt", [TEXT] * 2, [SHOWN] * 2, [ANSWER] * 2, [TOUCHED] * 2)
    lines = (tmp_path / "samples" / "t.txt").read_text(encoding="utf-8").splitlines()
    assert "{wrong}" in lines[0]
    assert lines.count("restored  [t]o b{x} or[ ]not[↵]to [b]e") == 2
    assert lines.count("          4 of 5 right") == 2
