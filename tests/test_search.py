"""A search: its space in Hydra's grammar; a study that was killed anywhere is the one that nobody killed."""

import itertools
import json
import math
import sys
from functools import cache

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import OmegaConf

from denoiselab.files import CONF
from denoiselab.launch import ledger, searched
from denoiselab.launch import search as searching
from denoiselab.launch.history import History
from denoiselab.launch.trials import Trials, batches
from denoiselab.search import methods, needed, results
from denoiselab.search.grammar import made
from denoiselab.search.space import Choice, Condition, Real, Whole
from denoiselab.spec import Refused

optuna = pytest.importorskip("optuna", reason="optuna is not installed: pip install denoiselab[optuna]")
pytest.importorskip("cmaes", reason="cmaes is not installed: pip install denoiselab[optuna]")
from denoiselab.search import journal  # noqa: E402

LR, WIDTH = "optimizer.lr=tag(log,interval(1e-5,1e-2))", "architecture.width=interval(8,64)"
PART = "schedule=choice(constant,cosine)"
SPACE = [LR, WIDTH, PART, "schedule.level=interval(0.1,0.9)"]


def space(*words, params=None):
    return made(OverridesParser.create().parse_overrides([*words]), params)


def ranges(*words, params=None):
    return {axis.key: axis.range for axis in space(*words, params=params)[0].axes}


# -- the space


@pytest.mark.parametrize(
    "word, found",
    [
        (LR, Real(1e-5, 1e-2, None, True)),
        ("optimizer.lr=interval(0,1)", Real(0.0, 1.0, None, False)),  # a key of fractions, however it is typed
        (WIDTH, Whole(8, 64, 1, False)),  # a key of whole numbers
        ("architecture.width=tag(log,interval(8,64))", Whole(8, 64, 1, True)),
        ("+x.y=int(interval(1,3))", Whole(1, 3, 1, False)),
        ("architecture.layers=range(1,5)", Whole(1, 4, 1, False)),  # the end is not in it, as in a grid
        ("architecture.layers=range(1,8,3)", Whole(1, 7, 3, False)),
        ("optimizer.lr=range(0.25,1,0.25)", Real(0.25, 0.75, 0.25, False)),
        ("schedule=choice(cosine,linear_beta)", Choice(("cosine", "linear_beta"))),
        ("schedule=cosine,linear_beta", Choice(("cosine", "linear_beta"))),
        ("compile=choice(true,false)", Choice(("true", "false"))),
        ("edits=choice([],[withhold])", Choice(("[]", "[withhold]"))),
    ],
)
def test_a_word_is_a_range(word, found):
    assert list(ranges(word).values()) == [found]


@pytest.mark.parametrize("word", ["architecture.layers=range(1,8,3)", "optimizer.lr=range(0.25,1,0.25)", PART])
def test_a_range_has_the_values_of_hydra_s_grid(word):
    [sweep] = OverridesParser.create().parse_overrides([word])
    [found] = ranges(word).values()
    assert [str(value) for value in found.values()] == list(sweep.sweep_string_iterator())


def test_a_file_says_the_same_and_what_is_typed_overrules_it(tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text(
        "optimizer.lr: tag(log,interval(1e-5,1e-2))\ncompile: [true, false]\nseed: 3\n"
        "schedule: choice(constant,cosine)\nschedule.level: {value: 'interval(0.1,0.9)', when: schedule=constant}\n",
        encoding="utf-8",
    )
    found, fixed = space("seed=4", "compile=choice(true)", params=str(file))
    assert fixed == ["seed=4"]
    assert {axis.key: axis.range for axis in found.axes} == ranges(
        LR, PART, "schedule.level=interval(0.1,0.9)", "compile=choice(true)"
    )
    nested = {"optimizer": {"lr": "interval(0,1)"}}  # as Hydra nests what is typed
    assert ranges(params=nested) == {"optimizer.lr": Real(0.0, 1.0, None, False)}


@pytest.mark.parametrize(
    "level",
    [
        "schedule.level=interval(0.1,0.9)",  # known of what is shipped
        'schedule.level=tag("schedule=constant",interval(0.1,0.9))',
        'schedule.level=tag("when schedule=constant",interval(0.1,0.9))',
    ],
)
def test_a_parameter_is_there_under_its_condition_alone(level):
    found, _ = space(level, PART)
    assert [axis.name for axis in found.axes] == ["schedule", "schedule.level"]
    assert found.axes[1].when == (Condition("schedule", ("constant",)),)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    for trial in (study.ask() for _ in range(20)):
        words = found.drawn(lambda name, trial=trial: trial)
        assert (words[0] == "schedule=constant") == (len(words) == 2)


def test_a_grid_is_the_product_but_for_conditions():
    found, _ = space(PART, "schedule.level=range(0.2,1,0.4)", "seed=0,1")
    cells = found.cells()
    assert len(cells) == 2 * (2 + 1)
    assert all(("schedule.level" in cell) == (cell["schedule"] == "constant") for cell in cells)
    assert len({json.dumps(cell) for cell in cells}) == len(cells)


def test_numbers_are_typed_with_six_digits_and_stay_inside():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    low, high = 0.123456789, 0.12345679
    found = Real(low, high, None, False)
    for trial in (study.ask() for _ in range(20)):
        assert low <= float(found.drawn(trial, "x")) <= high
        assert len(Real(0.0, 1.0, None, False).drawn(trial, "y")) <= len("0.0123456")


BAD = {
    "bool": (["compile=interval(0,1)"], "compile=choice(true,false)"),
    "bool_range": (["compile=range(0,2)"], "compile=choice(true,false)"),
    "group": (["schedule=interval(0,1)"], "schedule=choice("), "word": (["name=interval(0,1)"], "name=choice("),
    "fraction": (["architecture.layers=interval(0.5,2)"], "architecture.layers=interval(1,2)"),
    "empty": (["optimizer.lr=interval(1,1)"], "LOW,HIGH"), "order": (["optimizer.lr=interval(2,1)"], "LOW,HIGH"),
    "log": (["optimizer.lr=tag(log,interval(0,1))"], "tag(log,interval(1e-6,1))"),
    "tag": (["optimizer.lr=tag(lug,interval(0.1,1))"], "log, or a condition"),
    "log_range": (["architecture.layers=tag(log,range(1,9))"], "tag(log,interval"),
    "log_choice": (["schedule=tag(log,choice(a,b))"], "leave log out"),
    "nothing": (["seed=3"], "optimizer.lr="), "no_end": (["architecture.layers=range(3,3)"], "range(LOW,HIGH)"),
    "condition": ([PART, 'seed=tag("schedul=cosine",interval(1,2))'], "did you mean schedule"),
    "never": ([PART, 'seed=tag("schedule=cosin",interval(1,2))'], "did you mean cosine"),
    "circle": (['compile=tag("overfit=true",choice(true,false))', 'overfit=tag("compile=true",choice(true,false))'],
               "leave one out"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_in_the_space_is_refused(mistake):
    words, fix = BAD[mistake]
    with pytest.raises(Refused) as said:
        space(*words)
    assert fix in said.value.fix


@pytest.mark.parametrize(
    "params, fix",
    [
        ("/no/file.yaml", "a YAML file"),
        ([1], "KEY: "),
        ({"seed": {"value": "interval(0,1)", "wen": "x=1"}}, "when"),
        ({"seed": {"value": "interval(0,1)", "when": "x"}}, "when: "),
        ({"seed": "interval(a,b)"}, "KEY: "),
    ],
)
def test_a_mistake_in_the_params_is_refused(params, fix):
    with pytest.raises(Refused) as said:
        space(params=params)
    assert fix in said.value.fix


# -- a study without training


class Killed(BaseException):
    """A driver is gone."""


@cache
def composed(words):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", ["hydra/sweeper=optuna", *words], return_hydra_config=True)


def asked(root, *words, typed=SPACE):
    """A search as the command makes it, its folder and its configuration."""
    config = composed(words).copy()
    config.outputs = str(root)
    given = OmegaConf.to_container(config.hydra.sweeper)
    given |= {group: instantiate(given[group]) for group in ("sampler", "pruner")}
    found, fixed = space(*typed, params=given["params"])
    search = searched.checked(found, fixed, config, given)
    return search, searched.place(search, config, given["study"]), config


def value(words):
    """How good a trial is, by its words: smaller lr, larger width, cosine."""
    said = dict(word.split("=") for word in words)
    bonus = float(said["schedule.level"]) if "schedule.level" in said else 0.3
    return (math.log10(float(said["optimizer.lr"])) + 3.3) ** 2 + int(said["architecture.width"]) / 64 + bonus


def launcher(root, seen, metrics=lambda words: {"val/loss": value(words)}, state="completed"):
    def launch(cells, first):
        ended = []
        for number, words in enumerate(cells, first):
            seen.append((number, tuple(words)))
            place = root / f"run-{number}"
            place.mkdir(parents=True, exist_ok=True)
            scores = {name: {"value": value} for name, value in metrics(words).items()}
            (place / "summary.json").write_text(json.dumps({"metrics": scores}), encoding="utf-8")
            now = state(words) if callable(state) else state
            ended.append((now, "" if now == "completed" else f"it is {now}", str(place)))
        return ended

    return launch


def ran(root, *words, code=0, **more):
    """The trials that a search launched, and its folder."""
    seen, (search, folder, config) = [], asked(root, *words)
    launch = launcher(root, seen, **more)
    if code:
        with pytest.raises(SystemExit) as left:
            searching.run(search, folder, config, launch)
        assert left.value.code == code
    else:
        searching.run(search, folder, config, launch)
    return seen, folder


def trials(folder):
    """What the journal has of each, without clocks and drivers."""
    return [(each.number, each.state.name, each.params, each.values, each.intermediate_values,
             *map(each.user_attrs.get, ("words", "why"))) for each in journal.opened(folder).trials]  # fmt: skip


SAMPLERS = {
    "tpe": ["hydra.sweeper.sampler.startup=2"], "cmaes": [], "random": [],
    "gp": ["hydra.sweeper.sampler.startup=2"],
}  # fmt: skip
FEW = "hydra.sweeper.n_trials=5"


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_seed_proposes_the_same_and_another_others(name, tmp_path):
    words = [f"hydra/sweeper/sampler={name}", *SAMPLERS[name], FEW]
    first, folder = ran(tmp_path / "a", *words)
    again, other = ran(tmp_path / "b", *words)
    assert first == again
    assert trials(folder) == trials(other)
    assert len({words for _, words in first}) == 5
    different, _ = ran(tmp_path / "c", *words, "hydra.sweeper.seed=1")
    assert different != first


class Deadly:
    """A journal whose writer is killed at the n-th write: before it, after it, or in the middle of it."""

    def __init__(self, monkeypatch, n, how):
        from optuna.storages.journal import JournalFileBackend

        self.left, self.how, self.whole = n, how, JournalFileBackend.append_logs
        monkeypatch.setattr(JournalFileBackend, "append_logs", lambda backend, logs: self.write(backend, logs))

    def write(self, backend, logs):
        self.left -= 1
        if self.left:
            self.whole(backend, logs)
            return
        if self.how == "after":
            self.whole(backend, logs)
        elif self.how == "within":
            with open(backend._file_path, "a", encoding="utf-8") as file:
                file.write(json.dumps(logs[0])[:9])
        raise Killed


# Not gp: it counts what is proposed of a trial that was killed in the middle of being asked as another one's.
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "gp"])
def test_a_study_killed_at_any_write_and_continued_is_the_one_that_nobody_killed(name, tmp_path, monkeypatch):
    words = [f"hydra/sweeper/sampler={name}", *SAMPLERS[name], FEW]
    whole, folder = ran(tmp_path / "whole", *words)
    writes = len((folder / journal.JOURNAL).read_text(encoding="utf-8").splitlines())
    each = writes // 5  # a trial's
    moments = [2, *range(writes - each, writes + 1, 1 if name == "tpe" else 3)]
    for n, how in zip(moments, itertools.cycle(["before", "after", "within"]), strict=False):
        root, seen = tmp_path / f"{n}", []
        search, place, config = asked(root, *words)
        with monkeypatch.context() as patch:
            Deadly(patch, n, how)
            with pytest.raises(Killed):
                searching.run(search, place, config, launcher(root, seen))
        more, place = ran(root, *words)
        assert trials(place) == trials(folder), (n, how)
        assert sorted({*seen, *more}) == sorted(whole)  # nothing else was ever launched


def test_a_study_goes_on_with_more_trials(tmp_path):
    whole, _ = ran(tmp_path / "whole", "hydra.sweeper.n_trials=6")
    first, _ = ran(tmp_path / "some", "hydra.sweeper.n_trials=2")
    then, _ = ran(tmp_path / "some", "hydra.sweeper.n_trials=6")
    assert first + then == whole
    assert ran(tmp_path / "some", "hydra.sweeper.n_trials=6")[0] == []


def test_a_trial_of_a_living_driver_is_left_alone_and_one_of_a_dead_driver_is_taken_over(tmp_path):
    search, folder, _ = asked(tmp_path, "hydra.sweeper.n_trials=3")
    study = searching.begun(search, folder)
    with ledger.joined(folder) as other:
        theirs = Trials(search, folder, study, other.lease.driver).asked(False)
        with ledger.joined(folder) as hand:
            mine = Trials(search, folder, study, hand.lease.driver)
            assert [*theirs, *mine.asked(False)] == [0, 1]
            assert mine.others()
    with ledger.joined(folder) as hand:
        heir = Trials(search, folder, study, hand.lease.driver)
        assert heir.asked(False) == theirs
    assert ran(tmp_path, "hydra.sweeper.n_trials=3")[0][0] == (0, tuple(theirs[0]))
    assert [number for number, *_ in trials(folder)] == [0, 1, 2]


def test_trials_at_once_differ(tmp_path):
    seen, _ = ran(tmp_path, FEW, "hydra.sweeper.n_jobs=3", *SAMPLERS["tpe"])
    assert [number for number, _ in seen] == [*range(5)]
    assert len({words for _, words in seen}) == 5


def test_a_batch_is_cut_where_numbers_do_not_follow():
    cut = {3: [[3]], 4: [[3, 4]], 9: [[3, 4], [9]], 1: [[1], [3, 4], [9]]}
    numbers = {}
    for number, found in cut.items():
        numbers[number] = []
        assert [*batches(numbers)] == found
    assert [*batches({})] == []


def test_the_grid_of_a_search_is_whole(tmp_path):
    search, folder, config = asked(tmp_path, "hydra/sweeper/sampler=grid", typed=["seed=0,1,2", PART])
    searching.run(search, folder, config, launcher(tmp_path, seen := [], metrics=lambda words: {"val/loss": 1.0}))
    assert [words for _, words in seen] == [*itertools.product(["seed=0", "seed=1", "seed=2"],
                                                               ["schedule=constant", "schedule=cosine"])]  # fmt: skip


def test_what_was_refused_or_pruned_teaches_and_is_not_the_best(tmp_path, capsys):
    def state(words):
        return "refused" if "schedule=constant" in words else "completed"

    _, folder = ran(tmp_path, "hydra.sweeper.n_trials=12", "hydra/sweeper/sampler=random", state=state)
    found = trials(folder)
    assert {(each[1], each[6]) for each in found} == {("PRUNED", "it is refused"), ("COMPLETE", "")}
    out = capsys.readouterr().out
    assert "refused: it is refused" in out
    assert "best: #" in out
    assert "schedule=constant" not in out.partition("best: #")[2]


def test_a_failed_trial_is_no_best_and_is_tried_again_on_request(tmp_path, capsys):
    def state(words):
        return "failed" if "schedule=constant" in words else "completed"

    first, folder = ran(tmp_path, "hydra.sweeper.n_trials=6", state=state, code=1)
    failed = [words for _, words in first if "schedule=constant" in words]
    assert failed
    assert "failed: it is failed" in capsys.readouterr().out
    assert ran(tmp_path, "hydra.sweeper.n_trials=6", code=1)[0] == []
    again, _ = ran(tmp_path, "hydra.sweeper.n_trials=6", "retry=failed")
    assert [words for _, words in again] == failed
    assert len(results.last(journal.opened(folder))) == 6


@pytest.mark.parametrize("state", ["preempted", "waiting"])
def test_what_has_not_ended_goes_on_with_the_same_command(state, tmp_path):
    first, folder = ran(tmp_path, "hydra.sweeper.n_trials=3", state=state, code=75)
    assert [each[1] for each in trials(folder)] == ["RUNNING"]
    then, _ = ran(tmp_path, "hydra.sweeper.n_trials=3")
    assert then[0] == first[0]
    assert len(then) == 3


def test_several_objectives_have_a_front(tmp_path, capsys):
    words = ["hydra.sweeper.metric=[val/loss,test/psnr]", "hydra.sweeper.direction=[minimize,maximize]"]
    both = {f"optimizer.lr={lr}": score for lr, score in ((0.1, (1, 1)), (0.2, (2, 5)), (0.3, (3, 4)), (0.4, (1, 1)))}
    words.append("hydra/sweeper/sampler=grid")
    search, folder, config = asked(tmp_path, *words, typed=["optimizer.lr=0.1,0.2,0.3,0.4"])

    def metrics(words):
        return dict(zip(("val/loss", "test/psnr"), both[words[0]], strict=True))

    searching.run(search, folder, config, launcher(tmp_path, [], metrics=metrics))
    assert [trial.number for trial in results.best(journal.opened(folder))] == [0, 1, 3]
    assert "best: #1, val/loss 2, test/psnr 5" in capsys.readouterr().out


def test_a_metric_that_runs_do_not_have_is_refused_with_those_they_have(tmp_path):
    words = ["hydra.sweeper.metric=test/psnrr", "hydra.sweeper.direction=maximize"]
    search, folder, config = asked(tmp_path, *words)
    launch = launcher(tmp_path, [], metrics=lambda words: {"val/loss": 1.0, "test/psnr": 2.0})
    with pytest.raises(Refused) as said:
        searching.run(search, folder, config, launch)
    assert "test/psnr, val/loss" in str(said.value.got)
    assert "did you mean test/psnr" in said.value.fix


def test_a_metric_that_is_no_number_fails_its_trial(tmp_path):
    _, folder = ran(tmp_path, "hydra.sweeper.n_trials=2", metrics=lambda words: {"val/loss": None}, code=1)
    assert {each[1] for each in trials(folder)} == {"FAIL"}


def test_a_folder_is_one_search_s(tmp_path):
    ran(tmp_path, "hydra.sweeper.study=mine", "hydra.sweeper.n_trials=1")
    for words, typed, said in (
        ([], ["optimizer.lr=interval(1e-5,1e-1)", *SPACE[1:]], "space.optimizer.lr: "),
        ([], [*SPACE, "data.n=50"], "fixed"),
        (["hydra.sweeper.seed=1"], SPACE, "seed: 0 -> 1"),
        (["hydra/sweeper/sampler=random"], SPACE, "sampler.name: 'TPE' -> 'Random'"),
    ):
        search, folder, config = asked(tmp_path, "hydra.sweeper.study=mine", *words, typed=typed)
        with pytest.raises(Refused) as refused:
            searching.run(search, folder, config, launcher(tmp_path, []))
        assert said in str(refused.value.got)
        assert "hydra.sweeper.study=NAME" in refused.value.fix
    # Without a name each has a folder of its own; what changes no result changes none.
    folders = [asked(tmp_path, typed=[*SPACE, *more])[1] for more in ([], ["data.n=50"], ["logger=none"])]
    assert folders[0] != folders[1]
    assert folders[0] == folders[2]


def test_a_search_that_cannot_go_well_is_refused(tmp_path):
    search, folder, config = asked(tmp_path)
    with pytest.raises(Refused, match="all 10 trials"):
        searching.run(search, folder, config, launcher(tmp_path, [], state="refused"))


WRONG = {
    "n_trials": (["hydra.sweeper.n_trials=0"], SPACE, "at least 1"),
    "n_jobs": (["hydra.sweeper.n_jobs=-1"], SPACE, "at least 1"),
    "direction": (["hydra.sweeper.direction=minimise"], SPACE, "minimize"),
    "directions": (["hydra.sweeper.metric=[a,b]"], SPACE, "[minimize,minimize]"),
    "pruned": (["hydra/sweeper/pruner=median", "hydra.sweeper.metric=a", "hydra.sweeper.direction=minimize"], SPACE,
               "pruner=never"),
    "cmaes": (["hydra/sweeper/sampler=cmaes"], [LR], "sampler=tpe"),
    "cmaes_two": (["hydra/sweeper/sampler=cmaes", "hydra.sweeper.metric=[a,b]",
                   "hydra.sweeper.direction=[minimize,minimize]"], SPACE, "sampler=tpe"),
    "grid": (["hydra/sweeper/sampler=grid"], SPACE, "range(LOW,HIGH,STEP)"),
    "startup": (["hydra.sweeper.sampler.startup=-1"], SPACE, "at least 0"),
    "factor": (["hydra/sweeper/pruner=hyperband", "hydra.sweeper.pruner.factor=1"], SPACE, "at least 2"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", WRONG)
def test_a_search_that_has_no_meaning_is_refused(mistake, tmp_path):
    words, typed, fix = WRONG[mistake]
    with pytest.raises(Refused) as said:
        asked(tmp_path, *words, typed=typed)
    assert fix in said.value.fix


def test_without_optuna_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.setattr("denoiselab.search.find_spec", lambda name: None)
    with pytest.raises(Refused) as said:
        needed()
    assert "pip install denoiselab[optuna]" in said.value.fix


def test_the_journal_s_lock_is_free_when_its_holder_is_gone_and_half_a_line_is_taken_away(tmp_path):
    file = tmp_path / journal.JOURNAL
    file.write_bytes(b'{"a":1}\n{"b')
    first, second = journal.Lock(file), journal.Lock(file)
    first.acquire()
    assert file.read_bytes() == b'{"a":1}\n'
    first.file.close()  # as the kernel does
    assert second.acquire()
    second.release()


# -- pruning


def curve(number, validation):
    """A value of a trial that learns, some sooner than others."""
    return (number * 7 % 10) / 10 + 1 / (validation + 1) + (number * validation % 3) / 20


VALIDATIONS, N = range(1, 8), 14


def optunas(pruner, n):
    """Where Optuna's own loop stops each of n trials; nothing where it goes on to the end."""
    stopped = {}

    def objective(trial):
        for validation in VALIDATIONS:
            trial.report(curve(trial.number, validation), validation)
            if trial.should_prune():
                stopped[trial.number] = validation
                raise optuna.TrialPruned
        return curve(trial.number, validation)

    study = optuna.create_study(study_name=journal.NAME, pruner=pruner, sampler=optuna.samplers.RandomSampler(0))
    study.optimize(objective, n)
    return stopped


class Outside(methods.Pruner):
    """A pruner of a user's own."""

    stops = False

    def __init__(self, patience=1):
        self.patience = patience

    def made(self):
        return optuna.pruners.NopPruner()


PRUNERS = [methods.Median(2), methods.Median(3, 2), methods.Halving(), methods.Halving(2, 2), methods.Hyperband()]


class Patient(methods.Median):
    """One that changes one of ours."""


@pytest.mark.parametrize("pruner", PRUNERS, ids=lambda pruner: str(methods.said(pruner)))
def test_what_is_stopped_is_what_optuna_s_own_loop_stops(pruner):
    stopped, study = {}, optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    for number in range(N):
        trial = study.ask()
        for validation in VALIDATIONS:
            trial.report(curve(number, validation), validation)
            now = study.get_trials()
            found = journal.prunes(now, number, validation, study.direction, pruner.made())
            if found:
                stopped[number] = validation
                break
        study.tell(trial, None if found else curve(number, validation),
                   optuna.trial.TrialState.PRUNED if found else optuna.trial.TrialState.COMPLETE)  # fmt: skip
    assert stopped == optunas(pruner.made(), N)
    assert 0 < len(stopped) < N


def test_a_pruner_is_made_of_what_is_said_of_it():
    for pruner in (methods.Never(), Outside(3), Patient(2, 1), *PRUNERS):
        again = methods.pruner(json.loads(json.dumps(methods.said(pruner))))
        assert methods.said(again) == methods.said(pruner)
        assert type(again) is type(pruner)
        assert again.stops == (type(pruner) not in (methods.Never, Outside))
    with pytest.raises(LookupError):
        methods.pruner({"name": "os.system"})


def test_nobody_runs_in_the_ledger_of_a_study_without_jobs(tmp_path):
    _, folder = ran(tmp_path, "hydra.sweeper.n_trials=1")
    assert not History(folder).read()
    assert not [*(folder / "drivers").iterdir()]
