"""Statistics of simulated frames against published figures and measurements of real ones.

The numbers here are those of the sources that the docstrings name, never the simulation's own parameters.
"""

import numpy as np
import pytest
from scipy import ndimage

from refstis.errors import ConfigurationError
from refstis.simulation import Detector, Readout, bias_frame, dark_frame, kernels, streams


@pytest.fixture(scope="module")
def full_2017():
    return Detector(seed=8, epoch=2017)


@pytest.fixture(scope="module")
def full_1999():
    return Detector(seed=9, epoch=1999)


def test_same_name_gives_the_same_frame_and_another_name_another():
    chip = Detector(seed=3, size="small")
    first, again, other = (bias_frame(chip, name) for name in ("a", "a", "b"))
    assert np.array_equal(first.data, again.data)
    assert (first.data != other.data).mean() > 0.5


def test_overscan_levels_of_raw_frames(full_1999):
    """Raw 2x1 frames of 1999 and 2000.

    Trailing overscan 1122 to 1136, leading 4 to 5 DN lower, virtual rows 5 to 7 DN higher.
    """
    readout = Readout("D", 1, (2, 1))
    data = bias_frame(full_1999, "odd01", readout=readout).data.astype(float)
    rows, columns = readout.trim
    trailing = data[rows, readout.section].mean()
    leading = data[rows, -8:].mean()
    virtual = np.median(data[: rows.start, columns])
    assert 1118.0 <= trailing <= 1140.0
    assert 3.5 <= trailing - leading <= 5.5
    assert 4.5 <= virtual - trailing <= 8.0


@pytest.mark.parametrize(
    ("epoch", "gain", "level", "tolerance"),
    [(2023, 1, 1480.0, 6.0), (2023, 4, 1543.5, 6.0), (2017, 4, 1536.5, 6.0)],
)
def test_bias_level_of_calibrated_headers(epoch, gain, level, tolerance):
    """MEANBLEV: 1479.4 and 1480.5 (gain 1), 1542.4 and 1544.5 (gain 4) in Oct 2023; 1534 to 1539 in 2016-17."""
    readout = Readout("D", gain, size="small")
    chip = Detector(seed=1, epoch=epoch, size="small")
    full = chip.typical_level(Readout("D", gain))
    assert full == pytest.approx(level, abs=tolerance)
    # The frame itself has the level of its own mode.
    data = bias_frame(chip, "o01", readout=readout).data
    assert data[:, readout.section].mean() == pytest.approx(chip.typical_level(readout), abs=6.0)


@pytest.mark.parametrize(
    ("epoch", "gain", "electrons_per_dn", "noise"),
    [
        (1999, 1, 1.0, 4.02),  # ISR 98-31
        (1999, 4, 4.016, 7.65),
        (2009, 1, 1.0, 5.6),  # poster after SM4
        (2009, 4, 4.016, 8.3),
        (2017, 1, 1.0, 6.24),  # CCDTAB since 2014
        (2017, 4, 4.016, 8.2328),
    ],
)
def test_read_noise_from_pairs(epoch, gain, electrons_per_dn, noise):
    chip = Detector(seed=2, epoch=epoch)
    readout = Readout("D", gain)
    first, second = (bias_frame(chip, f"o{i}", readout=readout).data.astype(float) for i in (1, 2))
    # Overscan only: no charge, so no shot noise.
    difference = (first - second)[:, readout.section] * electrons_per_dn
    difference -= difference.mean()
    assert difference.std() / 2**0.5 == pytest.approx(noise, rel=0.02)


@pytest.mark.parametrize(("epoch", "side"), [(1999, 1), (2017, 2)])
def test_herringbone_on_side_2_only(epoch, side):
    """ISR 2001-05: 15.5 to 18 kHz; with 22 microseconds a pixel that is 0.341 to 0.396 periods a pixel."""
    chip = Detector(seed=5, epoch=epoch)
    data = bias_frame(chip, "o1").data.astype(float)
    rows = data - np.median(data, axis=1, keepdims=True)
    rows = np.clip(rows - np.median(rows, axis=0), -25.0, 25.0)
    power = (np.abs(np.fft.rfft(rows, axis=1)) ** 2).mean(axis=0)
    frequency = np.fft.rfftfreq(rows.shape[1])
    peak = frequency[20:][power[20:].argmax()]
    contrast = power[20:].max() / np.median(power[20:])
    if side == 1:
        assert contrast < 1.5
    else:
        assert contrast > 3.0
        assert 0.34 < peak < 0.397
        # About one electron rms: the power of the line above the white noise.
        line = power[20:][power[20:] > 1.5 * np.median(power)] - np.median(power)
        assert (2.0 * line.sum()) ** 0.5 / rows.shape[1] == pytest.approx(1.0, abs=0.3)


def test_signal_depresses_its_row():
    """ISR 97-09: one electron per about 1380 electrons of mean row signal."""
    chip = Detector(seed=4, epoch=1999)
    scene = np.zeros(chip.sensor)
    scene[500:540] = 13.8
    readout = Readout()
    frames = [
        chip.expose(f"s{i}", chip.begin, 1000.0, readout, scene=scene).data.astype(float) for i in range(4)
    ]
    overscan = np.mean(frames, axis=0)[:, readout.section].mean(axis=1)
    lit = overscan[520:560].mean()
    dark = np.r_[overscan[450:515], overscan[565:630]].mean()
    assert dark - lit == pytest.approx(13.8 * 1000.0 / 1380.0, rel=0.05)


@pytest.mark.parametrize(
    ("epoch", "counts"),
    [
        (1999, {0.1: 12197, 1.0: 2555, 10.0: 280}),  # raw darks of Oct 1999
        (2009, {0.1: 44741, 10.0: 1089}),  # monitor, after the anneal of Oct 2009
    ],
)
def test_hot_pixel_counts_after_an_anneal(epoch, counts):
    chip = Detector(seed=12, epoch=epoch)
    rate = chip.dark_rate(chip.begin)
    for limit, number in counts.items():
        assert (rate > limit).sum() == pytest.approx(number, rel=0.2)


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(1999, 0.0041), (2009, 0.0134 / 1.28), (2017, 0.0175)],
)
def test_median_dark_rate_in_frames(epoch, rate):
    """Median of the centre rows; 2009: 0.0134 at 22 C, divided by 1 + 0.07 (22 - 18)."""
    chip = Detector(seed=6, epoch=epoch, size="small")
    readout = Readout(size="small")
    rows, columns = readout.trim
    middle = slice(rows.start + 96, rows.start + 160)
    values = []
    for i in range(6):
        mjd = chip.begin + 3.0 * i
        dark = dark_frame(chip, f"d{i}", mjd)
        bias = chip.mean_charge(readout, mjd, 0.0, dark.temperature)[middle]
        data = dark.data[middle, columns] - dark.level - chip.pattern(readout)[middle, columns] - bias
        values.append(data / 1100.0 / (1.0 + 0.07 * (dark.temperature - 18.0)))
    assert np.median(np.median(values, axis=0)) == pytest.approx(rate, rel=0.1)


def test_top_of_the_chip_is_darker_since_2009():
    """Poster after SM4: about 30 per cent less near the amplifier at the top."""
    base = Detector(seed=7, epoch=2009).base
    assert np.median(base[-64:]) / np.median(base[:64]) == pytest.approx(0.7, abs=0.08)


def test_births_and_annealing():
    """About 450 a day above 0.1 in Oct 2009; the anneal heals 48 per cent of the new ones (ISR 2009-01)."""
    begin = Detector(epoch=2009, size="small").begin
    chip = Detector(seed=10, epoch=2009, days=57.0, anneals=(begin + 28.0,))
    before, after, later = (chip.dark_rate(begin + day) > 0.1 for day in (0.1, 27.9, 28.2))
    new = after & ~before
    assert new.sum() / 27.8 == pytest.approx(450.0, rel=0.2)
    assert 1.0 - (new & later).sum() / new.sum() == pytest.approx(0.48, abs=0.06)


def test_unstable_pixels_switch_and_stable_ones_do_not():
    chip = Detector(seed=13, epoch=2017, size="small")
    rates = np.array([chip.hot_rate(chip.begin + 0.5 * i) for i in range(40)])
    old = np.isneginf(chip.hot["born"])
    unstable = chip.hot["swing"] > 0
    assert (rates[:, old & ~unstable] == rates[0, old & ~unstable]).all()
    assert (np.ptp(rates[:, old & unstable], axis=0) > 0).mean() > 0.9


def test_temperature_slopes(full_2017):
    """STIS-TV: medians 5.3 %/C at 10^-2.5, 8.8 at 10^-1.25 and 5.8 at 10 e/s; all within 2.9 to 11.1."""
    hot = full_2017.hot
    slope = hot["slope"]
    assert slope.min() >= 0.029 - 1e-6
    assert slope.max() <= 0.111 + 1e-6
    rate = np.log10(hot["rate"])
    for center, expected in ((-1.25, 0.088), (1.0, 0.058)):
        assert np.median(slope[np.abs(rate - center) < 0.1]) == pytest.approx(expected, abs=0.004)
    readout = Readout()
    cold, warm = (
        np.median(full_2017.mean_charge(readout, full_2017.begin, 1100.0, t)[500:600]) for t in (18.0, 22.0)
    )
    assert 0.05 < (warm / cold - 1.0) / 4.0 < 0.10


def test_housing_temperature_takes_the_values_of_telemetry():
    """Values seen in headers: 18.3886 to 21.7615; plots of the STIS-TV study span 17.75 to 24.25."""
    seen = (18.3886, 18.7414, 19.0943, 19.4471, 19.8, 20.1923, 20.5846, 20.9769, 21.3692, 21.7615)
    chip = Detector(seed=14, epoch=2017, size="small")
    true = np.array([chip.temperature(chip.begin + 0.37 * i) for i in range(75)])
    header = np.array([chip.header_temperature(t) for t in true])
    assert set(header) <= set(seen) | {h for h in header if not 18.38 < h < 21.77}
    assert len(set(header)) > 4
    assert np.abs(true - header).max() < 0.2
    assert true.min() > 17.5
    assert true.max() < 24.25
    first_side = Detector(epoch=1999, size="small")
    assert first_side.header_temperature(first_side.temperature(first_side.begin)) == -1.0


def test_cosmic_rays_as_measured():
    """Fourteen real exposures, 2x1, 6-sigma seeds and 3-sigma footprints.

    4.75 +- 0.75 events/s, 29.4 pixels/s; sizes 2/3/4/6/15/45 and charges 255/522/985/1836/4345/20382/76803 at
    5/25/50/75/95/99 and 1/5/25/50/75/95/99 per cent.
    """
    chip = Detector(seed=15, epoch=1999)
    noise, exposures = 3.75, (900.0, 900.0, 1200.0, 1685.0)
    seconds, sizes, charges = sum(exposures), [], []
    for exptime in exposures:
        frame = dark_frame(chip, f"c{len(sizes)}", exptime=exptime)
        hits = np.zeros(chip.sensor)
        hits.ravel()[frame.hit_index] = frame.hit_charge
        image = hits.reshape(1024, 512, 2).sum(axis=2)
        image += noise * streams.normal_array(streams.stream("noise", frame.name), image.size).reshape(
            image.shape
        )
        labels, number = ndimage.label(image > 3 * noise, np.ones((3, 3)))
        index = np.arange(1, number + 1)
        seeds = index[ndimage.maximum(image, labels, index) > 6 * noise]
        sizes.append(ndimage.sum(image > 3 * noise, labels, seeds))
        charges.append(ndimage.sum(image, labels, seeds))
    sizes, charges = np.concatenate(sizes), np.concatenate(charges)
    assert len(sizes) / seconds == pytest.approx(4.75, abs=0.75)
    assert sizes.sum() / seconds == pytest.approx(29.4, rel=0.2)
    assert np.allclose(np.percentile(sizes, [5, 25, 50, 75, 95, 99]), [2, 3, 4, 6, 15, 45], rtol=0.3, atol=1)
    measured = [255, 522, 985, 1836, 4345, 20382, 76803]
    assert np.allclose(np.percentile(charges, [1, 5, 25, 50, 75, 95, 99]), measured, rtol=0.2)


def test_cosmic_rays_cover_the_handbook_s_share_of_pixels():
    """Instrument handbooks: 1.5 to 3 per cent of the pixels in 1000 s."""
    chip = Detector(seed=16, epoch=1999)
    frame = dark_frame(chip, "c2", exptime=1000.0)
    significant = (frame.hit_charge > 5.0 * 4.02).sum() / 1024**2
    assert 0.015 < significant < 0.04


def test_full_wells_bleed_along_columns_and_keep_their_charge():
    charge = np.full((50, 3), 100.0, dtype=np.float32)
    charge[25, 1] = 600_000.0
    before = charge.sum(dtype=float)
    kernels.bleed(charge, 128_000.0)
    assert charge.max() <= 128_000.0
    assert charge.sum(dtype=float) == pytest.approx(before, rel=1e-6)
    assert (charge[:, [0, 2]] == 100.0).all()
    assert (charge[24:27, 1] == 128_000.0).all()


@pytest.mark.parametrize(("amp", "behind"), [("D", -1), ("A", 1)])
def test_transfer_leaves_trails_away_from_the_amplifier(amp, behind):
    chip = Detector(seed=17, epoch=2017, cti=True)
    plain = Detector(seed=17, epoch=2017)
    scene = np.zeros(chip.sensor)
    y = 200 if amp == "D" else 800
    scene[y, 100:900:5] = 5.0
    readout = Readout(amp)
    with_cti, without = (
        np.mean(
            [d.expose(f"t{i}", d.begin, 500.0, readout, scene=scene).data.astype(float) for i in range(3)],
            axis=0,
        )
        for d in (chip, plain)
    )
    rows, columns = readout.trim
    change = (with_cti - without)[rows, columns]
    # Trails of other pixels lie on lit and unlit columns alike.
    net = np.median(change[:, 100:900:5], axis=1) - np.median(change[:, 102:902:5], axis=1)
    assert net[y] < -20.0
    assert net[y + behind] > net[y + 3 * behind] > 0.5
    assert abs(net[y - behind]) < 1.5


def test_hot_columns_run_away_from_the_amplifier_into_the_virtual_rows(full_2017):
    readout = Readout("D")
    mean = full_2017.mean_charge(readout, full_2017.begin, 0.0, 20.0)
    brightest = np.argmax(full_2017.columns["charge"])
    x, y = full_2017.columns["x"][brightest], full_2017.columns["y"][brightest]
    charge = full_2017.columns["charge"][brightest]
    offset = readout.offset[1]
    neighbours = np.median(mean[: y + offset, max(x - 6, 0) : x + 7], axis=1)
    below = mean[: y + offset, x] - neighbours
    above = mean[y + offset + 1 :, x] - np.median(mean[y + offset + 1 :, max(x - 6, 0) : x + 7], axis=1)
    assert np.median(below) > 0.7 * charge
    assert np.median(below[:offset]) > 0.7 * charge
    assert np.median(above) < 0.3 * charge


def test_wrong_epoch_and_wrong_size_are_refused():
    with pytest.raises(ConfigurationError, match="1999, 2009, 2017, 2023"):
        Detector(epoch=2005)
    with pytest.raises(ConfigurationError, match="small"):
        bias_frame(Detector(size="small"), "x", readout=Readout())
