"""Where exposures come from: MAST, the documented DADS request, or a folder.

The three sources share one interface, `~refstis.retrieval.selection.Source`: ``find`` says which exposures
answer a `~refstis.retrieval.selection.Selection`, ``fetch`` brings them to a folder. `open_source` gives
the source of a name.
"""

import importlib

_HOME = {
    "ArchiveFile": "selection",
    "Dads": "dads",
    "Fetched": "selection",
    "Findings": "selection",
    "Folder": "folder",
    "Mast": "mast",
    "RetrievalError": "selection",
    "Selection": "selection",
    "Source": "selection",
    "build_xml_request": "dads",
    "collect": "sources",
    "everything_retrieved": "dads",
    "open_source": "sources",
    "submit_xml_request": "dads",
}

__all__ = sorted(_HOME)  # noqa: PLE0605 - the names of the table above


def __getattr__(name):
    if name in _HOME:
        return getattr(importlib.import_module(f"refstis.retrieval.{_HOME[name]}"), name)
    raise AttributeError(f"module 'refstis.retrieval' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_HOME])
