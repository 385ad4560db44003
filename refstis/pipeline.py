"""The documented pipeline: a month's reference files, in the folders of refstis 0.8."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from refstis.anneal.dates import parse_date
from refstis.anneal.exposures import Exclusion, Exposure, find_raws, read_exposure, select
from refstis.anneal.ledger import Ledger
from refstis.anneal.periods import Period, divide_month, period_index
from refstis.anneal.plan import Input, Node, Plan, compare_with_products
from refstis.anneal.policy import Policy, load_profile
from refstis.anneal.progress import LineListener
from refstis.anneal.records import adopt_products
from refstis.anneal.runner import run as make_all
from refstis.anneal.survey import Survey, open_ledger
from refstis.anneal.table import Anneal, AnnealTable, Month, read_table, shipped_table
from refstis.datamodels.checksums import checksum_of
from refstis.datamodels.folders import walk_folders
from refstis.datamodels.settings import Settings
from refstis.errors import ConfigurationError, InputError, OutputError, ReferenceFileError, RefstisError
from refstis.functions import Name, read_keyword

__all__ = [
    "clean_directory", "collect_new", "grab_between", "make_pipeline_reffiles", "pull_info", "pull_out_subfolders",
    "run", "separate_period", "split_files",
]  # fmt: skip

logger = logging.getLogger(__name__)

WEEK = re.compile(r"(?:bi)?wk[0-9]{2}(?![0-9])")
MONTH = re.compile(r"(?<![0-9])([0-9]{5})_([0-9]{2})(?![0-9])")
MODE = re.compile(r"[0-4]-[0-4]x[0-4]")


# ---------------------------------------------------------------- names and lists


def pull_info(foldername: Name) -> tuple[str, str, str]:
    """Proposal, week and visit that a folder's name tells.

    Parameters
    ----------
    foldername : str
        Folder.

    Returns
    -------
    tuple of str
        Proposal (5 digits), week (``wk`` or ``biwk`` and 2 digits) and visit (2 digits); empty where the name does not
        tell. The innermost folder counts.

    Examples
    --------
    >>> pull_info("/data/13134_26/biases/4-1x1/biwk02")
    ('13134', 'biwk02', '26')
    """
    months = MONTH.findall(os.fspath(foldername))
    weeks = WEEK.findall(os.fspath(foldername))
    proposal, visit = months[-1] if months else ("", "")
    return proposal, weeks[-1] if weeks else "", visit


def pull_out_subfolders(root_folder: Name) -> tuple[list[str], list[str]]:
    """Folders of each gain and of each week.

    Parameters
    ----------
    root_folder : str
        Folder to walk through.

    Returns
    -------
    tuple of list of str
        Folders such as ``1-1x1``, and folders such as ``wk01`` and ``biwk02``, in order of their names.

    Raises
    ------
    InputError
        Where a folder cannot be listed.
    """
    gains, weeks = [], []
    for folder, _ in walk_folders(root_folder, follow_links=False):
        name = Path(folder).name
        if WEEK.fullmatch(name):
            weeks.append(folder)
        if MODE.search(name):
            gains.append(folder)
    return gains, weeks


def split_files(all_files: Sequence[Name]) -> list[list[str]]:
    """Divide files into two lists, each with files from early and late.

    Parameters
    ----------
    all_files : list of str
        Exposures.

    Returns
    -------
    list of list of str
        Every other file in order of EXPSTART, and the rest.

    Raises
    ------
    InputError
        Where a file is missing or has no EXPSTART.
    """
    ordered = sorted((float(read_keyword(file, "EXPSTART", 1)), os.fspath(file)) for file in all_files)
    names = [name for _, name in ordered]
    return [names[0::2], names[1::2]]


def grab_between(file_list: Iterable[Name], mjd_start: float, mjd_end: float) -> Iterator[Name]:
    """Exposures that began between two moments.

    Parameters
    ----------
    file_list : list of str
        Exposures.
    mjd_start, mjd_end : float
        MJD, neither of them included.

    Yields
    ------
    str
        Those with ``mjd_start < TEXPSTRT < mjd_end``.
    """
    for file in file_list:
        if mjd_start < float(read_keyword(file, "TEXPSTRT")) < mjd_end:
            yield file


def clean_directory(root_path: Name) -> None:
    """Remove every file whose name does not end in ``_raw.fits``, in a folder and all folders below it.

    This includes plots, texts and other FITS files: anything. Each removed file is logged.

    Parameters
    ----------
    root_path : str
        Folder.

    Raises
    ------
    OutputError
        Where a file cannot be removed, or there is no such folder.
    """

    def refuse(error: OSError) -> None:
        raise OutputError(f"{error.filename}: cannot be cleaned ({error.strerror}).") from error

    for folder, _, files in os.walk(os.fspath(root_path), onerror=refuse):
        for name in sorted(files):
            if not name.endswith("_raw.fits"):
                path = Path(folder, name)
                logger.info("Removing %s.", path)
                try:
                    path.unlink()
                except OSError as error:
                    refuse(error)


def collect_new(observations_to_get: Sequence[str], settings: Mapping[str, Any] | Settings) -> bool:
    """Bring the raw files of exposures to ``retrieve_directory``.

    Parameters
    ----------
    observations_to_get : list of str
        Rootnames.
    settings : dict or refstis.datamodels.settings.Settings
        Values of the configuration file.

    Returns
    -------
    bool
        Whether all of them are there; what is missing is in the log.
    """
    from refstis.retrieval import collect

    return collect(observations_to_get, settings.mapping() if isinstance(settings, Settings) else settings)


# ---------------------------------------------------------------- week folders


def separate_period(base_dir: Name) -> None:
    """Move the raws of a month into the folders of its weeks.

    Biases go to ``biases/<gain>-<xbin>x<ybin>/wk01`` or ``biwk01`` and so on, darks to ``darks/wk01``; the month is
    what lies between the first and the last exposure. Files that no reference file is made of stay where they are,
    and the log says why. Files are moved and not changed.

    Parameters
    ----------
    base_dir : str
        Folder with the raws (``o*_raw.fits``).

    Raises
    ------
    ConfigurationError
        Where there is no such folder.
    OutputError
        Where a raw cannot be moved, or another one lies there already.
    """
    root = Path(base_dir)
    policy = load_profile().policy
    exposures = {path: read_exposure(path) for path in find_raws(root)}
    waiting = [path for path in exposures if Path(path).parent == root.absolute()]
    begins = [one.begin for one in exposures.values() if one.begin is not None]
    if not waiting or not begins:
        logger.info("%s: no raws to move.", root)
        return
    periods = {mode: divide_month(min(begins), max(begins), mode) for mode in ("WK", "BIWK")}
    for path in waiting:
        one = exposures[path]
        role = select(one, policy)
        if isinstance(role, Exclusion):
            logger.warning("%s.", role)
            continue
        division = _mode_of(one, policy).division if role == "bias" else "WK"
        parts = periods[division]
        name = parts[int(period_index(parts, [one.begin or 0.0])[0])].name
        label = f"{one.gain}-{one.xbin}x{one.ybin}"
        _move(Path(path), root / (f"biases/{label}/{name}" if role == "bias" else f"darks/{name}"))


def _mode_of(bias: Exposure, policy: Policy):
    mode = policy.superbias_mode(bias.gain or 0, bias.xbin or 0, bias.ybin or 0)
    if mode is None:
        raise InputError(
            f"{bias.name}: superbiases of gain {bias.gain}, {bias.xbin}x{bias.ybin} are not made: the policy has no "
            "such mode."
        )
    return mode


def _move(file: Path, folder: Path) -> None:
    target = folder / file.name
    if target.exists():
        raise OutputError(f"{target}: exists already; {file} is not moved over it. Remove one of them.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.move(file, target)
    except OSError as error:
        raise OutputError(f"{file}: cannot be moved to {folder} ({error.strerror or error}).") from error
    logger.info("Moved %s to %s.", file.name, folder)


# ---------------------------------------------------------------- products


class _OneMonth(AnnealTable):
    """A table of a single month: what lies between the first and the last exposure of a folder."""

    def __init__(self, name: str, begins: Sequence[float]):
        first, last = min(begins), math.nextafter(max(begins), math.inf)
        super().__init__([Anneal(first - 1.0, first), Anneal(last, last + 1.0)], name)

    def months(self) -> list[Month]:
        opening, closing = self.anneals
        return [Month(opening.end, closing.begin, self.name, opening, closing)]


class _FolderSurvey(Survey):
    """What a month's folder holds, with baselines of another month in place of its own."""

    def __init__(self, root: Path, ledger: Ledger, baselines: Mapping[str, Name | None]):
        super().__init__(root, root.parent, ledger)
        self.month_name = root.name
        self.baselines = {role: Path(path).absolute() for role, path in baselines.items() if path}

    def look(self, progress: Callable[[int, int], None] | None = None) -> None:
        super().look(progress)
        begins = [one.begin for one in self.exposures if one.begin is not None]
        if not begins:
            raise InputError(f"{self.folder}: none of its raws can be used; replace them.")
        self.table = _OneMonth(self.month_name, begins)

    def plan(
        self, broken: Mapping[str, str] | None = None, unavailable: Mapping[str, str] | None = None
    ) -> Plan:
        plan = super().plan(broken, unavailable)
        given = {role: self._given(plan, role, path) for role, path in self.baselines.items()}
        if not given:
            return plan
        nodes = {one.node: node for one, node in given.values()}
        for identity, node in plan.nodes.items():
            if node.kind in {"weekbias", "weekdark"}:
                inputs = [given[one.role][0] if one.role in given else one for one in node.inputs]
                node = dataclasses.replace(node, inputs=tuple(inputs))
            nodes[identity] = node
        plan.nodes = nodes
        records = self.ledger.products([str(plan.path(node)) for node in nodes.values()])
        compare_with_products(plan, {**records, **adopt_products(plan, records)})
        for _, node in given.values():
            node.status, node.why = "made", "given"
        return plan

    @staticmethod
    def _given(plan: Plan, role: str, path: Path) -> tuple[Input, Node]:
        """A node for a file that is there already; as an identity, its absolute path stands for itself."""
        if not path.is_file():
            raise ReferenceFileError(f"{path}: no such file, given as {role}. Check the name.")
        month = plan.months[0]
        content = Input(role, path.name, checksum_of(path))
        period = Period("month", month.begin, month.end, "given")
        node = Node(str(path), role, month.month.name, period, (content,), "given", {}, [])
        return Input(role, path.name, node.key, node=node.identity), node


def make_pipeline_reffiles(
    root_folder: Name, last_basedark: Name | None = None, last_basebias: Name | None = None
) -> None:
    """Make all reference files of a month, in the documented folders.

    Raws in the folder are moved to the folders of their weeks (`separate_period`). Then the baseline superbias, the
    superbias of each period, the baseline dark of the whole month and the superdark of each week are made; the baseline
    dark stands under the name of each week as well. What was made of the same exposures before is kept. One failure
    does not stop the others. The ledger of what was made and ``run.json`` lie beside the folder.

    Parameters
    ----------
    root_folder : str
        Folder of the month, named ``<proposal>_<visit>``.
    last_basedark, last_basebias : str, optional
        Baselines to use in place of the month's own.

    Raises
    ------
    ConfigurationError
        Where there is no such folder, or it holds no raws.
    RefstisError
        At the end, where something could not be made; names it.
    """
    root = Path(root_folder).absolute()
    if not root.is_dir():
        raise ConfigurationError(f"{root}: is not a folder; the folder of a month was expected.")
    separate_period(root)
    with open_ledger(None, root.parent) as ledger:
        survey = _FolderSurvey(root, ledger, {"basedark": last_basedark, "basebias": last_basebias})
        result = make_all(survey, listener=LineListener(), command=["make_pipeline_reffiles", str(root)])
    if result.interrupted:
        raise KeyboardInterrupt
    _name_by_week(root)
    failures = [f"{Path(one.identity).name}: {one.reason}" for one in result.failed]
    failures += [str(one) for one in result.plan.exclusions if one.fault]
    if failures:
        raise RefstisError(f"{root}: not everything could be made. {'; '.join(failures)}.")


def _name_by_week(root: Path) -> None:
    """The month's baseline dark under each week's old name: a link, or a copy where there are no links."""
    basedark = root / f"basedark_{root.name}.fits"
    for week in sorted((root / "darks").glob("*wk[0-9][0-9]")):
        target = week / f"basedark_{root.name}_{week.name}.fits"
        if not basedark.exists() or (target.exists() and target.samefile(basedark)):
            continue
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            try:
                os.link(basedark, part)
            except OSError:
                shutil.copyfile(basedark, part)
            os.replace(part, target)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise OutputError(f"{target}: cannot be written ({error.strerror}). Check the folder.") from error


# ---------------------------------------------------------------- the pipeline


def run(config_file: Name = "config.yaml") -> None:
    """Run the pipeline for the anneal month that ended last.

    New raws are retrieved to ``products_directory/<proposal>_<visit>``, the month's reference files are made and
    plotted there, and what passes the checks is put together for delivery in ``delivery_directory``.

    Parameters
    ----------
    config_file : str
        Configuration file.

    Raises
    ------
    ConfigurationError
        Where the configuration lacks something; names the key.
    RefstisError
        Where something could not be made; names it.
    """
    run_months(Settings.open(config_file))


def run_months(
    settings: Settings,
    *,
    redo_all: bool = False,
    collect: bool = True,
    plots_only: bool = False,
    between: tuple[str, str] | None = None,
) -> None:
    """What the command refstis_pipeline does with its options.

    Parameters
    ----------
    settings : Settings
        The configuration.
    redo_all : bool
        Make all months, not the last one alone.
    collect : bool
        Retrieve the exposures.
    plots_only : bool
        Plot what is made already.
    between : tuple of str, optional
        First and last date of the months.
    """
    products, _, _ = (settings.folder(f"{kind}_directory") for kind in ("products", "retrieve", "delivery"))
    if settings.oref:
        os.environ.setdefault("oref", settings.oref)
    months = _months(_anneals(settings), redo_all, between)
    failures = []
    for month in months:
        folder = products / month.name
        try:
            if collect and not plots_only:
                _collect_month(month, folder, settings)
            if not folder.is_dir():
                logger.info("%s: no exposures.", month.name)
                continue
            if plots_only:
                _plot(folder)
            else:
                make_pipeline_reffiles(folder)
                _deliver(folder, settings)
        except RefstisError as error:
            failures.append(str(error).rstrip("."))
    if failures:
        raise RefstisError(f"{'; '.join(failures)}.")


def _anneals(settings: Settings) -> AnnealTable:
    """The shipped anneals with those of the monitor and the data base on top."""
    from refstis.pop_db import monitored_anneals, write_database

    if settings.anneal_directory:
        write_database(settings.anneal_database, monitored_anneals(settings))
    table = shipped_table()
    if Path(settings.anneal_database).is_file():
        table = table.extended(read_table(settings.anneal_database))
    return table


def _months(table: AnnealTable, redo_all: bool, between: tuple[str, str] | None) -> list[Month]:
    """Months to process, the newest first: the last, all, or those that touch an interval of dates."""
    closed = [month for month in table.months() if month.begin is not None and month.end is not None][::-1]
    if between is not None:
        first, last = (parse_date(date) for date in between)
        # an end without a time of day means that day's end
        last += 1.0 if re.fullmatch(r"\d{4}-\d{2}-\d{2}", between[1].strip()) else 0.0
        if not first < last:
            raise ConfigurationError(f"dates {between[0]} and {between[1]}: expected the earlier one first.")
        return [month for month in closed if (month.begin or 0) < last and (month.end or 0) > first]
    return closed if redo_all else closed[:1]


def _collect_month(month: Month, folder: Path, settings: Settings) -> None:
    """Bring a month's raws that its folder does not hold yet."""
    from refstis.retrieval import Selection, open_source

    source = open_source(settings.retrieve_from, settings.mapping())
    wanted: list[str] = []
    for target, programs in (("DARK", settings.dark_proposals), ("BIAS", settings.bias_proposals)):
        chosen = Selection(targets=(target,), begin=month.begin, end=month.end, programs=programs)
        wanted += [file.rootname for file in source.find(chosen).files]
    have = {Path(path).name[:9].lower() for path in find_raws(folder)} if folder.is_dir() else set()
    new = sorted({name for name in wanted if name not in have})
    if not new:
        logger.info("%s: no new exposures.", month.name)
        return
    complete = collect_new(new, settings)
    retrieved = settings.folder("retrieve_directory")
    for name in new:
        for file in sorted(retrieved.glob(f"{name}_raw.fits*")):
            _move(file, folder)
    if not complete:
        raise RefstisError(
            f"{month.name}: not all of {len(new)} new exposures could be retrieved; the log names them."
        )


def _plot(folder: Path) -> None:
    from refstis.delivery import plot_obset

    plot_obset(folder)


def _deliver(folder: Path, settings: Settings) -> None:
    """Regress, check, plot and certify a month's files, put the delivery together and mail its form."""
    from refstis.delivery.mail import MailServer
    from refstis.delivery.month import deliver_month, examine_month, mail_form
    from refstis.delivery.report import write_index

    addresses = [settings.email] if settings.email else []
    # only a server that somebody has named is spoken to; a password that is missing is told before the long work
    mails = addresses and "smtp" in settings.model_fields_set
    server = MailServer.of(settings) if mails else None
    output = settings.folder("delivery_directory") / folder.name
    with open_ledger(None, folder.parent) as ledger:
        findings = examine_month(folder, suite=settings.test_suite, ledger=ledger)
        package = deliver_month(
            folder, output, findings, deliverer=", ".join(settings.deliverers), emails=addresses, overwrite=True,
            ledger=ledger,
        )  # fmt: skip
    write_index(folder.parent)
    if server is not None:
        mail_form(package, server, sender=addresses[0], recipients=addresses)
    else:
        logger.info(
            "%s: the delivery form is not mailed: email and smtp are not both configured.", package.folder
        )
