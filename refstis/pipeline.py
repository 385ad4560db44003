"""The documented pipeline: a month's reference files, in the folders of refstis 0.8."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from refstis.anneal.dates import parse_date
from refstis.anneal.exposures import Exclusion, Exposure, find_raws, read_exposure, select
from refstis.anneal.periods import divide_month, period_index
from refstis.anneal.policy import Policy, load_profile
from refstis.anneal.table import AnnealTable, Month, read_table, shipped_table
from refstis.basedark import make_basedark
from refstis.basejoint import make_basebias
from refstis.datamodels.atomic import atomic_write
from refstis.datamodels.settings import Settings
from refstis.errors import ConfigurationError, InputError, OutputError, RefstisError
from refstis.functions import Name, bias_subtract_data, read_keyword, refaver
from refstis.refbias import make_refbias
from refstis.weekbias import make_weekbias
from refstis.weekdark import make_weekdark

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
    gain_folders, week_folders : list of str
        Folders such as ``1-1x1``, and such as ``wk01`` and ``biwk02``, in order of their names.
    """
    gains, weeks = [], []
    for folder, names, _ in os.walk(os.fspath(root_folder)):
        names.sort()
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
    _separate(Path(base_dir))


def _separate(root: Path) -> list[str]:
    """Move the raws, and say which of them are faulty."""
    policy = load_profile().policy
    faults = []
    exposures = {path: read_exposure(path) for path in find_raws(root)}
    waiting = [path for path in exposures if Path(path).parent == root.absolute()]
    begins = [one.begin for one in exposures.values() if one.begin is not None]
    if not waiting or not begins:
        logger.info("%s: no raws to move.", root)
        return faults
    periods = {mode: divide_month(min(begins), max(begins), mode) for mode in ("WK", "BIWK")}
    for path in waiting:
        one = exposures[path]
        role = select(one, policy)
        if isinstance(role, Exclusion):
            logger.warning("%s.", role)
            if role.fault:
                faults.append(str(role))
            continue
        division = _mode_of(one, policy).division if role == "bias" else "WK"
        parts = periods[division]
        name = parts[int(period_index(parts, [one.begin or 0.0])[0])].name
        label = f"{one.gain}-{one.xbin}x{one.ybin}"
        _move(Path(path), root / (f"biases/{label}/{name}" if role == "bias" else f"darks/{name}"))
    return faults


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


class _Month:
    """The documented folders of one month, and what is made in them."""

    def __init__(self, root: Path):
        self.root = root
        self.policy = load_profile().policy
        dark = self.policy.selection.dark
        self.label = f"{dark.gain}-{dark.binning[0]}x{dark.binning[1]}"
        self.failures: list[str] = []
        proposal, _, visit = pull_info(root.absolute())
        self.name = f"{proposal}_{visit}" if proposal else root.absolute().name
        _, weeks = pull_out_subfolders(root)
        self.bias_weeks = [Path(week) for week in weeks if "biases" in Path(week).relative_to(root).parts]
        self.dark_weeks = [Path(week) for week in weeks if "darks" in Path(week).relative_to(root).parts]

    def exposures(self, *folders: Path) -> list[Exposure]:
        """Exposures of folders, in order of time; what cannot be used is logged."""
        found = []
        for one in (read_exposure(path) for folder in folders for path in find_raws(folder)):
            role = select(one, self.policy)
            if isinstance(role, Exclusion):
                self._report(str(role)) if role.fault else logger.warning("%s.", role)
            else:
                found.append(one)
        return sorted(found, key=lambda one: one.order)

    def make(self, product: Path, maker: Callable[[], None]) -> Path | None:
        """A product, made where it does not exist; None where that fails."""
        if product.exists():
            logger.info("%s: exists already.", product)
            return product
        try:
            maker()
        except RefstisError as error:
            self._report(f"{product.name}: {error}")
            return None
        return product

    def _report(self, failure: str) -> None:
        logger.error("%s", failure)
        self.failures.append(failure.rstrip("."))

    # -- biases

    def basebias(self) -> Path | None:
        """Baseline superbias of the mode of the darks."""
        folder, product = self.root / "biases" / self.label, self.root / "basebias.fits"
        biases = self.exposures(folder) if folder.is_dir() else []
        if not biases and not product.exists():
            logger.warning("%s: not made, as there are no biases of mode %s.", product, self.label)
            return None
        return self.make(product, partial(make_basebias, _paths(biases), product))

    def superbias_name(self, week: Path, label: str) -> Path:
        tag = "" if label.endswith("-1x1") else f"_{label}"
        return week / f"weekbias_{self.name}_{week.name}{tag}_bia.fits"

    def superbias(self, week: Path, basebias: Path | None) -> None:
        """Superbias of one period and mode, by the procedure that the policy names."""
        biases = self.exposures(week)
        label = week.parent.name
        product = self.superbias_name(week, label)
        if not biases:
            logger.warning("%s: not made, as there are no biases.", product)
            return
        mode = _mode_of(biases[0], self.policy)
        imsets = sum(one.imsets for one in biases)
        files = _paths(biases)
        if imsets < self.policy.minimum_imsets:
            logger.warning("%s: not made of %d image set.", product, imsets)
        elif imsets < mode.refbias_from:
            logger.info("%s: weekbias, %d imsets < %d.", product, imsets, mode.refbias_from)
            base = basebias if label == self.label else self._basebias_of(week.parent)
            if base is None:
                self._report(f"{product.name}: no basebias of {label}")
            else:
                self.make(product, partial(make_weekbias, files, product, base))
        elif imsets <= self.policy.sublists_above:
            logger.info("%s: refbias, %d imsets >= %d.", product, imsets, mode.refbias_from)
            self.make(product, partial(make_refbias, files, product))
        else:
            logger.info("%s: refaver of two, %d imsets > %d.", product, imsets, self.policy.sublists_above)
            halves = [product.with_name(f"{product.stem}_grp{number:02d}.fits") for number in (1, 2)]
            for half, part in zip(halves, (files[0::2], files[1::2]), strict=True):
                self.make(half, partial(make_refbias, part, half))
            if all(half.exists() for half in halves):
                self.make(product, partial(refaver, halves, product))

    def _basebias_of(self, folder: Path) -> Path | None:
        """Baseline superbias of a binned mode, from all its biases of the month."""
        product = folder / f"basebias_{folder.name}.fits"
        return self.make(product, partial(make_basebias, _paths(self.exposures(folder)), product))

    # -- darks

    def superdarks(self, basebias: Path | None, last_basedark: Name | None) -> None:
        subtracted = {week: self._subtracted(week, basebias) for week in self.dark_weeks}
        everything = [file for files in subtracted.values() for file in files]
        with_darks = [week for week, files in subtracted.items() if files]
        names = {week: week / f"basedark_{self.name}_{week.name}.fits" for week in with_darks}
        if with_darks:
            first = names[with_darks[0]]
            self.make(first, partial(make_basedark, everything, first))
        for week in self.dark_weeks:
            product = week / f"weekdark_{self.name}_{week.name}_drk.fits"
            if week not in names:
                logger.warning("%s: not made, as there are no darks.", product)
                continue
            if first.exists():
                self.make(names[week], partial(_link, first, names[week]))
            if last_basedark or names[week].exists():
                base = last_basedark or names[week]
                self.make(product, partial(make_weekdark, subtracted[week], product, base))
            else:
                self._report(f"{product.name}: there is no basedark")

    def _subtracted(self, week: Path, basebias: Path | None) -> list[str]:
        darks = self.exposures(week)
        superbias = self.superbias_name(self.root / "biases" / self.label / week.name, self.label)
        used: Path | None = superbias
        if not superbias.exists():
            logger.warning("%s: there is no %s; the basebias is subtracted.", week, superbias.name)
            used = basebias
        made = []
        for dark in darks:
            if used is None:
                self._report(f"{dark.name}: neither superbias nor basebias to subtract")
                continue
            try:
                made.append(bias_subtract_data(dark.path, used))
            except RefstisError as error:
                self._report(f"{dark.name}: {error}")
        return made


def _paths(exposures: Iterable[Exposure]) -> list[str]:
    return [one.path for one in exposures]


def _link(source: Path, target: Path) -> None:
    """The same file under a second name; a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        with source.open("rb") as original, atomic_write(target) as copy:
            shutil.copyfileobj(original, copy)


def make_pipeline_reffiles(
    root_folder: Name, last_basedark: Name | None = None, last_basebias: Name | None = None
) -> None:
    """Make all reference files of a month, in the documented folders.

    Raws in the folder are moved to the folders of their weeks (`separate_period`). Then the baseline superbias, the
    superbias of each period, the bias-subtracted darks, the baseline dark of the whole month (under each week's name)
    and the superdark of each week are made. What exists already is kept. One failure does not stop the others.

    Parameters
    ----------
    root_folder : str
        Folder of the month, named ``<proposal>_<visit>``.
    last_basedark, last_basebias : str, optional
        Baselines to use in place of the month's own.

    Raises
    ------
    ConfigurationError
        Where there is no such folder.
    RefstisError
        At the end, where something could not be made; names it.
    """
    root = Path(root_folder)
    if not root.is_dir():
        raise ConfigurationError(f"{root}: is not a folder; the folder of a month was expected.")
    faults = _separate(root)
    month = _Month(root)
    month.failures += faults
    own = month.basebias()
    basebias = Path(last_basebias) if last_basebias else own
    for week in month.bias_weeks:
        month.superbias(week, basebias)
    month.superdarks(basebias, last_basedark)
    if month.failures:
        raise RefstisError(f"{root}: not everything could be made. {'; '.join(month.failures)}.")


# ---------------------------------------------------------------- the pipeline


def run(config_file: Name = "config.yaml") -> None:
    """Run the pipeline for the anneal month that ended last.

    New raws are retrieved to ``products_directory/<proposal>_<visit>``, and the month's reference files made there.

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
    """What the command refstis_pipeline does with its options."""
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
            if not plots_only:
                make_pipeline_reffiles(folder)
            _plot(folder)
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
    from refstis import delivery

    delivery.plot_obset(str(folder))
