"""Jobs that go elsewhere: a watch over jobs that do what they are told, a task a rank, what a cluster is asked for."""

import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
from runs import states

from denoiselab.launch.away import Cluster, Shape, Watch
from denoiselab.launch.history import History
from denoiselab.launch.ledger import joined
from denoiselab.launch.pool import Limits
from denoiselab.launch.seat import Seat
from denoiselab.launch.submitit import Slurm
from denoiselab.launch.task import Task
from denoiselab.spec import Refused

pytestmark = pytest.mark.usefixtures("patient")
LIMITS = Limits(1, 1, None, 1.0)


def cell(root, number=0):
    config = {"rerun": False, "monitor": {"name": "val/loss", "mode": "min"},
              "trainer": {"devices": 1, "num_nodes": 1, "accelerator": "auto"}}  # fmt: skip
    name = f"cell{number}"
    return Task(number, name, [], config, {}, fit=name, score=name, folder=root / "name" / f"default-{name}")


# -- the watch, over jobs that do what they are told


class Jobs(Cluster):
    """`does` says what the job of a cell does: one word after the other, a look at the queue each."""

    elsewhere = False

    def __init__(self, at_once=100, **does):
        self.at_once, self.does = at_once, does
        self.here, self.most, self.closed = {}, 0, False

    def check(self):
        pass

    def shape(self, task):
        return Shape(1, 1, None)

    def submit(self, folder, shape, works):
        new = {f"job{work.number}": (work, iter(self.does[work.words])) for work in works}
        assert not new.keys() & self.here.keys()
        self.here |= new
        self.most = max(self.most, len(self.here))
        return [*new]

    def alive(self):
        for name, (work, words) in list(self.here.items()):
            word = next(words, "leaves")
            if word == "leaves":
                del self.here[name]
            elif word != "waits":
                with joined(work.sweep) as book:
                    self.one(book, work.task(), word)
        return {*self.here}

    def one(self, book, task, word):
        assert book.claim(task)
        if word != "dies":
            task.state, task.why, task.seconds = word, "boom" if word == "failed" else "asked", 1.0
            book.settle(task)

    def fate(self, job):
        return "OUT_OF_MEMORY"

    def canceled(self, job):
        return job == "job9"

    def cancel(self, jobs):
        raise AssertionError

    def close(self):
        self.closed = True

    def log(self, folder, job):
        return folder / f"{job}.err"


def watched(folder, jobs, tasks, book=None):
    told = []
    with joined(folder) as own:
        book = book or own
        book.begin(tasks, retry=False)
        Watch(jobs, LIMITS, tasks, book, lambda task: told.append((task.number, task.state)), None).run()
    return told


@pytest.mark.parametrize(
    "words, state, why",
    [
        (["waits", "completed"], "completed", ""),
        (["failed"], "failed", "boom"),
        (["preempted", "waits", "completed"], "completed", ""),  # queued again
        (["preempted"], "preempted", "asked"),
        (["dies"], "failed", "job0 ended without a word: OUT_OF_MEMORY"),
        (["dies", "waits", "completed"], "completed", ""),  # its machine died, and it was queued again
        (["waits", "waits"], "failed", "job0 ended without a word: OUT_OF_MEMORY; see "),
    ],
)
def test_what_a_job_does_is_what_the_sweep_says(words, state, why, tmp_path):
    task = cell(tmp_path)
    told = watched(tmp_path, Jobs(cell0=words), [task])
    assert (task.state, told[-1]) == (state, (0, state))
    assert why in task.why
    entry = History(tmp_path).read()[task.key]
    assert entry.state == state
    assert entry.attempts == sum(word != "waits" for word in words)


def test_a_job_that_is_canceled_before_it_began_may_be_started_again(tmp_path):
    task = cell(tmp_path, 9)
    watched(tmp_path, Jobs(cell9=["waits"]), [task])
    assert (task.state, "canceled" in task.why) == ("preempted", True)
    again = cell(tmp_path, 9)
    watched(tmp_path, Jobs(cell9=["completed"]), [again])
    assert again.state == "completed"


def test_only_so_many_jobs_are_submitted_at_once(tmp_path):
    tasks = [cell(tmp_path, n) for n in range(5)]
    jobs = Jobs(at_once=2, **{task.words: ["waits", "completed"] for task in tasks})
    watched(tmp_path, jobs, tasks)
    assert {task.state for task in tasks} == {"completed"}
    assert jobs.most == 2
    assert jobs.closed


def test_the_jobs_of_a_command_that_was_killed_are_watched_by_the_next(tmp_path):
    class Once(Jobs):
        def fate(self, job):
            raise AssertionError

    jobs = Once(cell0=["waits"] * 3 + ["completed"])

    with joined(tmp_path) as book:
        task = cell(tmp_path)
        watch = Watch(jobs, LIMITS, [task], book, lambda task: None, None)
        watch.submit()  # and then it is killed
    assert [*jobs.here] == ["job0"]
    task = cell(tmp_path)
    watched(tmp_path, jobs, [task])  # `submit` asserts that no job is submitted twice
    assert task.state == "completed"
    assert states(tmp_path) == ["running", "completed"]


def test_what_another_driver_has_is_not_submitted_until_it_dies(tmp_path):
    task, theirs = cell(tmp_path), cell(tmp_path)
    jobs = Jobs(cell0=["completed"])
    with ExitStack() as stack:
        other = stack.enter_context(joined(tmp_path))
        assert other.claim(theirs)

        def told(task):
            if task.state == "running":
                assert not jobs.here
                stack.close()  # it dies

        with joined(tmp_path) as book:
            book.begin([task], retry=False)
            Watch(jobs, LIMITS, [task], book, told, None).run()
    assert task.state == "completed"
    assert states(tmp_path) == ["running", "preempted", "running", "completed"]


def test_what_failed_is_offered_again_where_it_is_asked_for(tmp_path):
    watched(tmp_path, Jobs(cell0=["failed"]), [cell(tmp_path)])
    task = cell(tmp_path)
    assert watched(tmp_path, Jobs(), [task]) == []
    assert task.state == "failed before"
    with joined(tmp_path) as book:
        book.begin([task := cell(tmp_path)], retry=True)
        Watch(Jobs(cell0=["completed"]), LIMITS, [task], book, lambda task: None, None).run()
    assert task.state == "completed"


# -- a task a rank


def seat(folder, rank, ranks=3):
    return Seat(rank, rank, 0, ranks, folder, "7-0")


def test_the_first_rank_says_where_to_meet_and_hears_how_the_others_end(tmp_path):
    first = seat(tmp_path, 0).called("driver", 1)
    second, driver = seat(tmp_path, 1).met(1.0)
    assert driver == "driver"
    ours, theirs = first.environment, second.environment
    assert (ours["RANK"], theirs["RANK"], theirs["WORLD_SIZE"]) == ("0", "1", "3")
    assert ours["MASTER_PORT"] == theirs["MASTER_PORT"] != "0"
    assert not first.lost()
    second.leave(75)
    assert not first.lost()
    second._replace(rank=2).leave(3)
    assert first.lost()
    assert not second.lost()
    assert first.codes_of_others(0.0) == [75, 3]
    first.tidy()
    assert not [*tmp_path.iterdir()]
    assert first.codes_of_others(0.0) == [-signal.SIGKILL] * 2


def test_the_other_ranks_leave_where_there_is_nothing_to_do(tmp_path):
    seat(tmp_path, 0).dismiss()
    assert seat(tmp_path, 1).met(1.0)[1] is None
    assert seat(tmp_path / "none", 1).met(0.0)[1] is None


# -- what is asked of a cluster


def shape(trainer=None, **asked):
    task = cell(Path("root"))
    task.config["trainer"] |= trainer or {}
    shared = {"tasks_per_node": None, "nodes": None, "gpus_per_node": None} | asked
    return Slurm(shared, {}, 0).shape(task)


def test_a_job_has_a_task_for_each_rank():
    assert shape() == (1, 1, None)
    assert shape({"devices": 4, "num_nodes": 2, "accelerator": "gpu"}) == (2, 4, 4)
    assert shape({"devices": 4}, gpus_per_node=8, tasks_per_node=4, nodes=1) == (1, 4, 8)
    for asked in ({"tasks_per_node": 2}, {"nodes": 2}):
        with pytest.raises(Refused, match="a task is a rank"):
            shape(**asked)
