"""Cosmic-ray rejection against a model in plain Python that goes through the pixels one by one."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refstis.calibration import crcorr
from refstis.calibration.blevcorr import LevelledFrame
from refstis.calibration.crcorr import RejectionParameters, StackImage, reject_cosmic_rays, sky_mode

F = np.float32
OK, SPILL, EXCLUDE, HIT = 0, 2, 4, 8


# -------------------------------------------------------------- the model


def slow_sky_mode(sci, dq):
    values = [v for v, q in zip(sci.ravel(), dq.ravel(), strict=True) if q == 0]
    least, total = F(0), F(0)
    for v in values:
        least = min(least, v)
        total = total + v
    mean = total / F(len(values))
    lo = -1000 if least < -1000 else int(least) - 1
    hi = 1 if mean <= 0 else int(float(mean) + 1.0) * 2
    nb = hi - lo + 1
    counts = [0] * nb
    for v in values:
        h = int(v) - lo
        if 0 <= h < nb:
            counts[h] += 1
    hmin = float(F(lo))
    if nb == 1:
        return F(hmin + 0.5)
    if nb == 2:
        return F(hmin + 1) if counts[0] == counts[1] else F(hmin + counts.index(max(counts)) + 0.5)
    p = counts.index(max(counts))
    if p == 0:
        return F(hmin + 0.5)
    if p == nb - 1:
        return F(hmin + nb - 0.5)
    d1, d2 = F(counts[p] - counts[p - 1]), F(counts[p] - counts[p + 1])
    den = d1 + d2
    if den < 1e-20:
        return F(hmin + p + 0.5)
    m = F(p + 1 + 0.5 * float(d1 - d2) / float(den))
    return F(hmin + (float(m) - 0.5))


def slow_rejection(images, par):
    """SCI, ERR, DQ, skies, and the masks of the last iteration."""
    count, (ny, nx) = len(images), images[0].sci.shape
    dqs = [np.zeros((ny, nx), "i2") if i.dq is None else i.dq for i in images]
    gain = [F(i.gain) for i in images]
    noise = [F(i.readnoise) / F(i.gain) for i in images]
    exptot = F(0)
    for i in images:
        exptot = exptot + F(i.exptime)
    efac = [F(1) if exptot == 0 else F(i.exptime) for i in images]
    texpt = F(count) if exptot == 0 else exptot
    sky = [slow_sky_mode(i.sci, q) if par.sky == "mode" else F(0) for i, q in zip(images, dqs, strict=True)]
    scale = F(float(F(par.scale_noise)) / 100.0)
    zero = F(0)
    places = [(y, x) for y in range(ny) for x in range(nx)]
    pics = [
        np.array([[(i.sci[y, x] - s) / e for x in range(nx)] for y in range(ny)])
        for i, s, e in zip(images, sky, efac, strict=True)
    ]

    ave, avevar = np.zeros((ny, nx), "f4"), np.zeros((ny, nx), "f4")
    for y, x in places:
        values = [pic[y, x] for pic in pics]
        if par.initial_guess == "median":
            ordered = sorted(values)
            middle = count // 2
            ave[y, x] = ordered[middle] if count % 2 else F(float(ordered[middle - 1] + ordered[middle]) / 2)
        else:
            n = min(range(count), key=lambda k: values[k])  # the earliest of equal ones
            value = images[n].sci[y, x]
            raw, signal = max(value, zero), max(value - sky[n], zero)
            ave[y, x] = values[n]
            avevar[y, x] = (noise[n] * noise[n] + raw / gain[n] + (scale * signal) * (scale * signal)) / (
                efac[n] * efac[n]
            )

    rej2 = F(par.radius) * F(par.radius)
    psig2 = F(par.threshold) * F(par.threshold) if par.threshold > 0 else F(-1)
    width = int(float(F(par.radius)) + 1e-5)
    for iteration, sigma in enumerate(par.sigmas):
        last = iteration == len(par.sigmas) - 1
        sig2 = F(sigma) * F(sigma)
        total, weight, scatter = (np.zeros((ny, nx), "f4") for _ in range(3))
        masks = []
        for n in range(count):
            e, g, s, rog2 = efac[n], gain[n], sky[n], noise[n] * noise[n]
            e2 = e * e
            thresh, spill = np.zeros((ny, nx), "f4"), np.zeros((ny, nx), "f4")
            for y, x in places:
                if par.initial_guess == "minimum" and iteration == 0:
                    thresh[y, x] = spill[y, x] = sig2 * avevar[y, x]
                else:
                    dum = ave[y, x] * e + s
                    val = max(dum, zero)
                    ps = max(dum - s, zero)
                    thresh[y, x] = (sig2 * ((rog2 + val / g) + (scale * ps) * (scale * ps))) / e2
                    spill[y, x] = (sig2 * (rog2 + val / g)) / e2
            mask = np.where(dqs[n] & np.int16(par.bad_bits), EXCLUDE, OK)
            for y, x in places:
                d = pics[n][y, x] - ave[y, x]
                if d * d > thresh[y, x] and mask[y, x] != EXCLUDE:
                    mask[y, x] = HIT
                    for jj in range(max(y - width, 0), min(y + width, ny - 1) + 1):
                        for ii in range(max(x - width, 0), min(x + width, nx - 1) + 1):
                            if F((ii - x) ** 2 + (jj - y) ** 2) > rej2:
                                continue
                            d = pics[n][jj, ii] - ave[jj, ii]
                            if d * d <= psig2 * spill[jj, ii]:
                                continue
                            if mask[jj, ii] != HIT:
                                mask[jj, ii] = SPILL
            for y, x in places:
                if mask[y, x] == OK:
                    signal = pics[n][y, x] * e
                    total[y, x] += signal
                    weight[y, x] += e
                    if last:
                        val = max(signal + s, zero)
                        scatter[y, x] += (rog2 + val / g) + (scale * val) * (scale * val)
            masks.append(mask)
        for y, x in places:
            if weight[y, x] > 0:
                ave[y, x] = total[y, x] / weight[y, x]
            elif last:
                ave[y, x] = 0
    err = np.zeros((ny, nx), "f4")
    dq = np.full((ny, nx), 8192, "i2")
    for y, x in places:
        if weight[y, x] > 0:
            err[y, x] = F(math.sqrt(float(scatter[y, x])) / float(weight[y, x]))
        for q, mask in zip(dqs, masks, strict=True):
            flags = q[y, x] & ~8192
            t = dq[y, x] | flags
            dq[y, x] = t if mask[y, x] in (HIT, SPILL) else t & ~8192
    skysum = F(0)
    for s in sky:
        skysum = skysum + s
    rejected = [np.isin(mask, (HIT, SPILL)) for mask in masks]
    return ave * texpt + skysum, err * texpt, dq, sky, rejected


def check(images, par, **options):
    with np.errstate(invalid="ignore"):
        sci, err, dq, sky, rejected = slow_rejection(images, par)
    found = reject_cosmic_rays(images, par, **options)
    np.testing.assert_array_equal(found.sci, sci)
    np.testing.assert_array_equal(found.err, err)
    np.testing.assert_array_equal(found.dq, dq)
    assert found.sky.tolist() == [float(s) for s in sky]
    assert found.rejected_count == sum(int(r.sum()) for r in rejected)
    for n, expected in enumerate(rejected):
        np.testing.assert_array_equal(found.rejected(n), expected)
    assert (found.sci.dtype, found.err.dtype, found.dq.dtype) == (np.float32, np.float32, np.int16)
    return found


def stack(
    count,
    shape=(7, 9),
    seed=0,
    exptimes=None,
    level=40.0,
    hits=0.08,
    flags=0.0,
    bits=(16, 4, 8192),
    gains=None,
):
    """Images of a flat sky with photon noise, hits that spread, and flags."""
    generator = np.random.default_rng(seed)
    images = []
    for n in range(count):
        exptime = 100.0 if exptimes is None else exptimes[n]
        image = generator.normal(level * (exptime or 100.0) / 100.0, 6.0, shape)
        for y, x in np.argwhere(generator.random(shape) < hits):
            image[y, x : x + 2] += generator.exponential(150.0)
            image[y : y + 2, x] += generator.exponential(60.0)
        dq = None
        if flags:
            dq = np.where(generator.random(shape) < flags, generator.choice(bits, shape), 0).astype(np.int16)
        gain, readnoise = (1.0, 5.5) if gains is None else gains[n]
        images.append(StackImage(image.astype(np.float32), dq, exptime, gain, readnoise))
    return images


# -------------------------------------------------------------- stacks


@given(
    st.integers(0, 10**6),
    st.integers(2, 5),
    st.sampled_from(["median", "minimum"]),
    st.sampled_from(["none", "mode"]),
    st.sampled_from([0.0, 0.9, 1.0, 1.5, 2.0, 3.0]),
    st.sampled_from([-1.0, 0.0, 0.5, 0.8, 2.0]),
    st.sampled_from([0.0, 3.0, 30.0]),
    st.sampled_from([(5.0,), (6.0, 3.5), (6.5, 5.5, 4.5), (1.0, 0.5)]),
    st.sampled_from([0, 16, 8192, 16 | 4]),
    st.sampled_from(["equal", "zero", "unequal"]),
)
@settings(deadline=None, derandomize=True, max_examples=90)
def test_any_parameters(seed, count, guess, sky, radius, threshold, scale, sigmas, bad, times):
    exptimes = {"equal": None, "zero": [0.0] * count, "unequal": [60.0, 110.5, 333.25, 20.0, 1100.0][:count]}[
        times
    ]
    images = stack(count, (6, 7), seed, exptimes, flags=0.2 if bad or seed % 2 else 0.0)
    check(images, RejectionParameters(sigmas, guess, sky, radius, threshold, scale, bad))


@pytest.mark.parametrize("guess", ["median", "minimum"])
@pytest.mark.parametrize("count", [2, 3, 8, 9])
def test_even_and_odd_numbers_of_images(guess, count):
    check(stack(count, seed=count), RejectionParameters((5.0, 4.0), guess, "mode", 1.5, 0.8))


def test_images_of_unequal_gain_and_read_noise():
    images = stack(
        4,
        seed=4,
        gains=[(1.0, 5.5), (4.016, 8.2328), (1.0, 7.25), (2.0, 6.7)],
        exptimes=[50.0, 60.0, 70.0, 80.0],
    )
    check(images, RejectionParameters((5.0, 4.0), "minimum", "mode", 1.5, 0.8, 2.5))
    check(images, RejectionParameters((5.0, 4.0), "median", "none", 1.5, 0.8, 2.5))


@pytest.mark.parametrize("guess", ["median", "minimum"])
def test_wide_images(guess):
    # wider than the blocks that medians are taken in, and than whole bytes of rejection bits
    images = stack(4, (4, 131), seed=8)
    check(images, RejectionParameters((5.0, 4.0), guess, "mode", 1.5, 0.8))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("tile_bytes", [1, 4 * 5 * 23 * 30, 2**40])
@pytest.mark.parametrize(("guess", "radius"), [("median", 3.0), ("minimum", 1.5), ("median", 0.0)])
def test_tiles_and_threads_do_not_show(monkeypatch, tile_bytes, threads, guess, radius):
    images = stack(5, (97, 23), seed=11, hits=0.03, flags=0.1)
    parameters = RejectionParameters((6.5, 5.0, 3.0), guess, "mode", radius, 0.8, 1.0)
    whole = reject_cosmic_rays(images, parameters, threads=1)
    monkeypatch.setattr(crcorr, "TILE_BYTES", tile_bytes)
    found = reject_cosmic_rays(images, parameters, threads=threads)
    for name in ("sci", "err", "dq", "sky", "rejected_bits"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    assert found.rejected_count == whole.rejected_count > 0


def test_exclusions_do_not_depend_on_tiles(monkeypatch):
    # each exclusion may be spilled on and then spill on: a chain that runs down the image
    images = stack(3, (40, 9), seed=5, hits=0.1, flags=0.6, bits=(16,))
    parameters = RejectionParameters((4.0, 3.0), "median", "none", 1.5, 0.0, 0.0, 16)
    monkeypatch.setattr(crcorr, "TILE_BYTES", 1)
    check(images, parameters, threads=2)


def test_an_image_that_is_not_finite():
    images = stack(3, seed=3, hits=0.0)
    images[1].sci[2, 3] = np.nan
    parameters = RejectionParameters((4.0,), "median", "none", 1.5, 0.0)
    found = reject_cosmic_rays(images, parameters)
    # a comparison with it is false: never a hit, so it stays and shows
    assert not found.rejected(1)[2, 3]
    assert np.isnan(found.sci[2, 3])
    # next to a hit it is spilled on
    images[1].sci[2, 4] += 1e5
    found = reject_cosmic_rays(images, parameters)
    assert found.rejected(1)[2, 3]
    assert np.isfinite(found.sci).all()


# -------------------------------------------------------------- points that a misreading would get wrong


def image(*rows, gain=1.0, readnoise=1.0, exptime=1.0, dq=None):
    return StackImage(
        np.array(rows, dtype=np.float32),
        None if dq is None else np.array(dq, dtype=np.int16),
        exptime,
        gain,
        readnoise,
    )


def test_limits_are_compared_strictly():
    # minimum 0 with variance 1: at 4 sigma the limit is 4, and 16 > 16 is false
    images = [image([0, 0, 0]), image([4.0, np.nextafter(F(4), F(5)), 40])]
    found = check(images, RejectionParameters((4.0,), "minimum", "none", 0.0, 0.0))
    assert found.rejected(1).tolist() == [[False, True, True]]


def test_a_neighbour_exactly_at_its_limit_is_not_spilled_on():
    # limit of neighbours: 0.5 * 4 sigma * 1 = 2
    images = [image([0, 0, 0, 0, 0]), image([0, 2.0, 50, np.nextafter(F(2), F(3)), 0])]
    found = check(images, RejectionParameters((4.0,), "minimum", "none", 1.0, 0.5))
    assert found.rejected(1).tolist() == [[False, False, True, True, False]]


def test_a_neighbour_of_no_variance_and_no_deviation_stays_even_at_threshold_zero():
    # the limit is then -0, and 0 <= -0
    images = [image([0, 0, 0], readnoise=0.0), image([0, 9, 0], readnoise=0.0)]
    found = check(images, RejectionParameters((4.0,), "minimum", "none", 1.0, 0.0))
    assert found.rejected(1).tolist() == [[False, True, False]]


def test_the_earliest_of_equal_minima_gives_the_variance():
    # with read noise 1 the third image is a hit at 4 sigma, with read noise 9 it is not
    quiet, loud, hit = image([0.0]), image([0.0], readnoise=9.0), image([20.0])
    parameters = RejectionParameters((4.0,), "minimum", "none", 0.0, 0.8)
    assert check([quiet, loud, hit], parameters).rejected(2).all()
    assert not check([loud, quiet, hit], parameters).rejected(2).any()


def test_spill_takes_an_exclusion_away_for_what_comes_later():
    # the hit at 1 spills on the excluded pixel 2, which is a hit itself then and spills on 3
    bright = [0, 90, 80, 70, 0]
    parameters = RejectionParameters((4.0,), "minimum", "none", 1.0, 0.8, 0.0, 16)
    base = image([0, 0, 0, 0, 0])
    found = check([base, image(bright, dq=[[0, 0, 16, 0, 0]])], parameters)
    assert found.rejected(1).tolist() == [[False, True, True, True, False]]
    # an excluded pixel before the hit is spilled on too, but too late to be a hit itself and to spill on 0
    found = check([base, image([3.5, 80, 90, 0, 0], dq=[[0, 16, 0, 0, 0]])], parameters)
    assert found.rejected(1).tolist() == [[False, True, True, False, False]]
    assert check([base, image([3.5, 80, 90, 0, 0])], parameters).rejected(1)[0, 0]


def test_an_exclusion_that_nothing_spills_on_is_not_a_rejection():
    images = [image([0, 0, 0], dq=[[16, 0, 0]]), image([900, 0, 0], dq=[[16, 0, 0]]), image([0, 0, 0])]
    found = check(images, RejectionParameters((4.0,), "median", "none", 1.0, 0.8, 0.0, 16))
    assert not found.rejected(1).any()
    assert found.dq.tolist() == [[16, 0, 0]]
    assert found.sci[0, 0] == 0


def test_a_pixel_that_is_excluded_everywhere_is_empty():
    images = [image([700, 3], dq=[[4, 0]]), image([800, 3], dq=[[4, 0]])]
    found = check(images, RejectionParameters((4.0,), "median", "none", 0.0, 0.8, 0.0, 4))
    assert (found.sci[0, 0], found.err[0, 0], found.dq[0, 0]) == (0, 0, 4)


def test_a_pixel_that_is_rejected_everywhere_holds_the_sky_and_8192():
    # rejected: both differ from their mean by more than the limit
    images = [image([10.0, -90.0]), image([10.0, 110.0])]
    found = check(images, RejectionParameters((4.0,), "median", "none", 0.0, 0.8))
    assert (found.sci[0, 1], found.err[0, 1], found.dq[0, 1]) == (0, 0, 8192)


def test_old_rejections_of_the_inputs_are_forgotten():
    images = [image([1, 1], dq=[[8192 | 2, 0]]), image([1, 1], dq=[[8192, 1]])]
    found = check(images, RejectionParameters((4.0,), "median", "none", 0.0, 0.8))
    assert found.dq.tolist() == [[2, 1]]


def test_sums_of_biases_and_darks():
    # biases: the sum over the images; darks: the rate of what is left times the total time
    parameters = RejectionParameters((4.0,), "minimum", "none", 0.0, 0.8)
    biases = [image([2.0], exptime=0.0), image([3.0], exptime=0.0), image([500.0], exptime=0.0)]
    found = check(biases, parameters)
    assert found.sci[0, 0] == 7.5
    assert found.exptime == 0
    darks = [image([10.0], exptime=10.0), image([20.0], exptime=20.0), image([5000.0], exptime=30.0)]
    found = check(darks, parameters)
    assert found.sci[0, 0] == 60.0
    assert found.exptime == 60.0


# -------------------------------------------------------------- sky


@given(
    st.lists(
        st.one_of(
            st.floats(-30, 90, width=32),
            st.sampled_from([-0.5, 0.5, 7.0, -998.5, -999.0, -1000.0, -1000.5, -1001.0, -1200.0, 9000.0]),
        ),
        min_size=1,
        max_size=60,
    ),
    st.integers(0, 2**60),
)
@settings(deadline=None, derandomize=True, max_examples=200)
def test_sky_mode(values, masked):
    sci = np.array([values], dtype=np.float32)
    dq = np.array([[(masked >> i) & 1 for i in range(len(values))]], dtype=np.int16)
    if (dq == 0).any():
        assert sky_mode(sci, np.flatnonzero(dq)) == slow_sky_mode(sci, dq)
    assert sky_mode(sci) == slow_sky_mode(sci, np.zeros_like(dq))


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        ([5.2] * 6 + [4.5] * 2 + [6.5] * 4, 5.5 + 0.5 * (4 - 2) / (4 + 2)),  # between its neighbours
        ([5.2] * 6 + [4.5] * 4 + [6.5] * 4, 5.5),
        ([-0.9, 0.9, -0.1, 0.1, 1.5], 0.5 + 0.5 * (4 - 3) / (4 + 3)),  # the bin of 0 is two wide
        ([3.5] * 4 + [7.5] * 4 + [0.5], 3.5),  # the first of equal maxima
    ],
)
def test_sky_mode_by_hand(values, mode):
    assert sky_mode(np.array([values], dtype=np.float32)) == pytest.approx(mode, abs=1e-6)


def test_sky_mean_is_summed_in_float32():
    # beyond 2**24 the float32 sum stops growing: the mean, and with it the range of the histogram, is too low
    sci = np.full((5000, 1000), 40.0, dtype=np.float32)
    sci[-100:] = 20.0
    assert sky_mode(sci) == slow_sky_mode_of_two(sci)


def slow_sky_mode_of_two(sci):
    total = np.add.accumulate(sci.ravel())[-1]
    high = int(float(total / F(sci.size)) + 1.0) * 2
    assert total < 0.99 * sci.sum(dtype="f8")
    return F(40.5) if high >= 40 else F(20.5)


def test_sky_where_the_end_of_the_histogram_hangs_on_a_rounding():
    # the mean is near 0: which of both sides it is on decides whether the histogram ends at 1 or at 2
    generator = np.random.default_rng(3)
    for _ in range(20):
        sci = generator.normal(0.0, 4.0, (40, 30)).astype(np.float32)
        sci -= np.float32(sci.mean(dtype="f8"))
        assert sky_mode(sci) == slow_sky_mode(sci, np.zeros(sci.shape, "i2"))


def test_no_good_pixel_has_no_sky():
    assert sky_mode(np.ones((2, 2), dtype=np.float32), np.arange(4)) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_the_sky_of_pixels_that_are_not_finite(value):
    sci = np.full((3, 4), 40.0, dtype=np.float32)
    sci[1, 1] = value
    with pytest.raises(ValueError, match="not finite"):
        sky_mode(sci)
    assert sky_mode(sci, np.array([5])) == 40.5


# -------------------------------------------------------------- what cannot be combined


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([image([1.0])], "at least 2"),
        ([image([1.0]), image([1.0, 2.0])], "different shapes"),
        ([image([1.0]), image([1.0], gain=0.0)], "ATODGAIN"),
        ([image([1.0]), image([1.0], exptime=0.0)], "exposure times"),
    ],
)
def test_stacks_that_cannot_be_combined(images, words):
    with pytest.raises(ValueError, match=words):
        reject_cosmic_rays(images, RejectionParameters((4.0,), sky="none"))


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"sigmas": ()}, "CRSIGMAS"),
        ({"sigmas": (4.0,), "sky": "mean"}, "SKYSUB"),
        ({"sigmas": (4.0,), "initial_guess": "mean"}, "INITGUES"),
    ],
)
def test_parameters_without_meaning(parameters, words):
    with pytest.raises(ValueError, match=words):
        RejectionParameters(**parameters)


def test_raw_integers_combine_as_their_floats():
    generator = np.random.default_rng(0)
    raws = [generator.integers(1490, 1520, (5, 6)).astype(np.uint16) for _ in range(3)]
    raws[1][2, 2] = 40000
    for guess in ("median", "minimum"):
        parameters = RejectionParameters((4.0,), guess, "mode", 1.5, 0.8, 1.0)
        of_integers, of_floats = (
            reject_cosmic_rays(
                [StackImage(raw.astype(dtype), None, 10.0, 1.0, 5.0) for raw in raws], parameters
            )
            for dtype in (np.uint16, np.float32)
        )
        np.testing.assert_array_equal(of_integers.sci, of_floats.sci)
        np.testing.assert_array_equal(of_integers.rejected_bits, of_floats.rejected_bits)


# ---------------------------------------------------------------- the sky of raw frames


class Raw:
    """What a level is subtracted from: pixels that know where they come from."""

    def __init__(self, frame, level, drift, corner):
        self.source = LevelledFrame(frame, level, drift, corner)
        self.shape = len(level), len(drift)

    def __getitem__(self, rows):
        return self.source(slice(*rows.indices(self.shape[0])[:2]), slice(0, self.shape[1]))


def raw_frame(rng, rows, columns):
    """Whole numbers around a level that lies anywhere between them, also next to one, with a drift of any slope."""
    base = rng.choice([0.0, 5.0, 1440.0, rng.uniform(0, 3000)]) + rng.choice(
        [0.0, 1e-4, -1e-4, rng.uniform(-1, 1)]
    )
    level = base + np.arange(rows) * rng.choice([0.0, 1e-3, -1e-3, 1e-5])
    drift = (np.arange(columns) - rng.integers(0, 30)) * rng.choice(
        [0.0, 1e-6, 1e-3, 0.3, -0.3, rng.normal() / 100]
    )
    values = rng.normal(
        level[:, None] + drift + rng.choice([0, 0.4, 2, 50, 5000]), rng.choice([0, 0.5, 6, 3000])
    )
    if rng.random() < 0.3:
        values.flat[rng.integers(0, values.size, 3)] = rng.choice([0, 65535])
    frame = np.zeros((rows + 3, columns + 6), dtype=np.uint16)
    frame[1 : rows + 1, 4 : columns + 4] = np.clip(np.rint(values), 0, 65535)
    return Raw(frame, level, drift, (1, 4))


@pytest.mark.parametrize("seed", range(4))
def test_the_sky_of_a_raw_frame_is_that_of_its_pixels(seed):
    rng = np.random.default_rng(seed)
    for _ in range(60):
        raw = raw_frame(rng, int(rng.integers(1, 150)), int(rng.integers(1, 200)))
        flagged = np.flatnonzero(rng.random(raw.shape[0] * raw.shape[1]) < rng.choice([0, 0.01, 0.5]))
        assert raw.source.of_integers
        for bad in (None, flagged):
            assert sky_mode(raw, bad).tobytes() == sky_mode(raw[:], bad).tobytes()


def test_the_histogram_of_a_raw_frame_counts_its_pixels_cut_towards_zero():
    raw = raw_frame(np.random.default_rng(7), 40, 90)
    total, reach, counts = raw.source.survey(np.empty(0, dtype=np.int64), -20, 30)
    pixels = raw[:].astype(np.float64)
    cut = np.trunc(pixels)
    assert counts.tolist() == [
        int((cut < -20).sum()), *(int((cut == value).sum()) for value in range(-20, 31)), int((cut > 30).sum()),
    ]  # fmt: skip
    assert total == pytest.approx(pixels.sum(), rel=1e-6)
    assert reach >= np.abs(np.cumsum(pixels.ravel())).max()


def test_a_level_that_no_frame_has_leaves_the_histogram_to_the_pixels():
    level = np.full(3, 1e12)
    assert not LevelledFrame(np.zeros((3, 4), dtype=np.uint16), level, np.zeros(4)).of_integers
    assert not LevelledFrame(np.zeros((3, 4), dtype=np.float32), np.zeros(3), np.zeros(4)).of_integers
