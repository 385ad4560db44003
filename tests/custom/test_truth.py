"""Against the truth: what is left of hot pixels in an exposure after each dark."""

import numpy as np
import pytest
from astropy.io import fits

from refstis.custom import make_custom_dark
from refstis.simulation import Truth

EXPTIME, READNOISE = 1000.0, 6.2


def hot_pixels_left(dark, sky):
    """Pixels of the exposure in which the dark is wrong by more than 5 times the noise of an ordinary pixel."""
    known = Truth.open(sky.folder)
    row = {"amp": "D", "gain": 1, "binaxis1": 1, "binaxis2": 1, "mjd": sky.moment, "exptime": EXPTIME}
    moment = Truth(known.detector, {name: np.array([value]) for name, value in row.items()})
    rate = moment.dark_rate([0])
    noise = np.sqrt(np.median(rate) * EXPTIME + READNOISE**2)
    return int(np.count_nonzero(np.abs(fits.getdata(dark, ("SCI", 1)) - rate) * EXPTIME > 5.0 * noise))


def darks_of_other_weeks(sky, folder, **options):
    """The same recipe for exposures of the week before, and of the first week after the anneal."""
    for name, mjd in (("before", sky.moment - 6.2), ("after", sky.months[1].begin + 3.0)):
        science = folder / f"{name}_raw.fits"
        science.write_bytes(sky.science.read_bytes())
        fits.setval(science, "TEXPSTRT", value=mjd)
        yield (
            name,
            make_custom_dark(
                science,
                darks=sky.folder,
                anneals=sky.anneals,
                profile=sky.profile,
                output=folder / name,
                **options,
            ),
        )


def check(sky, made, folder, record_property, monkeypatch):
    from refstis.custom import page

    monkeypatch.setattr(page, "write_page", lambda *_, **__: None)
    left = {"custom": hot_pixels_left(made.dark, sky), "baseline": hot_pixels_left(made.basedark, sky)}
    daily = make_custom_dark(
        sky.science,
        darks=sky.folder,
        anneals=sky.anneals,
        profile=sky.profile,
        superbias=made.superbias,
        basedark=made.basedark,
        daily=True,
        output=folder / "daily",
    )
    left["daily"] = hot_pixels_left(daily.dark, sky)
    left |= {name: hot_pixels_left(one.dark, sky) for name, one in darks_of_other_weeks(sky, folder)}
    record_property("hot_pixels_left", left)
    assert left["custom"] < 0.9 * min(left["before"], left["after"])
    assert left["custom"] < left["baseline"]
    assert left["daily"] <= left["custom"]


def test_the_custom_dark_removes_more_hot_pixels_than_those_of_the_wrong_weeks(
    sky, custom, tmp_path, record_property, monkeypatch
):
    check(sky, custom[0], tmp_path, record_property, monkeypatch)


@pytest.mark.slow
def test_the_same_with_full_frames(make_sky, tmp_path_factory, tmp_path, monkeypatch, record_property):
    sky = make_sky(tmp_path_factory.mktemp("full"), size="full", days=12, imsets=[28])
    monkeypatch.setenv("oref", f"{sky.oref}/")
    made = make_custom_dark(sky.science, darks=sky.folder, anneals=sky.anneals, output=tmp_path / "custom")
    check(sky, made, tmp_path, record_property, monkeypatch)
