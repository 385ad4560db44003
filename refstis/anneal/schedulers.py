"""Where tasks run: threads of this process, processes of this machine, or a Dask cluster."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Protocol

from refstis.anneal.making import Outcome, Task, make
from refstis.errors import ConfigurationError

__all__ = ["Admission", "Scheduler", "open_scheduler"]

# Products that are made at the same time take this much for each core together; a larger one is made alone.
MEMORY_PER_CORE = 256 * 2**20
# Seconds to wait for the first worker of a cluster.
FIRST_WORKER = 60

Tasks = Mapping[str, tuple[Task, list[str]]]


class Scheduler(Protocol):
    """What runs tasks."""

    interrupted: bool

    def run(self, tasks: Tasks, started: Callable[[str], None], finished: Callable[[Outcome], None]) -> None:
        """Run all tasks, each after those that it needs; calls may come from several threads, one at a time."""


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Admission:
    """Lets tasks begin as long as there are cores and memory for them.

    Parameters
    ----------
    cores : int
        Threads of all tasks together.
    memory : int
        Bytes of all tasks together; a task that needs more runs alone.
    """

    def __init__(self, cores: int, memory: int):
        self.cores = cores
        self.memory = memory
        self._changed = threading.Condition()
        self._threads = 0
        self._bytes = 0
        self._running = 0

    @contextmanager
    def enter(self, memory: int, ready: Callable[[], int]) -> Iterator[int]:
        """Wait until there is room.

        Parameters
        ----------
        memory : int
            Estimate of what the task takes, in bytes.
        ready : callable
            Gives the number of tasks that run or could run.

        Yields
        ------
        int
            Number of threads for the task.
        """
        with self._changed:
            while self._running and (self._bytes + memory > self.memory or self._threads >= self.cores):
                self._changed.wait()
            share = max(1, self.cores // max(1, min(self.cores, ready())))
            threads = min(share, self.cores - self._threads)
            self._running += 1
            self._threads += threads
            self._bytes += memory
        try:
            yield threads
        finally:
            with self._changed:
                self._running -= 1
                self._threads -= threads
                self._bytes -= memory
                self._changed.notify_all()


class ThreadScheduler:
    """Dask's threaded scheduler in this process."""

    def __init__(self):
        self.interrupted = False
        self.cores = cores()
        self._stop = threading.Event()

    def run(self, tasks: Tasks, started: Callable[[str], None], finished: Callable[[Outcome], None]) -> None:
        """Run tasks in threads; see `Scheduler`."""
        from dask.threaded import get

        from refstis.pipelines.base import making_products

        admission = Admission(self.cores, MEMORY_PER_CORE * self.cores)
        lock = threading.Lock()
        needs = {identity: set(parents) for identity, (_, parents) in tasks.items()}
        done: set[str] = set()

        def ready() -> int:
            return sum(parents <= done for identity, parents in needs.items() if identity not in done)

        def call(task: Task, *before: Outcome) -> Outcome:
            outcome = waits_for(task, before)
            if outcome is None:
                with admission.enter(task.memory, ready) as threads:
                    if self._stop.is_set():
                        outcome = Outcome(task.identity, "waiting", reason="the run was ended")
                    else:
                        with lock:
                            started(task.identity)
                        outcome = make(task, threads)
            with lock:
                done.add(task.identity)
                finished(outcome)
            return outcome

        graph = {identity: (partial(call, task), *parents) for identity, (task, parents) in tasks.items()}
        with making_products():
            try:
                get(graph, list(graph), num_workers=self.cores)
            except KeyboardInterrupt:
                self._stop.set()
                self.interrupted = True


def waits_for(task: Task, before: tuple[Outcome, ...]) -> Outcome | None:
    """The outcome of a task that lacks a product; None where it can begin."""
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

    def run(self, tasks: Tasks, started: Callable[[str], None], finished: Callable[[Outcome], None]) -> None:  # noqa: ARG002
        """Run tasks on workers; see `Scheduler`. When a task begins, only its worker knows."""
        from distributed import as_completed

        futures: dict[str, Any] = {}
        for identity, (task, parents) in tasks.items():
            futures[identity] = self.client.submit(
                make_on_worker, task, *(futures[parent] for parent in parents), pure=False
            )
        names = {future.key: identity for identity, future in futures.items()}
        try:
            for future in as_completed(list(futures.values())):
                identity = names[future.key]
                if future.status == "finished":
                    finished(future.result())
                else:
                    error = future.exception()
                    finished(Outcome(identity, "failed", reason=f"{type(error).__name__}: {error}"))
        except KeyboardInterrupt:
            self.interrupted = True
            self.client.cancel(list(futures.values()))


def make_on_worker(task: Task, *before: Outcome) -> Outcome:
    """Make a product on a worker of a cluster.

    Parameters
    ----------
    task : Task
        What to make.
    *before : Outcome
        Of the products that it is made of.

    Returns
    -------
    Outcome
        What became of it.
    """
    outcome = waits_for(task, before)
    if outcome is not None:
        return outcome
    admission = _admission_of_worker()
    with admission.enter(task.memory, lambda: admission.cores) as threads:
        return make(task, threads)


_worker: dict[str, Admission] = {}
_worker_lock = threading.Lock()


def _admission_of_worker() -> Admission:
    """Cores and memory of this worker, which all its tasks share."""
    from distributed import get_worker

    with _worker_lock:
        if "admission" not in _worker:
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
