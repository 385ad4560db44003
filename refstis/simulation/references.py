"""Reference tables of a simulated detector, in the layout of the real ones."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from refstis.datamodels import config_path
from refstis.datamodels.atomic import atomic_write, make_folder
from refstis.simulation.detector import Detector, parameters
from refstis.simulation.readout import Readout

__all__ = ["write_references"]

_BAD_PIXELS = 272
# Columns of the real table, in their order.
_CCDTAB = (
    *("CCDAMP", "CCDGAIN", "CCDOFFST", "BINAXIS1", "BINAXIS2"),
    *("ATODGAIN", "CCDBIAS", "READNSE", "SATURATE", "PEDIGREE", "DESCRIP"),
    *("CTINORM", "CTIGPOWER", "CTIBGFAC", "CTIBGPOWER", "CTIREFMJD", "CTITIMFAC"),
    *("SPURCHARGE", "HALOFAC", "HALOMINFRAC"),
)


def _write(path: Path, primary: dict[str, str], table: Any) -> None:
    from astropy.io import fits

    hdus = fits.HDUList([fits.PrimaryHDU(), table])
    hdus[0].header.update(
        {"FILENAME": path.name, "TELESCOP": "HST", "INSTRUME": "STIS", "DETECTOR": "CCD"} | primary
    )
    hdus[0].header["COMMENT"] = "simulated reference file, not for the calibration of real data"
    with atomic_write(path) as file:
        hdus.writeto(file)


def _ccdtab(detector: Detector) -> Any:
    from astropy.io import fits

    section, transfer = parameters()["detector"], parameters()["transfer"]
    shared = {
        "PEDIGREE": "INFLIGHT 01/05/2009 01/05/2009",
        "DESCRIP": f"Simulated, epoch {detector.epoch}",
        "CTINORM": transfer["norm"],
        "CTIGPOWER": transfer["power"],
        "CTIBGFAC": transfer["background_factor"],
        "CTIBGPOWER": transfer["background_power"],
        "CTIREFMJD": transfer["reference_mjd"],
        "CTITIMFAC": transfer["per_year"],
        "HALOFAC": 1.30003,
        "HALOMINFRAC": 0.06,
    }
    rows = []
    for amp, gain, xbin, ybin in product("ABCD", (1, 4), (1, 2, 4), (1, 2, 4)):
        readout = Readout(amp, gain, (xbin, ybin))
        own = {
            "CCDAMP": amp,
            "CCDGAIN": gain,
            "CCDOFFST": 3,
            "BINAXIS1": xbin,
            "BINAXIS2": ybin,
            "ATODGAIN": section["gain"][gain],
            "CCDBIAS": detector.ccdbias(readout),
            "READNSE": detector.noise(readout),
            "SATURATE": section["saturate"][gain],
            "SPURCHARGE": section["spurious_charge"].get(
                readout.mode, section["spurious_charge"][f"{gain} 1x1"]
            ),
        }
        rows.append(own | shared)
    formats = dict.fromkeys(_CCDTAB, "1E") | {"CCDAMP": "1A", "PEDIGREE": "67A", "DESCRIP": "67A"}
    formats |= dict.fromkeys(_CCDTAB[1:5], "1I")
    columns = [
        fits.Column(
            name,
            formats[name],
            array=[row[name] for row in rows],
            null=-32767 if formats[name] == "1I" else None,
            unit={"READNSE": "electrons", "SATURATE": "DN"}.get(name),
        )
        for name in _CCDTAB
    ]
    return fits.BinTableHDU.from_columns(columns, name="CCD")


def _bpixtab(detector: Detector) -> Any:
    """The hottest long-lived pixels, as a list from before launch would have them."""
    from astropy.io import fits

    hot = detector.hot
    number = max(2, round(_BAD_PIXELS * detector.density))
    old = np.flatnonzero(np.isneginf(hot["born"]))
    chosen = old[np.argsort(-hot["rate"][old], kind="stable")[:number]]
    readout = Readout(size=detector.size)
    # The table counts unbinned light-sensitive pixels from one; a small sensor's pixel is a block of 4 x 4.
    steps = readout.binning
    first = [
        int((readout.offset[axis] + 1 - readout.ltv[axis]) / readout.ltm[axis] + 0.5 - (step - 1) / 2)
        for axis, step in enumerate(steps)
    ]
    pix1 = hot["x"][chosen] * steps[0] + first[0]
    pix2 = hot["y"][chosen] * steps[1] + first[1]
    rows = [(x, y + line) for x, y in zip(pix1, pix2, strict=True) for line in range(steps[1])]
    columns = [
        fits.Column("PIX1", "1I", array=[x for x, _ in rows]),
        fits.Column("PIX2", "1I", array=[y for _, y in rows]),
        fits.Column("LENGTH", "1I", array=[steps[0]] * len(rows)),
        fits.Column("AXIS", "1I", array=[1] * len(rows)),
        fits.Column("VALUE", "1I", array=[16] * len(rows)),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="BPX")
    table.header["SIZAXIS1"] = 1024
    table.header["SIZAXIS2"] = 1024
    return table


def _crrejtab() -> Any:
    from astropy.io import fits
    from astropy.table import Table

    rows = Table.read(config_path("crrejtab.ecsv"), format="ascii.ecsv")
    formats = {
        "CRSPLIT": "1I",
        "MEANEXP": "1E",
        "SCALENSE": "8A",
        "INITGUES": "8A",
        "SKYSUB": "4A",
        "CRSIGMAS": "20A",
    }
    formats |= {"CRRADIUS": "1E", "CRTHRESH": "1E", "BADINPDQ": "1I", "CRMASK": "1L"}
    columns = [
        fits.Column(name, form, array=np.asarray(rows[name]), null=-32767 if form == "1I" else None)
        for name, form in formats.items()
    ]
    return fits.BinTableHDU.from_columns(columns)


def write_references(folder: Path, detector: Detector) -> Path:
    """Write the CCDTAB, BPIXTAB and CRREJTAB that the raws of a detector name.

    Parameters
    ----------
    folder : pathlib.Path
        Made if need be; what ``$oref`` is to point at.
    detector : Detector
        The chip.

    Returns
    -------
    pathlib.Path
        The folder.
    """
    make_folder(folder)
    _write(
        folder / detector.figures["ccdtab"],
        {
            "FILETYPE": "CCD PARAMETERS TABLE",
            "USEAFTER": "Oct 01 1996 00:00:00",
            "PEDIGREE": "INFLIGHT 01/08/2009 20/04/2016",
            "DESCRIP": "CCD parameters of a simulated detector".ljust(67, "-"),
            "APERTURE": "ANY",
        },
        _ccdtab(detector),
    )
    _write(
        folder / "h1v11475o_bpx.fits",
        {
            "FILETYPE": "BAD PIXEL TABLE",
            "USEAFTER": "Oct 01 1996 00:00:00",
            "PEDIGREE": "GROUND",
            "DESCRIP": "Hot pixels of a simulated detector".ljust(67, "-"),
            "CCDAMP": "ANY",
            "APERTURE": "ANY",
        },
        _bpixtab(detector),
    )
    _write(
        folder / "j3m1403io_crr.fits",
        {
            "FILETYPE": "COSMIC RAY REJECTION TABLE",
            "USEAFTER": "Apr 18 1997",
            "PEDIGREE": "INFLIGHT 01/03/97",
            "DESCRIP": "18-Jun-98 CR rejection parameters from ISR 98-22 by D.Shaw & P.Hodge",
            "APERTURE": "ANY",
        },
        _crrejtab(),
    )
    return folder
