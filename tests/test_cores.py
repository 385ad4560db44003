"""Threads at hand."""

import threading
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import pytest

from refstis.calibration.medians import window_median
from refstis.cores import cores, in_threads, lent_by

word = ContextVar("word", default="")


@pytest.mark.parametrize("threads", [0, 1, 2, 5])
def test_answers_come_in_the_order_of_the_items(threads):
    token = word.set("here")
    try:
        answers = in_threads(lambda item: (item**2, word.get()), iter(range(40)), threads)
    finally:
        word.reset(token)
    assert answers == [(item**2, "here") for item in range(40)]


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_reaches_the_caller(threads):
    def call(item):
        if item == 3:
            raise ValueError("three")

    with pytest.raises(ValueError, match="three"):
        in_threads(call, range(10), threads)


class Lender:
    """Lends so many threads, and sees how many work at a time."""

    def __init__(self, threads):
        self.threads, self.lent, self.seen = threads, 0, set()

    @contextmanager
    def __call__(self):
        self.lent += 1
        try:
            yield self.threads
        finally:
            self.lent -= 1


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_are_borrowed_and_given_back(threads):
    lender = Lender(threads)
    meeting = threading.Barrier(threads)

    def call(_):
        lender.seen.add(threading.get_ident())
        assert lender.lent == 1
        meeting.wait(30)

    with lent_by(lender):
        in_threads(call, range(max(threads, 2)))
    assert (lender.lent, len(lender.seen)) == (0, threads)


def test_without_a_lender_there_are_as_many_threads_as_processors():
    meeting = threading.Barrier(cores())
    in_threads(lambda _: meeting.wait(30), range(cores()))


def test_threads_begin_no_threads_where_all_processors_are_in_use():
    def call(_):
        return {threading.get_ident(), *in_threads(lambda _: threading.get_ident(), range(4))}

    assert [len(threads) for threads in in_threads(call, range(4), 2)] == [1] * 4


def test_what_is_called_for_one_item_has_all_threads():
    lender = Lender(2)

    def call(item):
        assert lender.lent == 1
        meeting.wait(30)
        return item

    meeting = threading.Barrier(2)
    with lent_by(lender):
        assert in_threads(lambda item: in_threads(call, (item, 2)), (1,)) == [[1, 2]]


def test_a_running_median_borrows_its_threads(monkeypatch):
    lender = Lender(1)
    monkeypatch.setattr("refstis.cores.ThreadPoolExecutor", None)  # of one thread none is begun
    image = np.random.default_rng(1).normal(size=(300, 40)).astype(np.float32)
    with lent_by(lender):
        found = window_median(image, (3, 3), "symmetric")
    assert found[150, 20] == np.median(image[149:152, 19:22])
