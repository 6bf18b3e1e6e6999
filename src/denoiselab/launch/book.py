"""What a pool asks before it starts a job, and tells when one ends: of a sweep the ledger, of one job nothing."""

from abc import ABC, abstractmethod

from denoiselab.launch.task import Task


class Book(ABC):
    """Which jobs are this driver's to start, and how they ended."""

    @abstractmethod
    def follow(self, tasks: list[Task]) -> None:
        """Learns what others did: a task that one of them ended gets its state; one that runs there, `elsewhere`."""

    @abstractmethod
    def claim(self, task: Task) -> bool:
        """May this one start it, now? If not, the task's state or `elsewhere` says why."""

    @abstractmethod
    def settle(self, task: Task) -> None:
        """It has ended."""

    @abstractmethod
    def spent(self) -> float:
        """Seconds of all jobs."""


class Nothing(Book):
    """For a job that no other driver can have."""

    def follow(self, tasks):
        pass

    def claim(self, task):
        return True

    def settle(self, task):
        pass

    def spent(self):
        return 0.0
