"""Look-ups that several stages make: the row of the CCDTAB and the switches of the header."""

from __future__ import annotations

from refstis.datamodels.exposure import Exposure
from refstis.datamodels.tables import CcdParameters, ReferenceTable, read_ccd_parameters
from refstis.stages.base import RefstisStep

__all__ = ["ccd_parameters", "last_row_first", "photmode", "with_ccd_keywords"]


def ccd_parameters(step: RefstisStep, exposure: Exposure) -> CcdParameters:
    """Row of the CCDTAB that holds for an exposure.

    Parameters
    ----------
    step : RefstisStep
        The stage that needs it.
    exposure : Exposure
        The exposure.

    Returns
    -------
    CcdParameters
        Gain, read noise, saturation and bias level.
    """
    return read_ccd_parameters(ReferenceTable.open(step.get_reference(exposure, "ccdtab").file), exposure)


def last_row_first(exposure: Exposure) -> bool:
    """Whether the row with the highest index is read first.

    Parameters
    ----------
    exposure : Exposure
        The exposure.

    Returns
    -------
    bool
        True for the amplifiers C and D, which are above the top row.
    """
    return str(exposure.primary.get("CCDAMP", "D")).strip()[:1].upper() in {"C", "D"}


def with_ccd_keywords(exposure: Exposure, ccd: CcdParameters) -> Exposure:
    """Exposure with the keywords that every CALSTIS step leaves in the header.

    Parameters
    ----------
    exposure : Exposure
        The exposure.
    ccd : CcdParameters
        Its row of the CCDTAB.

    Returns
    -------
    Exposure
        With ATODGAIN, READNSE, PHOTMODE, and CRCORR set to SKIPPED where there is one image set only.
    """
    changes = {
        "ATODGAIN": (ccd.gain, "calibrated CCD amplifier gain value"),
        "READNSE": (ccd.readnoise, "calibrated CCD read noise value"),
        "PHOTMODE": photmode(exposure),
    }
    if len(exposure.imsets) == 1 and exposure.switch("CRCORR") == "PERFORM":
        changes["CRCORR"] = "SKIPPED"
    return exposure.changed(changes)


def photmode(exposure: Exposure) -> str:
    """Observation mode in the words of synphot (keyword PHOTMODE).

    Parameters
    ----------
    exposure : Exposure
        The exposure.

    Returns
    -------
    str
        Such as "STIS 50CCD A2D1 MIRROR CCD MJD#60203.5500".
    """
    header = exposure.primary
    element = str(header.get("OPT_ELEM", "")).strip()
    words = ["STIS", str(header.get("APERTURE", "")).strip(), f"A2D{int(header.get('CCDGAIN', 1))}"]
    words += ["MIRROR" if element.startswith("MIR") else element, "CCD"]
    if str(header.get("OBSTYPE", "")).strip() == "SPECTROSCOPIC":
        words.append(str(header.get("CENWAVE", "")))
    start = next((imset for imset in exposure.imsets if imset.good), exposure.imsets[0]).sci_header.get(
        "EXPSTART", 0.0
    )
    return " ".join([*words, f"MJD#{float(start):.4f}"])
