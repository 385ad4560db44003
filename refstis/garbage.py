"""Python's collection of garbage, while it has nothing to find.

The imports behind a pipeline leave half a million objects that live as long as the process. Python's collector goes
through all of them several times while they come into being, which takes a quarter of the time that the imports take,
and once more when the process ends, where the system takes all memory back anyway.
"""

import atexit
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collection_paused", "set_aside"]

# What is frozen is not collected: a third of a second at the end of a process.
atexit.register(gc.freeze)


class _Pauses:
    """How many pauses there are at a time, in whatever threads, and whether garbage is collected after the last."""

    lock = threading.Lock()
    number = 0
    resumed = True


@contextmanager
def collection_paused() -> Iterator[None]:
    """Let Python collect no garbage by itself; who asks for a collection gets one.

    Collection is the whole process's: it goes on when the last of the pauses that overlap is over, unless the calling
    program had it switched off.

    Yields
    ------
    None
        During the pause.
    """
    with _Pauses.lock:
        if not _Pauses.number:
            _Pauses.resumed = gc.isenabled()
            gc.disable()
        _Pauses.number += 1
    try:
        yield
    finally:
        with _Pauses.lock:
            _Pauses.number -= 1
            if not _Pauses.number and _Pauses.resumed:
                if not gc.get_freeze_count():
                    # what came during the pause counts as old, or the next object would have it all gone through
                    gc.freeze()
                    gc.unfreeze()
                gc.enable()


# What was set aside and becomes garbage is old: Python would leave it for long. It is collected after so many times.
TIMES = 32


class _Aside:
    """How many users want what lives set aside, in whatever threads, and how often it was."""

    lock = threading.Lock()
    users = 0
    times = 0


@contextmanager
def set_aside() -> Iterator[None]:
    """Keep collections that others ask for from going through everything that lives now; none come by themselves.

    stpipe has garbage collected before every step, and CRDS many times for every file.

    Yields
    ------
    None
        Until the last of the users that overlap has ended; each may set aside with `gc.freeze` what came since.
    """
    with _Aside.lock:
        _Aside.users += 1
    with collection_paused():
        gc.freeze()
        try:
            yield
        finally:
            with _Aside.lock:
                _Aside.users -= 1
                if not _Aside.users:
                    # before the pause ends, which would have to count what is set aside
                    gc.unfreeze()
                    _Aside.times += 1
                due = not _Aside.users and not _Aside.times % TIMES
            if due:
                gc.collect()
