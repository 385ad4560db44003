"""A folder of exposures, or a whole archive tree of them."""

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from refstis.datamodels.folders import walk_folders
from refstis.errors import InputError, lacks_resources
from refstis.retrieval.selection import (
    ArchiveFile,
    Fetched,
    Findings,
    Left,
    Remember,
    Selection,
)
from refstis.retrieval.whole import place_copy, primary_facts, unwritable, why_not_whole

__all__ = ["Folder"]


class Folder:
    """Exposures on disk, as a `~refstis.retrieval.selection.Source`. They are never changed.

    Parameters
    ----------
    path : str or pathlib.Path
        The folder; those below it are searched, too.
    remember : callable, optional
        Called with the file name and header facts of each exposure whose header has been read.

    Raises
    ------
    refstis.errors.InputError
        If there is no such folder.
    """

    def __init__(self, path: str | Path, *, remember: Remember | None = None):
        self.path, self.remember = Path(path), remember
        if not self.path.is_dir():
            raise InputError(f"{self.path} is not a folder: give one that holds exposures, or 'mast'.")

    def find(self, selection: Selection) -> Findings:
        """Look through the folder and read the primary headers.

        Parameters
        ----------
        selection : Selection
            What is wanted.

        Returns
        -------
        Findings
            Files that cannot be read, or exist twice, are among the excluded.

        Raises
        ------
        refstis.errors.InputError
            Where a folder cannot be listed, or no files can be opened any more.
        """
        findings = Findings(selection)
        wanted = {name.lower() for name in selection.rootnames}
        seen: dict[str, Path] = {}
        for path in self._exposures(selection.suffix):
            if wanted and path.name.split("_")[0].lower() not in wanted:
                continue
            name = path.name.removesuffix(".gz")
            if name in seen:
                findings.excluded.append(Left(str(path), f"is already taken from {seen[name]}"))
                continue
            seen[name] = path
            try:
                file, facts = self._read(path)
            except _UnreadableError as error:
                if lacks_resources(error):
                    raise InputError(
                        f"{path} {error}. End other programs or raise the limits (ulimit -a), and try again."
                    ) from error
                findings.excluded.append(Left(str(path), str(error)))
                continue
            if self.remember is not None:
                self.remember(path.name, facts)
            catalogued = (file.target, file.start, file.duration, file.program)
            if not wanted and not selection.wants(*catalogued):
                continue  # of another month, program or length: nothing to report
            reason = selection.refusal(facts)
            if reason is None:
                findings.files.append(file)
            else:
                findings.excluded.append(Left(str(path), reason))
        found = {file.rootname for file in findings.files} | {
            Path(left.name).name.split("_")[0].lower() for left in findings.excluded
        }
        for name in sorted(wanted - found):
            findings.excluded.append(Left(name, f"{self.path} holds no {name}_{selection.suffix}.fits"))
        findings.files.sort(key=lambda file: (file.start, file.rootname))
        return findings

    def fetch(
        self, findings: Findings, destination: str | Path | None = None, *, progress: bool = False
    ) -> Fetched:
        """Use the files where they are, or copy them.

        Parameters
        ----------
        findings : Findings
            What `find` returned.
        destination : str or pathlib.Path, optional
            Folder for copies; None to use the files in place.
        progress : bool, optional
            Show a bar on stderr.

        Returns
        -------
        Fetched
        """
        from rich.console import Console
        from rich.progress import track

        fetched = Fetched()
        if destination is not None:
            destination = Path(destination)
            try:
                destination.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise unwritable(destination, error) from error
        shown = track(findings.files, "exposures", console=Console(stderr=True), disable=not progress)
        for file in shown:
            origin = Path(file.location)
            wrong = why_not_whole(origin)
            if wrong is not None:
                fetched.failed.append(Left(str(origin), wrong))
                continue
            if destination is None or destination.resolve() == origin.parent.resolve():
                fetched.paths[file.filename] = origin
                continue
            final = destination / file.filename
            if not (final.exists() and final.stat().st_size == file.size and why_not_whole(final) is None):
                try:
                    place_copy(origin, final)
                except OSError as error:
                    raise unwritable(final, error) from error
            fetched.paths[file.filename] = final
        return fetched

    def _exposures(self, suffix: str) -> Iterator[Path]:
        """Files that are named like an exposure."""
        pattern = re.compile(rf"[a-z0-9]{{9}}_{suffix}\.fits(\.gz)?", re.IGNORECASE)
        for folder, names in walk_folders(self.path):
            for name in names:
                if pattern.fullmatch(name):
                    yield Path(folder) / name

    @staticmethod
    def _read(path: Path):
        if not path.is_file():
            raise _UnreadableError("is not a file")  # a pipe of that name would be waited for
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
                facts = primary_facts(stream)
            size = path.stat().st_size
        except (OSError, EOFError, zlib.error) as error:
            raise _UnreadableError(f"cannot be read ({error})") from error
        if facts is None:
            raise _UnreadableError("has no FITS header")
        missing = [key for key in ("TARGNAME", "TEXPSTRT", "TEXPTIME", "PROPOSID") if key not in facts]
        if missing:
            raise _UnreadableError(
                f"has no {' and no '.join(missing)} in its primary header, as an exposure of STIS has"
            )
        try:
            file = ArchiveFile(
                path.name,
                str(path),
                size=size,
                target=str(facts["TARGNAME"]),
                start=float(facts["TEXPSTRT"]),
                duration=float(facts["TEXPTIME"]),
                program=int(facts["PROPOSID"]),
            )
        except (TypeError, ValueError) as error:
            raise _UnreadableError(
                f"has a primary header whose times or program are no numbers ({error})"
            ) from error
        return file, facts


class _UnreadableError(Exception):
    """A file that is named like an exposure and is none."""
