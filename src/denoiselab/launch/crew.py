"""Who trains the cells of a sweep: the processes of this machine, or others' jobs. What a crew does is seen in the
ledger alone, so that crews of all kinds share a sweep. Imports no torch."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from denoiselab.launch.ledger import Ledger
from denoiselab.launch.pool import Limits, Pool, gpus
from denoiselab.launch.task import Task

Tell = Callable[[Task], None]  # called with each task that starts and that ends


class Crew(ABC):
    """`elsewhere` says that jobs run on other hardware than this machine's; `n_jobs` how many share this machine."""

    elsewhere = False
    n_jobs: int | None = None

    @abstractmethod
    def check(self) -> None:
        """Raises `Refused` where what was asked of it cannot be."""

    @abstractmethod
    def suit(self, tasks: list[Task]) -> None:
        """The same, now that the cells are known."""

    @abstractmethod
    def work(self, context, tasks: list[Task], book: Ledger, tell: Tell, budget: float | None) -> None:
        """Until all that waits has ended, or no more may begin: `budget` seconds of jobs are spent. A signal is raised
        as `Stopped`."""


class Here(Crew):
    """Processes of this machine, forks of one server."""

    def __init__(self, limits: Limits):
        self.limits, self.n_jobs = limits, limits.n_jobs

    def check(self):
        self.limits.checked()

    def suit(self, tasks):
        pass

    def work(self, context, tasks, book, tell, budget):
        devices = gpus() if any(task.gpu for task in tasks) else []
        Pool(context, self.limits, devices, tell, book, budget).run(tasks)
