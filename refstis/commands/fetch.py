"""`refstis fetch`: bring the exposures of a month, of some days or of some programmes to a folder."""

from pathlib import Path
from typing import Annotated

import typer

from refstis.commands.options import begin_ledger

__all__ = ["fetch"]


def fetch(
    month: Annotated[
        str | None,
        typer.Option(
            metavar="2013-05|PROPOSAL_VISIT",
            help="Anneal months that begin then, or the one of this name or around a date.",
        ),
    ] = None,
    dates: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="BEGIN END", help="Times (dates, UTC times or MJDs); END does not belong to them."
        ),
    ] = None,
    programs: Annotated[
        list[str] | None, typer.Option(help="Proposal numbers, separated by commas.", metavar="NUMBER[,...]")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="BIAS or DARK; repeat for both. Both by default.")
    ] = None,
    amp: Annotated[str, typer.Option(help="CCDAMP; several as one word (AD), 'any' for any.")] = "D",
    gain: Annotated[
        list[int] | None, typer.Option(help="CCDGAIN; repeat for several. Any by default.")
    ] = None,
    binning: Annotated[
        list[str] | None, typer.Option(help="Such as 1x1; repeat for several. Any by default.")
    ] = None,
    suffix: Annotated[str, typer.Option(help="raw, or flt for calibrated exposures.")] = "raw",
    source: Annotated[
        str, typer.Option("--from", help="mast, or a folder with exposures (in it or below).")
    ] = "mast",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")] = Path(),
    anneals: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Anneal table of your own (CSV, YAML, anneal_info.db)."),
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Ledger that knows anneals, and remembers the exposures that came."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be fetched.")] = False,
) -> None:
    """Fetch bias and dark exposures from MAST, or from a folder.

    Downloads that were cut off are continued, files that are there are kept, and what is whole gets its name.
    Public data need no account; the token for others is taken from MAST_API_TOKEN or the keyring.
    """
    from refstis.errors import ConfigurationError
    from refstis.retrieval import RetrievalError, Selection, open_source

    if month is None and dates is None and not programs:
        raise ConfigurationError("Nothing was asked for: give --month, --dates or --programs.")
    if month is not None and dates is not None:
        raise ConfigurationError("--month and --dates exclude each other: give one of them.")
    begin, end = _period(month, dates, anneals, ledger, output)
    selection = Selection(
        targets=tuple(name.upper() for name in target) if target else ("BIAS", "DARK"),
        begin=begin,
        end=end,
        programs=tuple(_numbers(programs or [])),
        amps=() if amp.lower() == "any" else tuple(amp.upper()),
        gains=tuple(gain or ()),
        binnings=tuple(_binning(text) for text in binning or ()),
        suffix=suffix,
    )
    archive = open_source(source)
    findings = archive.find(selection)
    if dry_run:
        _show(findings, output)
        return
    fetched = archive.fetch(findings, output, progress=True)
    if ledger is not None:
        with begin_ledger(ledger, output) as opened:
            opened.look([str(path.absolute()) for path in fetched.paths.values()])
    left_out = [*findings.excluded, *fetched.excluded]
    for left in left_out:
        print(f"left out: {left.name} {left.reason}")
    for left in fetched.failed:
        print(f"failed:   {left.name}: {left.reason}")
    print(
        f"{len(fetched.paths)} exposures in {output}, {len(left_out)} left out, {len(fetched.failed)} failed."
    )
    if fetched.failed:
        raise RetrievalError(
            f"{len(fetched.failed)} of {len(findings.files)} exposures could not be fetched; "
            "the same command tries those again."
        )


def _period(month, dates, anneals, ledger, output):
    from refstis.anneal.dates import parse_date, parse_month
    from refstis.anneal.survey import anneal_table
    from refstis.anneal.table import Month
    from refstis.errors import ConfigurationError

    if dates is not None:
        return parse_date(dates[0]), parse_date(dates[1])
    if month is None:
        return None, None
    if ledger is not None:
        with begin_ledger(ledger, output) as opened:
            table = anneal_table(anneals, opened)
    else:
        table = anneal_table(anneals)
    calendar = parse_month(month)
    if calendar is not None:
        chosen = [one for one in table.months() if one.begin and calendar[0] <= one.begin < calendar[1]]
    else:
        chosen = [one for one in table.months() if one.name == month]
    if not chosen and calendar is None:
        at = table.at(parse_date(month))
        if not isinstance(at, Month):
            raise ConfigurationError(
                f"--month {month}: the CCD was being annealed; name a date before or after."
            )
        chosen = [at]
    if not chosen or chosen[0].begin is None:
        raise ConfigurationError(
            f"--month {month}: {table.name} has no anneal that begins such a month; give --dates, or the table "
            "that has it with --anneals."
        )
    return chosen[0].begin, chosen[-1].end


def _numbers(texts):
    from refstis.errors import ConfigurationError

    for text in texts:
        for part in text.split(","):
            try:
                yield int(part)
            except ValueError:
                raise ConfigurationError(f"--programs {text}: '{part}' is not a proposal number.") from None


def _binning(text):
    from refstis.errors import ConfigurationError

    first, _, second = text.lower().partition("x")
    if not (first.isdecimal() and second.isdecimal()):
        raise ConfigurationError(f"--binning {text}: two numbers like 1x1 or 2x1 are expected.")
    return int(first), int(second)


def _show(findings, output):
    from refstis.retrieval.selection import iso_time

    present = 0
    for file in findings.files:
        there = (output / file.filename).exists()
        present += there
        size = "?" if file.size is None else f"{file.size / 1e6:.1f}"
        print(
            f"{file.filename}  {file.target or '?':4}  {iso_time(file.start)}  {file.duration:7.1f} s  "
            f"{file.program:5}  {size:>6} MB  {'is there' if there else ''}".rstrip()
        )
    for left in findings.excluded:
        print(f"left out: {left.name} {left.reason}")
    total = sum(file.size or 0 for file in findings.files if not (output / file.filename).exists()) / 1e9
    print(
        f"{len(findings.files)} exposures, {present} of them in {output}, {total:.2f} GB to fetch; "
        f"{len(findings.excluded)} left out."
    )
