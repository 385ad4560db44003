"""Pauses of Python's collection of garbage: nothing is collected meanwhile, and everything is as before afterwards."""

import gc
import weakref

import pytest

from refstis.garbage import TIMES, collection_paused, set_aside
from refstis.stages.base import RefstisStep


class Knot:
    """Garbage that only the collector finds."""

    def __init__(self):
        self.self = self


@pytest.fixture
def collecting():
    was_enabled = gc.isenabled()
    gc.enable()
    yield
    (gc.enable if was_enabled else gc.disable)()


@pytest.mark.usefixtures("collecting")
def test_nothing_is_collected_during_a_pause_and_everything_can_be_afterwards():
    with collection_paused():
        knot = weakref.ref(Knot())
        kept = [[] for _ in range(10 * gc.get_threshold()[0])]
        assert knot() is not None
    assert gc.isenabled()
    gc.collect()
    assert knot() is None
    assert len(kept) == 10 * gc.get_threshold()[0]


@pytest.mark.usefixtures("collecting")
def test_the_end_of_a_pause_does_not_go_through_what_came_meanwhile():
    seen = []

    def see(phase, info):
        if phase == "stop":
            seen.append(info["generation"])

    with collection_paused():
        kept = [[] for _ in range(10 * gc.get_threshold()[0])]
        gc.callbacks.append(see)
    try:
        kept.append([])
        assert seen == []
    finally:
        gc.callbacks.remove(see)


@pytest.mark.usefixtures("collecting")
def test_pauses_may_overlap_and_end_in_any_order():
    first, second = collection_paused(), collection_paused()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()


def pause():
    with collection_paused():
        raise ValueError("inside")


@pytest.mark.usefixtures("collecting")
def test_an_error_ends_the_pause():
    with pytest.raises(ValueError, match="inside"):
        pause()
    assert gc.isenabled()


@pytest.mark.usefixtures("collecting")
def test_who_has_switched_collection_off_finds_it_off():
    gc.disable()
    with collection_paused():
        pass
    assert not gc.isenabled()


@pytest.mark.usefixtures("collecting")
def test_what_a_program_froze_stays_frozen():
    gc.freeze()
    try:
        with collection_paused():
            pass
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()


@pytest.mark.usefixtures("collecting")
def test_what_is_set_aside_can_be_collected_afterwards():
    knot = weakref.ref(Knot())
    with set_aside():
        with set_aside():
            gc.collect()
        gc.collect()
        assert knot() is not None
        assert not gc.isenabled()
        later = weakref.ref(Knot())
        gc.collect()
        assert later() is None
    assert gc.isenabled()
    assert not gc.get_freeze_count()
    gc.collect()
    assert knot() is None


@pytest.mark.usefixtures("collecting")
def test_garbage_that_was_set_aside_is_collected_now_and_then():
    knots = []
    for _ in range(2 * TIMES):
        knots.append(weakref.ref(Knot()))
        with set_aside():
            pass
    assert sum(knot() is not None for knot in knots) < TIMES


class CollectStep(RefstisStep):
    """Looks at how much is set aside."""

    def process(self, steps):
        return gc.get_freeze_count(), [step.run([]) for step in steps]


@pytest.mark.usefixtures("collecting")
def test_a_step_by_itself_sets_aside_what_lives():
    inner = CollectStep()
    inner.parent = CollectStep()
    (outside, [(inside, _)]), afterwards = CollectStep().run([inner]), gc.get_freeze_count()
    assert 1000 < inside <= outside
    assert afterwards == 0
