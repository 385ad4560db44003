"""Headers of reference files: what CRDS selects them by, and what they were made of."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from astropy.io import fits
from astropy.time import Time

from refstis.calibration.darkcorr import DRK_VS_T, REF_TEMP
from refstis.datamodels.exposure import Exposure, InputRecord
from refstis.datamodels.keywords import header_text
from refstis.errors import InputError

__all__ = [
    "PRODUCTS",
    "ProductKind",
    "ReferenceHistory",
    "averaged_header",
    "description",
    "input_names",
    "reference_keywords",
    "useafter_text",
]

DESCRIP_LENGTH = 67
HISTORY_WIDTH = 72
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
INPUTS_BEGIN = "The following input files were used:"


@dataclass(frozen=True)
class ProductKind:
    """What distinguishes the header of one kind of product.

    Parameters
    ----------
    filetype : str
        FILETYPE.
    taskname : str
        TASKNAME.
    words : str
        How DESCRIP begins.
    subject : str
        How HISTORY calls the product.
    """

    filetype: str
    taskname: str
    words: str
    subject: str

    @property
    def is_dark(self) -> bool:
        """Whether the product is a dark."""
        return self.filetype == "DARK IMAGE"


PRODUCTS = {
    "basebias": ProductKind("CCD BIAS IMAGE", "BASEJOIN", "Baseline bias", "Baseline superbias image"),
    "refbias": ProductKind("CCD BIAS IMAGE", "refbias", "Refbias", "Superbias image"),
    "weekbias": ProductKind("CCD BIAS IMAGE", "WEEKBIAS", "Weekbias", "Weekly superbias image"),
    "basedark": ProductKind("DARK IMAGE", "BASEDARK", "Baseline dark", "Baseline superdark image"),
    "weekdark": ProductKind("DARK IMAGE", "WEEKDARK", "Weekdark", "Weekly superdark image"),
}


def _moment(mjd: float) -> datetime:
    """UTC of an MJD, cut to whole seconds; a start that lies within a millisecond below a second is that second."""
    moment = Time(mjd, format="mjd", scale="utc").to_datetime() + timedelta(milliseconds=1)
    return moment.replace(microsecond=0)


def useafter_text(mjd: float) -> str:
    """USEAFTER as CRDS wants it.

    Parameters
    ----------
    mjd : float
        Moment from which on the file holds (MJD, UTC).

    Returns
    -------
    str
        Such as "Sep 16 2023 06:00:00".
    """
    moment = _moment(mjd)
    return f"{MONTHS[moment.month - 1]} {moment:%d %Y %H:%M:%S}"


def description(kind: ProductKind, gain: int, amp: str, mjd: float) -> str:
    """DESCRIP, padded to its full length.

    Parameters
    ----------
    kind : ProductKind
        Kind of product.
    gain : int
        CCDGAIN of the inputs.
    amp : str
        CCDAMP of the inputs.
    mjd : float
        Moment from which on the file holds (MJD, UTC).

    Returns
    -------
    str
        67 characters.
    """
    mode = f"(amp={amp})" if kind.is_dark else f"({gain}/{amp})"
    return f"{kind.words} {mode} for data taken after {_moment(mjd):%Y-%m-%d}".ljust(DESCRIP_LENGTH, "-")


def input_names(history: Iterable[str]) -> list[str]:
    """Names of the input files that a reference file's HISTORY lists.

    Parameters
    ----------
    history : iterable of str
        Lines of HISTORY.

    Returns
    -------
    list of str
        File names; empty where there is no such list.
    """
    names: list[str] = []
    inside = False
    for line in history:
        text = str(line).strip()
        if inside and not text:
            return names
        if inside:
            names.append(text)
        inside = inside or text == INPUTS_BEGIN
    return names


def reference_keywords(
    kind: ProductKind, product: Exposure, useafter: float | None = None
) -> tuple[fits.Header, list[str]]:
    """Primary header of a reference file.

    Parameters
    ----------
    kind : ProductKind
        Kind of product.
    product : Exposure
        The product with the records of its inputs and its procedure.
    useafter : float, optional
        Moment from which on the file holds (MJD, UTC); the start of the first input by default.

    Returns
    -------
    tuple
        The header without HISTORY, and the lines of HISTORY.

    Raises
    ------
    InputError
        Where the inputs have no dates.
    """
    mode, inputs = product.primary, product.inputs
    if not inputs or not all(record.begin > 0 and record.end > 0 for record in inputs):
        name = next(
            (record.name for record in inputs if not (record.begin > 0 and record.end > 0)), product.name
        )
        raise InputError(
            f"{name}: TEXPSTRT or TEXPEND is missing or 0; a reference file needs the dates of its inputs."
        )
    begin, end = min(record.begin for record in inputs), max(record.end for record in inputs)
    since = begin if useafter is None else useafter
    amp, gain = str(mode.get("CCDAMP")).strip().upper(), int(mode.get("CCDGAIN"))
    dark = kind.is_dark
    header = fits.Header()
    for keyword, value, comment in (
        ("FILENAME", "", "name of file"),
        ("NEXTEND", 3, "number of extensions"),
        ("TELESCOP", "HST", "telescope used to acquire data"),
        ("INSTRUME", "STIS", "identifier for instrument used to acquire data"),
        ("DETECTOR", "CCD", "detector in use: CCD"),
        ("CCDAMP", "ANY" if dark else amp, "CCD amplifier read out (A,B,C,D)"),
        ("CCDGAIN", -1 if dark else gain, "commanded gain of CCD"),
        ("CCDOFFST", -1 if dark else int(mode.get("CCDOFFST", 3)), "commanded CCD bias offset"),
        ("OPT_ELEM", "ANY", "optical element in use"),
        ("APERTURE", "ANY", "aperture name"),
        ("OBSTYPE", "ANY", "observation type - imaging or spectroscopic"),
        ("BINAXIS1", int(mode.get("BINAXIS1", 1)), "axis1 data bin size in unbinned detector pixels"),
        ("BINAXIS2", int(mode.get("BINAXIS2", 1)), "axis2 data bin size in unbinned detector pixels"),
        ("FILETYPE", kind.filetype, "type of data found in data file"),
        ("PEDIGREE", f"INFLIGHT {_moment(begin):%d/%m/%Y} {_moment(end):%d/%m/%Y}", "dates of the inputs"),
        ("USEAFTER", useafter_text(since), "file is used for data taken after"),
        ("DESCRIP", description(kind, gain, amp, since), None),
        ("TASKNAME", kind.taskname, "procedure that made the file"),
    ):
        header[keyword] = (value, comment)
    if dark:
        header["REF_TEMP"] = (mode.get("REF_TEMP", REF_TEMP), "reference CCD housing temperature (deg C)")
        header["DRK_VS_T"] = (mode.get("DRK_VS_T", DRK_VS_T), "relative change of dark rate per deg C")
        if "EXACT_AT" in mode:
            header["EXACT_AT"] = (mode["EXACT_AT"], "scaling is exact for all pixels here (deg C)")
        header["TEXPTIME"] = (1.0, "exposure time of the rate (s)")
    for keyword in mode:
        if keyword.startswith(("PCTE", "CTE_")):
            header[keyword] = mode[keyword]
    header["COMMENT"] = "Reference file created by refstis"
    return header, _history(kind, product, amp, gain)


def _history(kind, product, amp, gain):
    inputs: tuple[InputRecord, ...] = product.inputs
    mode = product.primary
    count = sum(record.imsets for record in inputs)
    lines = textwrap.wrap(
        f"{kind.subject}, combination of {count} input frames taken with CCDAMP={amp}, CCDGAIN={gain}, "
        f"BINAXIS1={mode.get('BINAXIS1', 1)}, BINAXIS2={mode.get('BINAXIS2', 1)}.",
        HISTORY_WIDTH,
    )
    proposals = dict.fromkeys((record.proposal, record.title) for record in inputs)
    lines.append(
        f"All input frames were from Proposal(s) {'/'.join(str(p) for p in dict.fromkeys(p for p, _ in proposals))}:"
    )
    lines += [line for _, title in proposals for line in textwrap.wrap(title, HISTORY_WIDTH)]
    lines += [INPUTS_BEGIN, *(record.name for record in inputs), ""]
    for sentence in product.procedure:
        lines += textwrap.wrap(sentence, HISTORY_WIDTH)
    return lines


@dataclass(frozen=True)
class ReferenceHistory:
    """What the HISTORY of a reference file tells.

    Parameters
    ----------
    count : int
        Number of input frames; 0 where it is not told.
    proposals : tuple of str
        Numbers of the proposals.
    titles : tuple of str
        Their titles, line by line.
    names : tuple of str
        Input files.
    procedure : tuple of str
        The lines after the list of files.
    """

    count: int
    proposals: tuple[str, ...]
    titles: tuple[str, ...]
    names: tuple[str, ...]
    procedure: tuple[str, ...]

    @classmethod
    def parse(cls, lines: Iterable[str]) -> ReferenceHistory:
        """Read the lines of HISTORY.

        Parameters
        ----------
        lines : iterable of str
            Lines as in the header, of this program or of refstis 0.8.

        Returns
        -------
        ReferenceHistory
            What they tell.
        """
        texts = [str(line).strip() for line in lines]
        head = texts[: texts.index(INPUTS_BEGIN)] if INPUTS_BEGIN in texts else []
        names = input_names(texts)
        rest = texts[len(head) + len(names) + 2 :] if head else texts
        found = re.search(r"combination of ([0-9.]+) input", " ".join(head))
        proposals: tuple[str, ...] = ()
        titles: tuple[str, ...] = ()
        for number, text in enumerate(head):
            match = re.match(r"All input frames were from Proposal\(s\) ([0-9/ ,]+):", text)
            if match:
                proposals, titles = tuple(re.split(r"[/ ,]+", match[1])), tuple(head[number + 1 :])
        return cls(int(float(found[1])) if found else 0, proposals, titles, tuple(names), tuple(rest))


def _pedigree_dates(text):
    dates = re.findall(r"(\d\d)/(\d\d)/(\d{4})", text)
    return sorted((year, month, day) for day, month, year in dates)


def _useafter_moment(text):
    month, day, year, time = [*text.split(), "00:00:00"][:4]
    number = [name.lower() for name in MONTHS].index(month[:3].lower()) + 1
    hour, minute, second = (int(word) for word in time.split(":"))
    return datetime(int(year), number, int(day), hour, minute, second)


def averaged_header(first: Exposure, second: Exposure) -> fits.Header:
    """Primary header of the average of two reference files, made from both.

    Parameters
    ----------
    first, second : Exposure
        The reference files.

    Returns
    -------
    astropy.io.fits.Header
        The header of the earlier file with the dates, frames, proposals and inputs of both.

    Raises
    ------
    InputError
        Where they are of different modes or have no dates.
    """
    for keyword in ("FILETYPE", "CCDAMP", "CCDGAIN", "CCDOFFST", "BINAXIS1", "BINAXIS2"):
        mine, theirs = second.primary.get(keyword), first.primary.get(keyword)
        if mine != theirs:
            raise InputError(
                f"{second.name}: {keyword} is {mine!r}; {first.name} has {theirs!r}. Average files of one mode."
            )
    try:
        moments = [_useafter_moment(str(e.primary["USEAFTER"])) for e in (first, second)]
        dates = sorted(date for e in (first, second) for date in _pedigree_dates(str(e.primary["PEDIGREE"])))
        begin, end = ("/".join(reversed(date)) for date in (dates[0], dates[-1]))
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"{first.name} and {second.name}: USEAFTER or PEDIGREE is missing or no date ({error}). Average "
            "reference files."
        ) from None
    earlier = first if moments[0] <= moments[1] else second
    header = earlier.primary.header()
    header["PEDIGREE"] = f"INFLIGHT {begin} {end}"
    histories = [ReferenceHistory.parse(e.primary.history) for e in (first, second)]
    del header["HISTORY"]
    for line in _averaged_history(header, histories, (first.name, second.name)):
        header.add_history(header_text(line))
    return header


def _averaged_history(header, histories, names):
    kind = "Superdark" if header["FILETYPE"] == "DARK IMAGE" else "Superbias"
    count = sum(history.count for history in histories)
    mode = f"CCDGAIN={header['CCDGAIN']}, BINAXIS1={header['BINAXIS1']}, BINAXIS2={header['BINAXIS2']}"
    lines = textwrap.wrap(
        f"{kind} image, combination of {count} input frames taken with CCDAMP={header['CCDAMP']}, {mode}.",
        HISTORY_WIDTH,
    )
    proposals = dict.fromkeys(p for history in histories for p in history.proposals)
    lines.append(f"All input frames were from Proposal(s) {'/'.join(proposals)}:")
    lines += dict.fromkeys(title for history in histories for title in history.titles)
    lines += [INPUTS_BEGIN, *(name for history in histories for name in history.names), ""]
    lines += textwrap.wrap(
        f"Average of {names[0]} and {names[1]} with equal weights (refaver). {names[0]} was made as follows.",
        HISTORY_WIDTH,
    )
    lines += histories[0].procedure
    if histories[1].procedure != histories[0].procedure:
        lines += textwrap.wrap(f"{names[1]} was made as follows.", HISTORY_WIDTH)
        lines += histories[1].procedure
    return lines
