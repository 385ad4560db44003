"""Stage daily: which moment, which darks, and what HISTORY says."""

import numpy as np
import pytest
from frames import BEGIN, arrays, in_memory

from refstis.errors import InputError
from refstis.stages import DailyStep

SHAPE = (30, 40)
DARK = {"ATODGAIN": 2.0, "READNSE": 6.0}


def darks(number=6, last_hot=2):
    """One dark a day, in DN; a pixel is hot in the last ones."""
    generator = np.random.default_rng(4)
    frames = []
    for day in range(number):
        counts = generator.normal(5.5, 3.0, SHAPE)
        counts[7, 9] = 550.0 if day >= number - last_hot else 5.5
        frames.append(counts.astype("f4"))
    headers = [{"EXPSTART": BEGIN + day, "EXPTIME": 1100.0} for day in range(number)]
    return [
        in_memory([frame], headers=[header], primary=DARK)
        for frame, header in zip(frames, headers, strict=True)
    ]


def superdark():
    sci = np.random.default_rng(5).normal(0.01, 0.002, SHAPE).astype("f4")
    return in_memory([sci], 0.002)


def test_without_a_moment_nothing_changes():
    dark = superdark()
    assert DailyStep().process(dark, darks()) is dark


@pytest.mark.parametrize(("day", "expected"), [(5.0, 1.0), (0.0, None)])
def test_rates_are_those_around_the_moment(day, expected):
    dark = superdark()
    found = DailyStep(moment=BEGIN + day).process(dark, darks(last_hot=3))
    before, after = arrays(dark).sci[7, 9], arrays(found).sci[7, 9]
    assert after == pytest.approx(before if expected is None else expected)
    others = np.ones(SHAPE, dtype=bool)
    others[7, 9] = False
    np.testing.assert_array_equal(arrays(found).sci[others], arrays(dark).sci[others])
    assert f"nearest in time to MJD {BEGIN + day:.5f}" in found.procedure[-1]
    assert f"{int(expected is not None)} pixels" in found.procedure[-1]


def test_two_image_sets_are_too_few():
    with pytest.raises(InputError, match=r"2 image set.*at least 3"):
        DailyStep(moment=BEGIN).process(superdark(), darks(2))


@pytest.mark.parametrize("scaled", [False, True])
def test_darks_follow_the_law_of_a_superdark_that_has_its_own(scaled):
    warmth, law = np.array([1.5, 2.0, 2.5, 2.0, 1.5, 2.0]), 0.075
    frames = []
    for day, (dark, above) in enumerate(zip(darks(last_hot=0), warmth, strict=True)):
        counts = arrays(dark).sci.copy()
        # 2 e-/s at the reference temperature, where the law of the superdark holds
        counts[7, 9] = 1100.0 * 2.0 * (1.0 + law * above) / 2.0
        if scaled:
            counts /= np.float32(1.0 + 0.07 * above)
        headers = [{"EXPSTART": BEGIN + day, "EXPTIME": 1100.0, "OCCDHTAV": 18.0 + above}]
        primary = DARK | ({"TEMPCORR": "COMPLETE"} if scaled else {})
        frames.append(in_memory([counts], headers=headers, primary=primary))
    dark = superdark().changed({"DRK_VS_T": law, "EXACT_AT": 20.0})
    found = DailyStep(moment=BEGIN + 5.0).process(dark, frames)
    assert arrays(found).sci[7, 9] == pytest.approx(2.0, rel=1e-5)
    # without the keyword the darks are taken as they are
    if scaled:
        plain = DailyStep(moment=BEGIN + 5.0).process(superdark(), frames)
        assert arrays(plain).sci[7, 9] == pytest.approx(
            2.0 * (1.0 + law * 2.0) / (1.0 + 0.07 * 2.0), rel=1e-3
        )
