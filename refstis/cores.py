"""Processors, and how many threads may work at a time where several products are made beside each other."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, copy_context
from typing import TypeVar

__all__ = ["cores", "in_threads", "lent_by", "threads_at_hand"]

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Lender = Callable[[], AbstractContextManager[int]]

_lender: ContextVar[Lender | None] = ContextVar("lender", default=None)


def cores() -> int:
    """Processors that this process may use.

    Returns
    -------
    int
        At least 1.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def lent_by(lender: Lender) -> Iterator[None]:
    """Have somebody who knows what else goes on say how many threads are at hand, in this context.

    Parameters
    ----------
    lender : callable
        Gives a context that yields a number of threads, which are its user's until it ends.

    Yields
    ------
    None
        While the lender is asked.
    """
    token = _lender.set(lender)
    try:
        yield
    finally:
        _lender.reset(token)


@contextmanager
def threads_at_hand(wanted: int = 0) -> Iterator[int]:
    """Threads to do something with.

    Parameters
    ----------
    wanted : int
        How many; 0 for as many as are at hand.

    Yields
    ------
    int
        At least 1: what is wanted, else what the lender of this context has, else the number of processors.
    """
    lender = _lender.get()
    if wanted or lender is None:
        yield wanted or cores()
    else:
        with lender() as threads:
            yield threads


def in_threads(function: Callable[[Item], Answer], items: Iterable[Item], threads: int = 0) -> list[Answer]:
    """What a function gives for each of some items, called in this context.

    Parameters
    ----------
    function : callable
        Takes an item; worth several threads where it leaves the interpreter to others.
    items : iterable
        The items.
    threads : int
        Threads to use; 0 for as many as are at hand.

    Returns
    -------
    list
        The answers, in the order of the items.
    """
    items = list(items)
    if len(items) < 2:  # which may itself ask for threads
        return list(map(function, items))
    with threads_at_hand(threads) as count:
        if count == 1:
            return list(map(function, items))
        calls = [(copy_context(), item) for item in items]
        if _lender.get() is None:
            # all processors are in use then, and what is called has the one that it runs on
            for context, _ in calls:
                context.run(_lender.set, lambda: nullcontext(1))
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda call: call[0].run(function, call[1]), calls))
