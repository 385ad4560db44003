"""`basejoint`, `refbias`, `weekbias`, `basedark` and `weekdark`: one product of a list of exposures.

Each takes the names as refstis has always documented them (the exposures, then output and reference files), or options.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from typer.models import OptionInfo

__all__ = ["basedark", "basejoint", "refbias", "weekbias", "weekdark"]

Files = Annotated[
    list[str],
    typer.Argument(metavar="FILES...", help="Exposures; without any option, all names of the first form."),
]


def _option(letter: str, name: str, metavar: str, text: str) -> OptionInfo:
    return typer.Option(letter, name, metavar=metavar, help=text, show_default=False)


def _output(default: str) -> OptionInfo:
    return _option("-o", "--output", "OUT", f"File to write; {default} by default.")


Superbias = _option("-b", "--bias", "SUPERBIAS", "Superbias for raw darks; by default that of their headers.")


@dataclass(frozen=True)
class _Place:
    """A name beside the exposures: what help and messages call it, its option, and what it has to be."""

    word: str
    letter: str
    given: str | None
    default: str | None = None
    required: bool = True
    filetype: str = ""


def basejoint(files: Files, output: Annotated[str | None, _output("basebias.fits")] = None) -> None:
    """Baseline superbias of an anneal month.

    basejoint *raw.fits OUT

    basejoint *raw.fits [-o OUT]

    Without -o the last name is the output.
    """
    from refstis.basejoint import make_basebias

    _run(make_basebias, files, _Place("OUT", "-o", output, "basebias.fits"))


def refbias(files: Files, output: Annotated[str | None, _output("refbias.fits")] = None) -> None:
    """Superbias of a week or two: all frames combined.

    refbias *raw.fits OUT

    refbias *raw.fits [-o OUT]

    Without -o the last name is the output.
    """
    from refstis.refbias import make_refbias

    _run(make_refbias, files, _Place("OUT", "-o", output, "refbias.fits"))


def weekbias(
    files: Files,
    output: Annotated[str | None, _output("weekbias.fits")] = None,
    basebias: Annotated[
        str | None, _option("-b", "--basebias", "BASEBIAS", "Baseline superbias; basebias.fits by default.")
    ] = None,
) -> None:
    """Superbias of a week with few biases: hot columns on the month's baseline.

    weekbias *raw.fits OUT BASEBIAS

    weekbias *raw.fits [-o OUT] [-b BASEBIAS]

    Without options the last two names are output and baseline superbias.
    """
    from refstis.weekbias import make_weekbias

    _run(
        make_weekbias,
        files,
        _Place("OUT", "-o", output, "weekbias.fits"),
        _Place("BASEBIAS", "-b", basebias, "basebias.fits", filetype="CCD BIAS IMAGE"),
    )


def basedark(
    files: Files,
    output: Annotated[str | None, _output("basedark.fits")] = None,
    bias: Annotated[str | None, Superbias] = None,
) -> None:
    """Baseline superdark of an anneal month.

    basedark *raw.fits OUT SUPERBIAS

    basedark *raw.fits [-o OUT] [-b SUPERBIAS]

    Without options the last two names are output and superbias.

    Bias-subtracted darks need no superbias: use -o.
    """
    from refstis.basedark import make_basedark

    _run(
        make_basedark,
        files,
        _Place("OUT", "-o", output, "basedark.fits"),
        _Place("SUPERBIAS", "-b", bias, required=False, filetype="CCD BIAS IMAGE"),
    )


def weekdark(
    files: Files,
    output: Annotated[str | None, _output("weekdark.fits")] = None,
    bias: Annotated[str | None, Superbias] = None,
    dark: Annotated[
        str | None, _option("-d", "--basedark", "BASEDARK", "Baseline superdark; needed.")
    ] = None,
) -> None:
    """Superdark of a week: its hot pixels on the month's baseline.

    weekdark *raw.fits OUT BASEDARK SUPERBIAS

    weekdark *raw.fits -d BASEDARK [-b SUPERBIAS] [-o OUT]

    Without options the last three names are output, baseline superdark and superbias.

    Bias-subtracted darks need no superbias: use -d.
    """
    from refstis.weekdark import make_weekdark

    _run(
        make_weekdark,
        files,
        _Place("OUT", "-o", output, "weekdark.fits"),
        _Place("BASEDARK", "-d", dark, filetype="DARK IMAGE"),
        _Place("SUPERBIAS", "-b", bias, required=False, filetype="CCD BIAS IMAGE"),
    )


def _run(maker: Callable[..., None], files: Sequence[str], *places: _Place) -> None:
    """Check the names, make the product, and say meanwhile what happens."""
    import logging
    import sys

    exposures, output, references = _arrange(files, places)
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.INFO)
    logger = logging.getLogger("refstis")
    logger.addHandler(handler)
    try:
        maker(exposures, output, *references)
    finally:
        logger.removeHandler(handler)
    typer.echo(output)


def _arrange(files: Sequence[str], places: Sequence[_Place]) -> tuple[list[str], str, list[str | None]]:
    """Exposures, output and references, checked before anything is made."""
    from refstis.errors import ConfigurationError

    values: list[str | None]
    if any(place.given is not None for place in places):
        exposures, values = list(files), [place.given or place.default for place in places]
    else:
        count = len(places)
        exposures, values = list(files[:-count]), list(files[-count:])
        if not exposures:
            words = " ".join(place.word for place in places)
            plural = "name is" if count == 1 else f"{count} names are"
            raise ConfigurationError(
                f"{len(files)} name(s) given; without options the last {plural} {words}, and exposures come before. "
                "Or name the output with -o; --help shows both forms."
            )
    for place, value in zip(places, values, strict=True):
        if value is None and place.required:
            raise ConfigurationError(f"{place.word} is missing: name it with {place.letter}.")
        if value is not None and place.filetype:
            _check_reference(place, value)
    output = str(values[0])
    _check_output(output)
    # what `*.fits` finds may hold the output of an earlier run, and the reference files
    named = {Path(value).absolute() for value in values if value is not None}
    return [name for name in exposures if Path(name).absolute() not in named], output, values[1:]


def _header(path):
    from astropy.io import fits

    try:
        return fits.getheader(path)
    except (OSError, ValueError):
        return fits.Header()


def _check_output(name: str) -> None:
    """Refuse to write over anything but a product of refstis."""
    from refstis.datamodels.exposure import REFERENCE_FILETYPES
    from refstis.errors import OutputError

    if not Path(name).exists():
        return
    header = _header(name)
    comments = " ".join(str(line) for line in header.get("COMMENT", ()))
    made_here = (
        header.get("FILETYPE") in REFERENCE_FILETYPES and "Reference file created by refstis" in comments
    )
    if not made_here:
        raise OutputError(
            f"{name}: exists and is not a product of refstis, so it is not written over. Name the output with -o."
        )


def _check_reference(place: _Place, name: str) -> None:
    from refstis.errors import ReferenceFileError
    from refstis.functions import reference_path

    path = Path(reference_path(name))
    if not path.is_file():
        raise ReferenceFileError(
            f"{name}: no such file, given as {place.word}. Check the order of names, or use {place.letter}."
        )
    filetype = _header(path).get("FILETYPE")
    if filetype != place.filetype:
        raise ReferenceFileError(
            f"{name}: FILETYPE is {filetype!r}; {place.word} has {place.filetype!r}. Check the order of names, or use "
            f"{place.letter}."
        )
