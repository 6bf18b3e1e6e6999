"""Texts as a page, and what `show` and a run's folder have of them."""

from html.parser import HTMLParser

from runs import TINY

from denoiselab.commands.main import run
from denoiselab.evaluation import page


class Read(HTMLParser):
    """The characters of each class."""

    def __init__(self):
        super().__init__()
        self.found, self.now, self.tags = [], [], set()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag not in ("meta",):
            self.now.append(dict(attributes).get("class"))

    def handle_endtag(self, tag):
        self.now.pop()

    def handle_data(self, data):
        self.found.append((self.now[-1] if self.now else None, data))


def test_a_page_says_what_was_touched_and_what_is_right(tmp_path):
    clean, shown, said = ["a", "<b>", "&", "d"], ["a", "_", "_", "d"], ["a", "<b>", "x", "d"]
    page.save(tmp_path / "page.html", [clean], [shown], [said], [[False, True, True, False]])
    read = Read()
    read.feed((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "script" not in read.tags
    assert ("touched", "<b>&") in read.found
    assert ("touched", "__") in read.found
    assert ("right", "<b>") in read.found
    assert ("wrong", "x") in read.found


def test_a_run_on_text_has_its_page_and_show_colors_it(tmp_path, capsys):
    words = ["experiment=bert", "data=markov", "data.length=24", "data.train=64", "data.val=16", "data.test=16",
             "architecture.width=16", "architecture.layers=1", "logger=csv"]  # fmt: skip
    tiny = [w for w in TINY if not w.startswith(("architecture", "sampler", "logger"))]
    assert run(["train", *words, *tiny, f"outputs={tmp_path}"]) == 0
    [marker] = tmp_path.rglob("COMPLETED")
    samples = marker.parent / "samples"
    text, colored = ((samples / f"restored.{end}").read_text(encoding="utf-8") for end in ("txt", "html"))
    assert text.count("corrupted ") == colored.count("<b>corrupted") > 0
    [table] = (marker.parent / "tables").glob("restored-*.csv")
    assert table.read_text(encoding="utf-8").startswith("clean,corrupted,restored,touched,right")
    capsys.readouterr()
    assert run(["show", f"run={marker.parent}"]) == 0
    said = capsys.readouterr().out
    assert said.count("corrupted ") == said.count("restored  ") == 6
