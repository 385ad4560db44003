"""Geometry of raw frames against the overscan table of CALSTIS."""

import pytest

from refstis.errors import ConfigurationError
from refstis.simulation import Readout

# For amplifier A: raw rows and columns; columns trimmed left and right; columns of the bias section, inclusive.
LAYOUTS = {
    (1, 1): ((1044, 1062), (19, 19), (1046, 1060)),
    (1, 2): ((522, 1054), (19, 11), (1046, 1052)),
    (2, 1): ((1034, 532), (10, 11), (524, 530)),
    (2, 2): ((522, 532), (10, 11), (524, 530)),
    (4, 4): ((266, 271), (5, 11), (263, 269)),
    (1, 4): ((266, 1054), (19, 11), (1046, 1052)),
}


@pytest.mark.parametrize("amp", "ABCD")
@pytest.mark.parametrize("binning", LAYOUTS)
def test_layout(amp, binning):
    shape, (left, right), (first, last) = LAYOUTS[binning]
    readout = Readout(amp, 1, binning)
    ny, nx = shape
    if amp in "BD":
        left, right = right, left
        first, last = nx - 1 - last, nx - 1 - first
    virtual = ny - 1024 // binning[1]
    bottom = virtual if amp in "CD" else 0
    assert readout.shape == shape
    assert readout.trim == (slice(bottom, bottom + 1024 // binning[1]), slice(left, nx - right))
    assert (readout.section.start, readout.section.stop - 1) == (first, last)


@pytest.mark.parametrize(
    ("binning", "ltv"),
    [((1, 1), (19.0, 20.0)), ((2, 1), (10.75, 10.0)), ((2, 2), (10.75, 10.25))],
)
def test_offsets_of_real_headers(binning, ltv):
    assert Readout("D", 1, binning).ltv == ltv


@pytest.mark.parametrize("amp", "ABCD")
@pytest.mark.parametrize("binning", [*LAYOUTS, (2, 4), (4, 1), (4, 2)])
def test_trimmed_pixels_see_whole_sensor_pixels(amp, binning):
    readout = Readout(amp, 1, binning)
    for axis in (0, 1):
        part = readout.trim[1 - axis]
        step, offset = readout.bins[axis], readout.offset[axis]
        assert part.start * step - offset >= 0
        assert part.stop * step - offset <= 1024


def test_small_frames_have_the_layout_of_4x4_binning():
    small, binned = Readout(size="small"), Readout(binning=(4, 4))
    assert (small.shape, small.trim, small.section, small.ltv) == (
        binned.shape,
        binned.trim,
        binned.section,
        binned.ltv,
    )
    rows, columns = small.trim
    assert small.sensor == (rows.stop - rows.start, columns.stop - columns.start)


@pytest.mark.parametrize("bad", [{"amp": "E"}, {"gain": 3}, {"binning": (3, 1)}, {"size": "tiny"}])
def test_what_cannot_be_simulated_is_refused(bad):
    with pytest.raises(ConfigurationError, match="cannot be simulated"):
        Readout(**bad)
