"""The source of a name, and the retrieval of named exposures for the documented pipeline."""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from refstis.datamodels.configuration import expand_home
from refstis.errors import ConfigurationError
from refstis.retrieval.selection import Recall, Remember, Selection, Source

__all__ = ["collect", "open_source"]

log = logging.getLogger("refstis.retrieval")


def open_source(
    where: str | Path,
    settings: Mapping[str, Any] | None = None,
    *,
    recall: Recall | None = None,
    remember: Remember | None = None,
) -> Source:
    """Open a source of exposures by name.

    Parameters
    ----------
    where : str or pathlib.Path
        ``mast``, ``dads``, or the path of a folder (``./mast`` for one of such a name).
    settings : dict, optional
        The configure file; only ``dads`` needs it.
    recall : callable, optional
        Given a file name, the header facts that are remembered of it, or None.
    remember : callable, optional
        Called with a file name and its header facts when a header has been read.

    Returns
    -------
    Source
    """
    if where == "mast":
        from refstis.retrieval.mast import Mast

        return Mast(recall=recall, remember=remember)
    if where == "dads":
        from refstis.retrieval.dads import Dads

        return Dads(settings or {})
    from refstis.retrieval.folder import Folder

    return Folder(where, remember=remember)


def collect(observations_to_get: Sequence[str], settings: Mapping[str, Any]) -> bool:
    """Bring the raw files of named exposures to the configured folder.

    Parameters
    ----------
    observations_to_get : list of str
        Rootnames.
    settings : dict
        The configure file. Files go to ``retrieve_directory``; they come from what ``retrieve_from`` names:
        ``mast`` (the default), ``dads``, or a folder.

    Returns
    -------
    bool
        Whether all of them are there now; what is missing, and why, is in the log.
    """
    if not observations_to_get:
        return True
    directory = settings.get("retrieve_directory")
    if not directory:
        raise ConfigurationError(
            "The configuration has no 'retrieve_directory': name a folder for the raw files."
        )
    source = open_source(settings.get("retrieve_from", "mast"), settings)
    findings = source.find(Selection(rootnames=tuple(observations_to_get)))
    fetched = source.fetch(findings, expand_home(directory), progress=sys.stderr.isatty())
    missing = [*findings.excluded, *fetched.excluded, *fetched.failed]
    for left in missing:
        log.error("%s: %s.", left.name, left.reason)
    return not missing
