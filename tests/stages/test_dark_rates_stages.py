"""Stages of dark rates: what they take from headers, what they write there, and how week and month meet."""

import numpy as np
import pytest
from frames import BEGIN, arrays, in_memory

from refstis.errors import ConfigurationError, InputError
from refstis.stages import BlendBaselineStep, FitRatesStep, FlagHotRatesStep, TempCorrStep

SHAPE = (40, 50)
GAIN, NOISE = 2.0, 6.0
HOT = 2.0


def darks(number=10, side=2, seed=1, slope=0.0, temperatures=None):
    """Darks without bias (DN) of 0.018 e-/s, with one hot pixel whose slope is off by `slope`."""
    generator = np.random.default_rng(seed)
    rate = np.full(SHAPE, 0.018)
    rate[7, 9] = HOT
    logs, slopes = [-2.5, -1.25, 1.0], [0.053, 0.088, 0.058]
    laws = np.interp(np.log10(rate), logs, slopes)
    laws[7, 9] += slope
    frames = []
    for n in range(number):
        warm = (temperatures[n] if temperatures is not None else 19.0 + 0.2 * n) if side == 2 else 18.0
        electrons = generator.poisson(1100.0 * rate * (1 + laws * (warm - 18.0))) + generator.normal(
            0, NOISE, SHAPE
        )
        header = {"EXPSTART": BEGIN + n, "EXPEND": BEGIN + n + 0.01, "EXPTIME": 1100.0, "OCCDHTAV": warm}
        if side == 1:
            header["OCCDHTAV"] = -1.0
        primary = {
            "ATODGAIN": GAIN, "READNSE": NOISE, "TARGNAME": "DARK",
            "TEXPSTRT": header["EXPSTART"] if side == 2 else 51500.0 + n,
        }  # fmt: skip
        frames.append(in_memory([(electrons / GAIN).astype("f4")], headers=[header], primary=primary))
    return frames


def fit(**parameters):
    return FitRatesStep(skip=False, threads=1, **parameters)


def test_rates_at_the_reference_temperature():
    made = fit(exact_at=18.0).process(darks())
    image = arrays(made)
    pull = (image.sci - 0.018) / image.err
    pull[7, 9] = (image.sci[7, 9] - HOT) / image.err[7, 9]
    # 2000 pulls
    assert abs(pull.mean()) < 0.1
    assert pull.std() == pytest.approx(1.0, abs=0.07)
    assert (made.primary["CRCORR"], made.primary["TEMPCORR"]) == ("COMPLETE", "COMPLETE")
    # the ordinary pixels' slope, for CALSTIS
    assert made.primary["DRK_VS_T"] == pytest.approx(
        np.interp(np.log10(0.018), [-2.5, -1.25], [0.053, 0.088]), abs=5e-4
    )
    assert made.imsets[0].sci_header["BUNIT"] == "ELECTRONS/S"
    assert made.imsets[0].sci_header["NCOMBINE"] == 10
    assert "10 darks" in made.procedure[-1]


def test_scaled_darks_give_the_same_rates():
    frames = darks()
    scaled = [TempCorrStep().process(dark) for dark in frames]
    assert all(dark.done("TEMPCORR") for dark in scaled)
    one, two = (arrays(fit().process(some)) for some in (frames, scaled))
    np.testing.assert_allclose(two.sci, one.sci, rtol=1e-5)
    np.testing.assert_allclose(two.err, one.err, rtol=1e-5)


def test_the_order_of_the_darks_does_not_matter():
    frames = darks()
    one, two = (arrays(fit().process(some)) for some in (frames, frames[::-1]))
    np.testing.assert_array_equal(one.sci, two.sci)


def test_side_1_is_not_scaled():
    made = fit().process(darks(side=1))
    assert abs(np.median(arrays(made).sci) - 0.018) < 2e-4
    assert "TEMPCORR" not in made.primary
    assert made.primary["DRK_VS_T"] == 0.07
    assert "Side 1" in made.procedure[-1]


def test_exact_at_a_temperature():
    """CALSTIS multiplies by 1 + DRK_VS_T (T - 18): at that temperature every pixel comes out right."""
    temperatures = np.full(10, 20.5)
    frames = darks(slope=-0.02, temperatures=temperatures)
    truth = HOT * (1 + (np.interp(np.log10(HOT), [-1.25, 1.0], [0.088, 0.058]) - 0.02) * 2.5)
    found = {}
    for name, step in (("at 18", fit(exact_at=18.0)), ("at 20.5", fit())):
        made = step.process(frames)
        image, law = arrays(made), 1 + made.primary["DRK_VS_T"] * 2.5
        assert made.primary["EXACT_AT"] == (18.0 if step.exact_at else 20.5)
        found[name] = image.sci[7, 9] * law, image.err[7, 9] * law
    value, error = found["at 20.5"]
    assert abs(value - truth) < 4 * error
    assert error < 0.02
    # at 18 C the slope is unknown, and the uncertainty says so
    assert found["at 18"][1] > 2 * error
    # and scaling all pixels by one law is wrong by the difference of the slopes
    own = np.interp(np.log10(HOT), [-1.25, 1.0], [0.088, 0.058])
    assert found["at 18"][0] / value == pytest.approx(law / (1 + 2.5 * own), rel=2e-3)
    assert abs(law / (1 + 2.5 * own) - 1) > 0.01


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"primary": {"READNSE": 0.0}}, "READNSE is 0.0.*Run blevcorr first"),
        ({"primary": {"CRCORR": "COMPLETE"}}, "combination of exposures already"),
        ({"sci": {"EXPTIME": 0.0}}, "EXPTIME is 0.0"),
        ({"sci": {"OCCDHTAV": -1.0}, "primary": {"TEMPCORR": "COMPLETE"}}, "cannot be undone"),
    ],
)
def test_darks_that_cannot_be_used(spoil, words):
    frames = darks(3)
    imset = frames[1].imsets[0].with_keywords(spoil.get("sci", {}))
    frames[1] = frames[1].changed(spoil.get("primary", {}), [imset])
    with pytest.raises(InputError, match=words):
        fit().process(frames)


def test_one_dark_is_too_few():
    with pytest.raises(InputError, match="comparing at least 2"):
        fit().process(darks(1))


def test_slopes_need_their_rates():
    with pytest.raises(ConfigurationError, match="as many of both"):
        fit(slopes=[0.07]).process(darks(3))


def test_the_week_is_exact_where_its_baseline_is(tmp_path):
    base = image(0.02, 0.001).changed({"FILETYPE": "DARK IMAGE", "EXACT_AT": 20.25})
    path = tmp_path / "base.fits"
    base.save(path)
    step, given = fit(), fit(exact_at=19.0)
    for one in (step, given):
        one.as_baseline(path)
    assert (step.exact_at, given.exact_at) == (20.25, 19.0)


def test_of_a_pixel_that_changed_the_longest_rate():
    frames = []
    for n, dark in enumerate(darks()):
        counts = dark.imsets[0].sci[:].copy()
        counts[20, 20] = (0.5 if n >= 7 else 0.018) * 1100.0 / GAIN * 1.15
        frames.append(
            in_memory(
                [counts],
                headers=[{"EXPSTART": BEGIN + n, "OCCDHTAV": 20.0}],
                primary={"ATODGAIN": GAIN, "READNSE": NOISE},
            )
        )
    mean, longest = (fit(changed=how, mark=1024).process(frames) for how in ("mean", "longest"))
    assert arrays(mean).sci[20, 20] == pytest.approx(0.7 * 0.018 + 0.3 * 0.5, rel=0.03)
    assert arrays(longest).sci[20, 20] == pytest.approx(0.018, abs=0.003)
    # and how far off it may be
    assert arrays(longest).err[20, 20] == pytest.approx(np.sqrt(0.3) * 0.482, rel=0.05)
    for made in (mean, longest):
        assert arrays(made).dq[20, 20] == 1024
    assert "have the longest of their rates" in longest.procedure[-1]


def test_the_week_learns_from_its_baseline_what_has_changed(tmp_path):
    frames = darks()
    last = frames[-1].imsets[0]
    counts = last.sci[:].copy()
    # a track in the last dark, as of a cosmic ray
    counts[20, 20:23] += 600.0
    frames[-1] = in_memory(
        [counts],
        headers=[{key: last.sci_header[key] for key in ("EXPSTART", "EXPTIME", "OCCDHTAV")}],
        primary={"ATODGAIN": GAIN, "READNSE": NOISE},
    )
    flags = np.zeros(SHAPE, "i2")
    flags[20, 20] = 1024
    path = tmp_path / "base.fits"
    in_memory([np.full(SHAPE, 0.02, "f4")], 0.001, flags).changed({"FILETYPE": "DARK IMAGE"}).save(path)
    told, alone = fit(mark=1024), fit()
    for one in (told, alone):
        one.as_baseline(path)
    told, alone = (arrays(one.process(frames)) for one in (told, alone))
    np.testing.assert_array_equal(told.sci, alone.sci)
    more = np.sqrt(told.err.astype(float) ** 2 - alone.err.astype(float) ** 2)
    # 1200 e- of ten darks at 2 deg C above the reference, with a probability of a tenth
    assert more[20, 20] == pytest.approx(np.sqrt(0.1) * 1200.0 / (11000.0 * 1.15), rel=0.06)
    more[20, 20] = 0.0
    assert not more.any()


# -------------------------------------------------------------- week and month


def image(sci, err, dq=0):
    made = in_memory([np.full(SHAPE, sci, "f4") if np.isscalar(sci) else sci.astype("f4")], err)
    if dq:
        from refstis.datamodels.pixels import Pixels

        flags = np.full(SHAPE, dq, "i2")
        made = made.changed(imsets=[made.imsets[0].with_pixels(dq=Pixels.of(flags))])
    return made


def test_week_and_month(tmp_path):
    generator = np.random.default_rng(3)
    month_noise, week_noise = 0.001, 0.002
    month = 0.018 + generator.normal(0, month_noise, SHAPE)
    # the month's darks and those of the week, a quarter of them
    week = month + generator.normal(0, np.sqrt(week_noise**2 - month_noise**2), SHAPE)
    week[5, 5], month[5, 5] = 0.6, 0.15
    week[6, 6], month[6, 6] = 0.018, 0.4
    # the week itself knows of a change, whatever the month says
    error = np.full(SHAPE, week_noise, "f4")
    flags = np.full(SHAPE, 256, "i2")
    week[8, 8], month[8, 8], error[8, 8], flags[8, 8] = 0.018, 0.2, 0.3, 256 + 1024
    # and the month of one that is no larger than its noise
    week[9, 9] = month[9, 9] + 1.5 * week_noise
    known = np.full(SHAPE, 16 + 512, "i2")
    known[9, 9] += 1024
    base = in_memory([month.astype("f4")], month_noise, known).changed({"FILETYPE": "DARK IMAGE"})
    path = tmp_path / "base.fits"
    base.save(path)
    made = BlendBaselineStep(skip=False, override_basedark=str(path)).process(
        in_memory([week.astype("f4")], error, flags)
    )
    found = arrays(made)
    ordinary = np.ones(SHAPE, dtype=bool)
    ordinary[5, 5] = ordinary[6, 6] = ordinary[8, 8] = ordinary[9, 9] = False
    assert found.sci[9, 9] == pytest.approx(week[9, 9], abs=1e-6)
    assert found.sci[8, 8] == np.float32(0.018)
    assert found.err[8, 8] == pytest.approx(0.3)
    assert np.std(found.sci[ordinary]) < 1.05 * np.std(month[ordinary])
    np.testing.assert_allclose(found.err[ordinary], month_noise, rtol=0.35)
    for at in ((5, 5), (6, 6)):
        assert found.sci[at] == pytest.approx(week[at], abs=1e-6)
        assert found.err[at] == pytest.approx(week_noise)
    # the month's hot pixels are not the week's
    assert set(np.unique(found.dq)) == {256 + 512}
    assert "base.fits" in made.procedure[-1]


def test_hot_pixels_by_rate_and_significance():
    sci = np.full(SHAPE, 0.02)
    sci[1, 1], sci[2, 2], sci[3, 3] = 0.11, 0.099, 0.13
    err = np.full(SHAPE, 0.002, "f4")
    err[3, 3] = 0.05
    err[4, 4] = 0.2  # has been hot
    dark = image(sci, 0.002, dq=16 + 512)
    from refstis.datamodels.pixels import Pixels

    dark = dark.changed(imsets=[dark.imsets[0].with_pixels(err=Pixels.of(err))])
    dq = arrays(FlagHotRatesStep(skip=False).process(dark)).dq
    expected = np.full(SHAPE, 512)
    expected[1, 1] = expected[4, 4] = 528
    np.testing.assert_array_equal(dq, expected)
    dq = arrays(FlagHotRatesStep(skip=False, uncertain=0.05).process(dark)).dq
    expected[3, 3] = 528
    np.testing.assert_array_equal(dq, expected)
