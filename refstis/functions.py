"""The documented functions that the product makers of refstis 0.8 were built from.

Those that are documented to update a file do so as a whole or not at all, and touch no other file. Those that make
a new file leave what they make it of as it is.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refstis.garbage import collection_paused

with collection_paused():
    import numpy as np
    from astropy.io import fits
    from astropy.time import Time

    from refstis.anneal.periods import figure_days_in_period, figure_number_of_periods
    from refstis.datamodels.atomic import atomic_write
    from refstis.datamodels.exposure import Exposure
    from refstis.datamodels.references import resolve_name
    from refstis.errors import InputError, ReferenceFileError

if TYPE_CHECKING:
    from stpipe import Step

__all__ = [
    "RemoveIfThere", "apply_dark_correction", "bd_calstis", "bd_crreject", "bias_subtract_data", "count_imsets",
    "crreject", "divide_anneal_month", "figure_days_in_period", "figure_number_of_periods", "get_anneal_month_dates",
    "get_keyword", "get_start_and_endtimes", "make_path_safe", "make_resicols_image", "make_residual", "msjoin",
    "normalize_crj", "refaver", "send_email", "update_header_from_input",
]  # fmt: skip

logger = logging.getLogger(__name__)

# From this length on a path does not fit on one card of a header.
LONGEST_PATH = 67
# What keeps CALSTIS from flagging what lies outside the aperture, and from other corrections.
REJECTION_KEYWORDS = {"CRCORR": "PERFORM", "APERTURE": "50CCD", "APER_FOV": "50x50"}
# Days before the first anneal of STIS: a smaller number is no MJD of its data.
LEAST_MJD = 50000.0
Name = str | os.PathLike


# ---------------------------------------------------------------- what the modules of the front door share


def make_product(
    pipeline: type[Step],
    input_list: Sequence[Name] | Name,
    name: Name,
    log: str | None = None,
    steps: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Run a pipeline under the output's exact name, and leave the log that scripts look for beside it.

    Parameters
    ----------
    pipeline : type
        The pipeline.
    input_list : path-like or sequence of path-like
        An association, or exposures.
    name : path-like
        The product.
    log : str, optional
        Name of the log.
    steps : mapping, optional
        Parameters by stage.
    """
    inputs: str | list[str]
    if isinstance(input_list, str | os.PathLike):
        inputs = os.fspath(input_list)
    else:
        inputs = [os.fspath(file) for file in input_list]
    with logging_in_full():
        product = pipeline.call(
            inputs, output_file=os.fspath(name), steps=dict(steps or {}), configure_log=False
        )
    if log is not None:
        write_log(renamed(name, log), product)


@contextmanager
def logging_in_full() -> Iterator[None]:
    """Let the log beside a product have everything; where else it appears is the calling program's choice."""
    loggers = [logging.getLogger(name) for name in ("refstis", "stpipe")]
    levels = [log.level for log in loggers]
    try:
        for log in loggers:
            if not log.isEnabledFor(logging.INFO):
                log.setLevel(logging.INFO)
        yield
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.setLevel(level)


def superbias_override(biasfile: Name | bool | None) -> dict[str, dict[str, str]]:
    """Parameters that make a pipeline subtract a given superbias; none where the headers are to name it.

    Parameters
    ----------
    biasfile : path-like, bool or None
        The superbias; False, True or None for none.

    Returns
    -------
    dict
        Parameters by stage.
    """
    if not biasfile or biasfile is True:
        return {}
    return {"biascorr": {"override_biasfile": reference_path(biasfile)}}


def reference_path(name: Name) -> str:
    """Path of a reference file that may be named as headers do (``oref$file``).

    Parameters
    ----------
    name : path-like
        Path, or a name with a variable for the folder.

    Returns
    -------
    str
        The path.
    """
    path, variable = resolve_name(os.fspath(name))
    if path is None:
        raise ReferenceFileError(
            f"{name}: ${variable} is not set. Set it to the folder, or give the file's path."
        )
    return str(path)


def renamed(name: Name, ending: str) -> str:
    """File name with another ending in place of ``.fits``.

    Parameters
    ----------
    name : path-like
        A FITS file, gzipped or not.
    ending : str
        The new ending.

    Returns
    -------
    str
        The new name.
    """
    return os.fspath(name).removesuffix(".gz").removesuffix(".fits") + ending


def run_stages(exposure: Exposure, *stages: Step) -> Exposure:
    """Run stages one after the other.

    Parameters
    ----------
    exposure : Exposure
        What the first one gets.
    *stages : Step
        The stages.

    Returns
    -------
    Exposure
        What the last one gives.
    """
    for stage in stages:
        exposure = stage.process(exposure)
    return exposure


def update_in_place(filename: Name, change: Callable[[Exposure], Exposure]) -> None:
    """Replace a file by a changed one; a link stays a link, and what it points to is replaced.

    Parameters
    ----------
    filename : path-like
        The file.
    change : callable
        Gives the changed exposure.
    """
    target = os.path.realpath(filename)
    changed = change(Exposure.open(target))
    dataclasses.replace(changed, inputs=()).save(target)


def write_log(path: Name, product: Exposure) -> None:
    """Write what was done to make a product, as CALSTIS leaves a log beside its own.

    Parameters
    ----------
    path : path-like
        The log.
    product : Exposure
        The product.
    """
    lines = [f"Input: {record.name}, {record.imsets} image set(s)" for record in product.inputs]
    with atomic_write(path, "w") as stream:
        stream.write("\n".join([*lines, *product.procedure, ""]))


def read_keyword(filename: Name, keyword: str, ext: int | str | tuple[str, int] = 0) -> Any:
    """Value of a header keyword; says which file lacks it.

    Parameters
    ----------
    filename : path-like
        A FITS file.
    keyword : str
        The keyword.
    ext : int, str or tuple
        Its extension.

    Returns
    -------
    Any
        The value.
    """
    try:
        return fits.getval(filename, keyword, ext=ext)
    except FileNotFoundError:
        raise InputError(f"{filename}: no such file. Check the name and the folder.") from None
    except (KeyError, IndexError):
        raise InputError(f"{filename}: {keyword} is not in the header of extension {ext}.") from None
    except OSError as error:
        raise InputError(f"{filename}: not a readable FITS file ({error}).") from None


# ---------------------------------------------------------------- files and headers


def RemoveIfThere(item: Name) -> None:
    """Remove a file where there is one.

    Parameters
    ----------
    item : str
        File to remove.

    Examples
    --------
    >>> RemoveIfThere("/path/to/file.txt")
    """
    Path(item).unlink(missing_ok=True)


def count_imsets(file_list: Sequence[Name] | Name) -> int:
    """Number of image sets in files: NEXTEND / 3.

    Parameters
    ----------
    file_list : list of str or str
        Files to count.

    Returns
    -------
    int
        Image sets in all of them.

    Raises
    ------
    InputError
        Where a file is missing or has no NEXTEND.
    """
    files = [file_list] if isinstance(file_list, str | os.PathLike) else file_list
    return sum(int(read_keyword(file, "NEXTEND")) // 3 for file in files)


def get_keyword(file_list: Sequence[Name], keyword: str, ext: int | str | tuple[str, int] = 0) -> Any:
    """Value of a header keyword that is the same in all files.

    Parameters
    ----------
    file_list : list of str
        Files to look into.
    keyword : str
        Keyword.
    ext : int, str or tuple
        Extension; the primary header by default.

    Returns
    -------
    object
        The value.

    Raises
    ------
    AssertionError
        Where the files differ, or there are none.
    InputError
        Where a file is missing or does not have the keyword.
    """
    values = {os.fspath(file): read_keyword(file, keyword, ext) for file in file_list}
    if len(set(values.values())) != 1:
        found = ", ".join(f"{value!r} ({Path(file).name})" for file, value in values.items()) or "no files"
        raise AssertionError(f"{keyword} is not the same in all files: {found}")
    return next(iter(values.values()))


def get_start_and_endtimes(input_list: Sequence[Name]) -> tuple[str, str, float, float]:
    """First and last moment of exposures.

    Parameters
    ----------
    input_list : list of str
        Exposures.

    Returns
    -------
    tuple
        First TEXPSTRT and last TEXPEND as dd/mm/yyyy, and both as MJD.

    Raises
    ------
    InputError
        Where there are no files, or one lacks its dates.
    """
    if not input_list:
        raise InputError("list of inputs: empty; the dates of at least one exposure are needed.")
    times = [float(read_keyword(file, keyword)) for file in input_list for keyword in ("TEXPSTRT", "TEXPEND")]
    begin, end = min(times), max(times)
    days = [Time(mjd, format="mjd", scale="utc").strftime("%d/%m/%Y") for mjd in (begin, end)]
    return days[0], days[1], begin, end


def make_path_safe(filename: str) -> str:
    """Path of a file in a form that fits on one card of a FITS header.

    Parameters
    ----------
    filename : str
        Full path.

    Returns
    -------
    str
        The path where it has less than 67 characters; otherwise ``refdir$name``, with the folder in the environment
        variable ``refdir``, which CALSTIS looks up.

    Examples
    --------
    >>> make_path_safe("/short/path/reference_file.fits")
    '/short/path/reference_file.fits'
    >>> make_path_safe("/really/really/really/really/really/really/really/really/reference_file.fits")
    'refdir$reference_file.fits'
    """
    filename = os.fspath(filename)
    if len(filename) < LONGEST_PATH:
        return filename
    folder, name = os.path.split(filename)
    os.environ["refdir"] = folder if folder.endswith("/") else f"{folder}/"  # noqa: SIM112 - the name that CALSTIS knows
    return f"refdir${name}"


def update_header_from_input(filename: Name, input_list: Sequence[Name]) -> None:
    """Give a superbias or superdark the header of a reference file, from the exposures it was made of.

    The file is updated in place. Its TASKNAME says which product it is; without one it counts as refbias or weekdark.
    Lines of HISTORY that tell how it was made stay.

    Parameters
    ----------
    filename : str
        File to update.
    input_list : list of str
        Exposures that it was made of.

    Raises
    ------
    InputError
        Where the exposures are of different modes, of a gain other than 1 and 4, or neither BIAS nor DARK.
    """
    from refstis.datamodels.association import ExposureLibrary
    from refstis.datamodels.reference_header import PRODUCTS, ReferenceHistory
    from refstis.stages import ReferenceHeaderStep

    files = [os.fspath(file) for file in input_list]
    dark = bool(files) and str(read_keyword(files[0], "TARGNAME")).strip() == "DARK"
    library = ExposureLibrary.open(files, "dark" if dark else "bias")
    mode = library.exposures[0].primary
    keywords = {key: mode.get(key) for key in ("CCDAMP", "CCDGAIN", "CCDOFFST", "BINAXIS1", "BINAXIS2")}
    tasks = {kind.taskname: name for name, kind in PRODUCTS.items() if kind.is_dark is dark}

    def change(product: Exposure) -> Exposure:
        name = tasks.get(product.primary.get("TASKNAME", ""), "weekdark" if dark else "refbias")
        described = dataclasses.replace(
            product.changed(keywords),
            inputs=tuple(record for exposure in library for record in exposure.inputs),
            procedure=ReferenceHistory.parse(product.primary.history).procedure,
        )
        return ReferenceHeaderStep(product=name).process(described)

    update_in_place(filename, change)


def msjoin(imset_list: Sequence[Name], out_name: Name = "joined_out.fits") -> None:
    """Join the image sets of files into one file, in the order given.

    Parameters
    ----------
    imset_list : list of str
        Files to join.
    out_name : str
        File to write, with the primary header of the first, EXTVER from 1 and NEXTEND of all.

    Raises
    ------
    InputError
        Where there are no files, or one cannot be read.
    OutputError
        Where the output is one of the files, or cannot be written.
    """
    exposures = [Exposure.open(file) for file in imset_list]
    if not exposures:
        raise InputError(f"{out_name}: no files to join.")
    joined = exposures[0].changed(imsets=[imset for exposure in exposures for imset in exposure.imsets])
    joined.save(os.fspath(out_name), inputs=[exposure.path for exposure in exposures if exposure.path])


# ---------------------------------------------------------------- biases


def crreject(input_file: Name, workdir: Name | None = None) -> str:  # noqa: ARG001 - documented
    """Combine the image sets of a bias file to a mean frame.

    Parameters
    ----------
    input_file : str
        Biases, joined. Overscan is subtracted unless BLEVCORR is COMPLETE, cosmic rays are rejected unless CRCORR is.
    workdir : str, optional
        Not used, as in refstis 0.8: the result lies beside the input.

    Returns
    -------
    str
        Name of the mean frame, ``<input>_crj_div.fits``. A log ``<input>_crreject_log.txt`` lies beside it.

    Raises
    ------
    InputError
        Where there is a single image set and cosmic rays are not rejected.
    """
    from refstis.stages import NormalizeStep

    mean = run_stages(reject_biases(Exposure.open(input_file)), NormalizeStep())
    output = mean.save(renamed(input_file, "_crj_div.fits"))
    write_log(renamed(input_file, "_crreject_log.txt"), mean)
    return output


def reject_biases(bias: Exposure) -> Exposure:
    """Sum of the frames of a bias file, without overscan and cosmic rays.

    Parameters
    ----------
    bias : Exposure
        A raw bias, one without overscan, or a combination already.

    Returns
    -------
    Exposure
        The sum (DN).
    """
    from refstis.stages import BlevCorrStep, CrCorrStep, DqiCorrStep

    if bias.done("CRCORR"):
        return bias
    stages = [] if bias.done("BLEVCORR") else [DqiCorrStep(), BlevCorrStep()]
    return run_stages(for_rejection(bias), *stages, CrCorrStep())


def for_rejection(exposure: Exposure, **keywords: Any) -> Exposure:
    """Exposure with the keywords that CALSTIS rejects cosmic rays by.

    Parameters
    ----------
    exposure : Exposure
        The exposure.
    **keywords : Any
        More keywords to set.

    Returns
    -------
    Exposure
        With them set.
    """
    count = len(exposure.imsets)
    if exposure.primary.get("NRPTEXP") != count:
        keywords = {"NRPTEXP": count, "CRSPLIT": 1, **keywords}
    return exposure.changed({**REJECTION_KEYWORDS, **keywords})


def make_residual(mean_bias: Name, kern: tuple[int, int] = (3, 15)) -> tuple[np.ndarray, np.ndarray]:
    """Image of a superbias less its running median.

    Parameters
    ----------
    mean_bias : str
        File of the superbias.
    kern : tuple of int
        Rows and columns of the running median.

    Returns
    -------
    tuple of numpy.ndarray
        Residual and median image, float32, y by x.
    """
    from refstis.calibration.superbias import residual_image

    return residual_image(np.asarray(Exposure.open(mean_bias).imsets[0].sci, dtype=np.float32), kern)


def make_resicols_image(residual_image: np.ndarray, yfrac: float = 1) -> np.ndarray:
    """Mean residual of each column, in every row of an image.

    Parameters
    ----------
    residual_image : numpy.ndarray
        Residual image, y by x.
    yfrac : float
        Fraction of the rows, from the bottom, that the mean is taken of.

    Returns
    -------
    numpy.ndarray
        float64 image of the same shape.
    """
    from refstis.calibration.superbias import column_residual

    return column_residual(residual_image, yfrac) * np.ones(residual_image.shape)


def refaver(reffiles: Sequence[Name], combined_name: Name) -> None:
    """Average two reference files, each with the same weight.

    Parameters
    ----------
    reffiles : list of str
        The two files.
    combined_name : str
        File to write. ``.fits`` is added where it is missing; a name without folder lies beside the first file.

    Raises
    ------
    InputError
        Where there are not two files, or they are of different modes.
    """
    from refstis.stages import RefaverStep

    output = Path(combined_name)
    if not output.name.endswith(".fits"):
        output = output.with_name(f"{output.name}.fits")
    if reffiles and output.name == os.fspath(output):
        output = Path(reffiles[0]).parent / output
    RefaverStep.call([os.fspath(file) for file in reffiles], output_file=str(output), configure_log=False)


# ---------------------------------------------------------------- darks


def bias_subtract_data(filename: Name, biasfile: Name, outdir: Name = "") -> str:
    """Initialize data quality, and subtract overscan and superbias.

    Parameters
    ----------
    filename : str
        Raw exposure.
    biasfile : str
        Superbias.
    outdir : str, optional
        Folder for the result; that of the exposure by default.

    Returns
    -------
    str
        Name of the result: ``name_flt.fits`` of ``name_raw.fits`` and of any other ``name.fits``, ``_flc`` where
        PCTECORR is COMPLETE; the exposure's own where BLEVCORR or BIASCORR is COMPLETE. A log
        ``<exposure>_bias_subtract_log.txt`` lies beside it.

    Raises
    ------
    ReferenceFileError
        Where the superbias is missing or does not cover the exposure.
    """
    from refstis.stages import BiasCorrStep, BlevCorrStep, DqiCorrStep, StatFlagStep

    exposure = Exposure.open(filename)
    if exposure.done("BLEVCORR") or exposure.done("BIASCORR"):
        logger.info("%s: the bias is subtracted already.", filename)
        return os.fspath(filename)
    stages = (
        DqiCorrStep(),
        BlevCorrStep(),
        BiasCorrStep(override_biasfile=reference_path(biasfile)),
        StatFlagStep(),
    )
    subtracted = run_stages(exposure, *stages).changed(
        {"BIASFILE": (make_path_safe(os.fspath(biasfile)), "")}
    )
    stem = renamed(Path(outdir or Path(filename).parent, Path(filename).name), "")
    ending = "_flc.fits" if exposure.done("PCTECORR") else "_flt.fits"
    output = subtracted.save(stem.rsplit("_raw", 1)[0] + ending)
    write_log(f"{stem}_bias_subtract_log.txt", subtracted)
    return output


def apply_dark_correction(filename: Name, expstart: str | float) -> None:
    """Bring a Side-2 dark to the reference housing temperature of 18 C, in place.

    Parameters
    ----------
    filename : str
        Dark without overscan and bias. Where TEMPCORR is COMPLETE nothing is done.
    expstart : str or float
        MJD of its start; up to 52091.0 (Side 1) nothing is done.

    Raises
    ------
    InputError
        Where OCCDHTAV is missing or not positive.
    """
    from refstis.calibration.darkcorr import SIDE2_BEGIN
    from refstis.stages import TempCorrStep

    if float(expstart) > SIDE2_BEGIN:
        # whoever calls this has said when the exposure began
        update_in_place(filename, TempCorrStep(first_mjd=0.0).process)


def bd_crreject(joinedfile: Name) -> int:
    """Tell whether cosmic rays are rejected in a file already.

    Parameters
    ----------
    joinedfile : str
        Joined darks, or their combination.

    Returns
    -------
    int
        1 where CRCORR is COMPLETE: a copy then stands under the name that `bd_calstis` would have given its result.
        0 where `bd_calstis` has to be called.

    Raises
    ------
    InputError
        Where there is a single image set and cosmic rays are not rejected.
    """
    joined = Exposure.open(joinedfile)
    if joined.done("CRCORR"):
        joined.save(renamed(joinedfile, "_crj.fits"))
        return 1
    if len(joined.imsets) < 2:
        raise InputError(
            f"{joinedfile}: a single image set, and CRCORR is {joined.switch('CRCORR')}; cosmic rays are found by "
            "comparing at least 2. Join more exposures."
        )
    return 0


def bd_calstis(joinedfile: Name, thebiasfile: Name | bool | None = None) -> None:
    """Combine joined darks, rejecting cosmic rays.

    The result is ``<joined>_crj.fits``; in its header APERTURE is 50CCD, APER_FOV 50x50, DARKCORR and FLATCORR are
    OMIT. A log ``<joined>_bd_calstis_log.txt`` lies beside it. The joined file stays as it is.

    Parameters
    ----------
    joinedfile : str
        Joined darks. Where DQICORR, BLEVCORR or BIASCORR say PERFORM, that is done first.
    thebiasfile : str or bool, optional
        Superbias; by default the one that the header names.

    Raises
    ------
    InputError
        Where there is a single image set.
    """
    from refstis.stages import BiasCorrStep, BlevCorrStep, CrCorrStep, DqiCorrStep

    given = superbias_override(thebiasfile)
    keywords: dict[str, Any] = {"DARKCORR": "OMIT", "FLATCORR": "OMIT"}
    if given:
        keywords["BIASFILE"] = make_path_safe(os.fspath(thebiasfile)), ""  # type: ignore[arg-type]
    joined = for_rejection(Exposure.open(joinedfile), **keywords)
    stages: dict[str, Step] = {
        "DQICORR": DqiCorrStep(),
        "BLEVCORR": BlevCorrStep(),
        "BIASCORR": BiasCorrStep(**given.get("biascorr", {})),
        "CRCORR": CrCorrStep(),
    }
    combined = run_stages(
        joined, *(stage for switch, stage in stages.items() if joined.switch(switch) == "PERFORM")
    )
    combined.save(renamed(joinedfile, "_crj.fits"))
    write_log(renamed(joinedfile, "_bd_calstis_log.txt"), combined)


def normalize_crj(filename: Name) -> None:
    """Bring combined darks to electrons per second, in place: SCI and ERR times gain over exposure time, TEXPTIME 1.

    Parameters
    ----------
    filename : str
        Darks after cosmic-ray rejection (DN).

    Raises
    ------
    InputError
        Where CRCORR is not COMPLETE, or the exposure time is missing.
    """
    from refstis.stages import NormalizeStep

    update_in_place(filename, NormalizeStep().process)


# ---------------------------------------------------------------- months and weeks


def get_anneal_month_dates(data_begin: float, data_end: float, database_path: Name) -> tuple[Time, Time]:
    """Begin and end of the anneal month that data lie in.

    Parameters
    ----------
    data_begin, data_end : float
        First and last moment of the data (MJD).
    database_path : str
        Folder of ``anneal_info.db``, or an anneal table.

    Returns
    -------
    tuple of astropy.time.Time
        End of the anneal before the data, begin of the anneal after them (MJD, UTC).

    Raises
    ------
    InputError
        Where the data cross an anneal, the table does not enclose them, or the numbers are no MJD.
    """
    from refstis.anneal.table import Month, read_table

    if not LEAST_MJD < data_begin <= data_end:
        raise InputError(f"data from {data_begin} to {data_end}: expected two MJDs, the earlier first.")
    path = Path(database_path)
    table = read_table(path / "anneal_info.db" if path.is_dir() else path)
    month = table.at(data_begin)
    if not isinstance(month, Month):
        raise InputError(
            f"data begin at MJD {data_begin}, during the anneal of MJD {month.begin} to {month.end}."
        )
    if month.begin is None or month.end is None:
        raise InputError(
            f"{table.name}: no anneals on both sides of MJD {data_begin}. Add them to the table."
        )
    if data_end >= month.end:
        raise InputError(
            f"data from MJD {data_begin} to {data_end} cross the anneal that begins at {month.end}; a product is "
            "made of one month. Split the data."
        )
    return Time(month.begin, format="mjd", scale="utc"), Time(month.end, format="mjd", scale="utc")


def divide_anneal_month(
    data_begin: float, data_end: float, database_path: Name, N_period: int
) -> list[tuple[float, float]]:
    """Divide the anneal month that data lie in.

    Parameters
    ----------
    data_begin, data_end : float
        First and last moment of the data (MJD).
    database_path : str
        Folder of ``anneal_info.db``, or an anneal table.
    N_period : int
        Number of periods.

    Returns
    -------
    list of tuple
        Begin and end of each period (MJD): whole days, the longer periods first, the fraction of a day in the last.
    """
    begin, end = (float(time.mjd) for time in get_anneal_month_dates(data_begin, data_end, database_path))
    lengths = figure_days_in_period(N_period, end - begin, add_remainder=True)
    borders = [begin, *(begin + np.cumsum(lengths)[:-1]).tolist(), end]
    return list(pairwise(borders))


# ---------------------------------------------------------------- mail


def send_email(
    subject: str | None = None,
    message: str | None = None,
    from_addr: str | None = None,
    to_addr: str | None = None,
) -> None:
    """Send a mail through the SMTP server of the configuration file.

    There is no login unless the file names an account (``smtp_user``), whose password the environment or the keyring
    has.

    Parameters
    ----------
    subject : str, optional
        Subject line.
    message : str, optional
        Text.
    from_addr, to_addr : str, optional
        Addresses; by default ``email`` of the configuration file, else the user's at stsci.edu.

    Raises
    ------
    ConfigurationError
        Where the account's password is missing.
    OutputError
        Where the server does not take the mail.
    """
    import getpass

    from refstis.datamodels.settings import Settings
    from refstis.delivery.mail import MailServer, send_mail

    settings = Settings.find()
    mine = settings.email or f"{getpass.getuser()}@stsci.edu"
    send_mail(
        subject or "Message from refstis",
        message or "(no text)",
        sender=from_addr or mine,
        recipients=[to_addr or mine],
        server=MailServer.of(settings),
    )
