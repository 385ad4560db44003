"""Where tasks run: threads of this process, processes of this machine, or a Dask cluster."""

import logging
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Protocol

from refstis.anneal.making import Outcome, Task, make, share_memory
from refstis.cores import cores, lent_by
from refstis.errors import ConfigurationError

__all__ = ["Admission", "Scheduler", "open_scheduler"]

# Products that are made at the same time take this much for each core together; a larger one is made alone.
MEMORY_PER_CORE = 256 * 2**20
# Tasks that wait for room at a time, and how many others may begin before one of them.
MOST_WAITING = 32
MOST_PASSED = 4
# What is made of biases, and how many opened biases are kept for a second product.
SUPERBIASES = frozenset({"basebias", "refbias", "weekbias"})
MOST_BIASES = 100
# Seconds to wait for the first worker of a cluster, and for another one where all have gone.
FIRST_WORKER = 60

Tasks = Mapping[str, tuple[Task, list[str]]]


class Scheduler(Protocol):
    """What runs tasks."""

    interrupted: bool

    def run(self, tasks: Tasks, started: Callable[[str], None], finished: Callable[[Outcome], None]) -> None:
        """Run all tasks, each after those that it needs; calls may come from several threads, one at a time."""


class _Waiting:
    """A task that waits for room."""

    def __init__(self, place: int, memory: int):
        self.place = place
        self.memory = memory
        self.passed = 0


class Admission:
    """Lets tasks begin as long as there are cores and memory for them.

    They begin in the order of their places, which is much that of the plan: a month's baseline goes through the same
    raws as its weeks beside it. Each has one core, and others while nothing else uses them (`threads_at_hand`).

    Parameters
    ----------
    cores : int
        Threads of all tasks together.
    memory : int
        Bytes of all tasks together; a task that needs more runs alone.
    first : int
        Number of tasks that come at the beginning: none begins before all of them are there to choose from.
    """

    def __init__(self, cores: int, memory: int, first: int = 0):
        self.cores = cores
        self.memory = memory
        self._expected = first
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._threads = 0
        self._tasks = 0
        self._bytes = 0

    @contextmanager
    def enter(self, place: int, memory: int) -> Iterator[None]:
        """Wait until there is room.

        Parameters
        ----------
        place : int
            When the task comes, where there is a choice.
        memory : int
            Estimate of what the task takes, in bytes.

        Yields
        ------
        None
            While the task has its core and its memory; in this context it may ask for the threads at hand.
        """
        own = _Waiting(place, memory)
        with self._changed:
            self._waiting.append(own)
            self._expected -= 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._next() is own)
            self._waiting.remove(own)
            for one in self._waiting:
                one.passed += 1
            self._threads += 1
            self._tasks += 1
            self._bytes += memory
            self._changed.notify_all()
        try:
            with lent_by(self._lend):
                yield
        finally:
            with self._changed:
                self._threads -= 1
                self._tasks -= 1
                self._bytes -= memory
                self._changed.notify_all()

    @contextmanager
    def _lend(self) -> Iterator[int]:
        """The core that a task has, and its part of those that nobody uses or waits for."""
        with self._changed:
            idle = 0 if self._next() else self.cores - self._threads
            more = -(-idle // self._tasks)
            self._threads += more
        try:
            yield 1 + more
        finally:
            if more:
                with self._changed:
                    self._threads -= more
                    self._changed.notify_all()

    def _fits(self, memory: int) -> bool:
        return self._bytes == 0 or self._bytes + memory <= self.memory

    def _next(self) -> _Waiting | None:
        """The task that may begin now."""
        if self._threads >= self.cores or self._expected > 0:
            return None
        for one in sorted(self._waiting, key=lambda one: one.place):
            if self._fits(one.memory):
                return one
            if one.passed >= MOST_PASSED:
                return None
        return None


class _Shared:
    """Exposures that several products share.

    Biases, as they were opened, go into a baseline and a week: what one finds out about them the other need not. Of
    darks, the basedark of a month and its weekdarks share what is left of them without bias: of one month at a time, as
    that takes memory.
    """

    def __init__(self, tasks: Tasks, memory: int):
        self._memory = memory
        self._lock = threading.Lock()
        self._users = Counter(task.month for task, _ in tasks.values() if task.kind == "weekdark")
        self._month = ""
        self._darks: dict[str, Any] = {}
        self._users_of_biases = Counter(
            one.path for task, _ in tasks.values() if task.kind in SUPERBIASES for one in task.sources
        )
        self._biases: dict[str, Any] = {}

    def of(self, task: Task) -> dict[str, Any] | None:
        """Where a task finds exposures and puts them for others; None where it has to do without."""
        with self._lock:
            if task.kind in SUPERBIASES:
                return self._biases if len(self._biases) < MOST_BIASES else None
            begins = task.kind == "basedark" and not self._month and task.memory <= self._memory
            if begins and self._users[task.month]:
                self._month = task.month
            return self._darks if task.month == self._month else None

    def release(self, task: Task) -> None:
        """Forget exposures that nobody needs any more."""
        with self._lock:
            if task.kind in SUPERBIASES:
                for one in task.sources:
                    self._users_of_biases[one.path] -= 1
                    if not self._users_of_biases[one.path]:
                        self._biases.pop(one.path, None)
            elif task.kind == "weekdark":
                self._users[task.month] -= 1
                if task.month == self._month:
                    for one in task.sources:
                        self._darks.pop(one.path, None)
                    if not self._users[task.month]:
                        self._month = ""
                        self._darks.clear()


class ThreadScheduler:
    """Dask's threaded scheduler in this process."""

    def __init__(self):
        self.interrupted = False
        self.cores = cores()

    def run(self, tasks: Tasks, started: Callable[[str], None], finished: Callable[[Outcome], None]) -> None:
        """Run tasks in threads; see `Scheduler`."""
        from dask.threaded import get

        from refstis.pipelines.base import making_products

        first = min(MOST_WAITING, sum(not parents for _, parents in tasks.values()))
        admission = Admission(self.cores, MEMORY_PER_CORE * self.cores, first)
        shared = _Shared(tasks, admission.memory)
        lock = threading.Lock()

        def call(task: Task, *before: Outcome) -> Outcome:
            outcome = waits_for(task, before)
            if outcome is None:
                with admission.enter(task.place, task.memory):
                    if self.interrupted:
                        outcome = Outcome(task.identity, "waiting", reason="the run was ended")
                    else:
                        with lock:
                            started(task.identity)
                        outcome = make(task, shared.of(task))
            shared.release(task)
            with lock:
                finished(outcome)
            return outcome

        graph = {identity: (partial(call, task), *parents) for identity, (task, parents) in tasks.items()}
        share_memory()
        # more threads than cores: which of the tasks that could begin does begin is the admission's choice
        with making_products(), ThreadPoolExecutor(max(self.cores, MOST_WAITING)) as pool:
            try:
                get(graph, list(graph), pool=pool)
            except KeyboardInterrupt:
                self.interrupted = True
                pool.shutdown(wait=False, cancel_futures=True)


def waits_for(task: Task, before: tuple[Outcome, ...]) -> Outcome | None:
    """The outcome of a task that lacks a product; None where it can begin.

    Parameters
    ----------
    task : Task
        The task.
    before : tuple of Outcome
        Outcomes of what it needs.

    Returns
    -------
    Outcome or None
        That it waits, and for what.
    """
    lacking = next((one for one in before if one.status != "made"), None)
    if lacking is None:
        return None
    name = lacking.identity.rpartition("/")[2]
    return Outcome(task.identity, "waiting", reason=f"needs {name}, which was not made")


class ClusterScheduler:
    """A Dask cluster.

    Parameters
    ----------
    client : distributed.Client
        Connected to it.
    """

    def __init__(self, client: Any):
        self.interrupted = False
        self.client = client

    def run(self, tasks: Tasks, started: Callable[[str], None], finished: Callable[[Outcome], None]) -> None:
        """Run tasks on workers; see `Scheduler`. When a task begins, its worker tells."""
        from distributed import as_completed

        topic = f"refstis-{secrets.token_hex(8)}"  # other runs may use the same cluster
        lock = threading.Lock()
        begun: set[str] = set()

        def begin(identity: str) -> None:
            if identity not in begun:
                begun.add(identity)
                started(identity)

        def heard(event: tuple[float, str]) -> None:
            with lock:
                begin(event[1])

        self.client.subscribe_topic(topic, heard)
        futures: dict[str, Any] = {}
        for identity, (task, parents) in tasks.items():
            futures[identity] = self.client.submit(
                make_on_worker, task, topic, *(futures[parent] for parent in parents), pure=False
            )
        names = {future.key: identity for identity, future in futures.items()}
        over = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(list(futures.values()), over), daemon=True)
        watcher.start()
        try:
            for future in as_completed(list(futures.values())):
                identity = names[future.key]
                if future.status == "finished":
                    outcome = future.result()
                elif future.status == "error":
                    error = future.exception()
                    outcome = Outcome(identity, "failed", reason=f"{type(error).__name__}: {error}")
                else:
                    reason = (
                        "the cluster has no workers any more; look at what they said last (memory?), start others, and "
                        "run again"
                    )
                    outcome = Outcome(identity, "failed", reason=reason)
                with lock:
                    if outcome.status != "waiting":  # the news of its begin may come later than its end
                        begin(identity)
                    finished(outcome)
        except KeyboardInterrupt:
            self.interrupted = True
            self.client.cancel(list(futures.values()))
        finally:
            over.set()
            watcher.join()
            self.client.unsubscribe_topic(topic)

    def _watch(self, futures: list[Any], over: threading.Event) -> None:
        """Give up what is left where all workers have gone: a scheduler waits for others for ever."""
        alone = 0
        while not over.wait(1):
            alone = 0 if self.client.nthreads() else alone + 1
            if alone >= FIRST_WORKER:
                self.client.cancel(futures)
                return


def make_on_worker(task: Task, topic: str, *before: Outcome) -> Outcome:
    """Make a product on a worker of a cluster.

    Parameters
    ----------
    task : Task
        What to make.
    topic : str
        Of the message that it begins.
    *before : Outcome
        Of the products that it is made of.

    Returns
    -------
    Outcome
        What became of it.
    """
    from distributed import get_worker

    outcome = waits_for(task, before)
    if outcome is not None:
        return outcome
    with _admission_of_worker().enter(task.place, task.memory):
        get_worker().log_event(topic, task.identity)
        return make(task)


_worker: dict[str, Admission] = {}
_worker_lock = threading.Lock()


def _admission_of_worker() -> Admission:
    """Cores and memory of this worker, which all its tasks share; its first task sets them up."""
    from distributed import get_worker

    with _worker_lock:
        if "admission" not in _worker:
            share_memory()
            worker = get_worker()
            limit = worker.memory_manager.memory_limit or MEMORY_PER_CORE * worker.state.nthreads * 4
            _worker["admission"] = Admission(worker.state.nthreads, limit // 2)
        return _worker["admission"]


@contextmanager
def open_scheduler(address: str | None = None, workers: int = 0) -> Iterator[Scheduler]:
    """Open what tasks run on.

    Parameters
    ----------
    address : str, optional
        Of a Dask scheduler, ``tcp://host:8786``.
    workers : int
        Number of processes of this machine; 0 for threads of this process.

    Yields
    ------
    Scheduler
        Open as long as it is needed.

    Raises
    ------
    refstis.errors.ConfigurationError
        Where Dask's distributed scheduler is not installed, or the address does not answer.
    """
    if address is None and not workers:
        yield ThreadScheduler()
        return
    if address is not None and workers:
        raise ConfigurationError("--workers and --scheduler: choose one of them")
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise ConfigurationError(
            "--workers and --scheduler need dask.distributed: pip install 'refstis[distributed]'"
        ) from None
    with ExitStack() as stack:
        if address is None:
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=max(1, cores() // workers),
                processes=True,
                dashboard_address=None,
                memory_limit=None,
                silence_logs=logging.ERROR,
            )
            client = Client(stack.enter_context(cluster))
        else:
            try:
                client = Client(address, timeout=FIRST_WORKER)
                client.wait_for_workers(1, timeout=FIRST_WORKER)
            except (OSError, ValueError) as error:
                raise ConfigurationError(
                    f"--scheduler {address}: no Dask scheduler with workers answers there ({error})"
                ) from None
        yield ClusterScheduler(stack.enter_context(client))
