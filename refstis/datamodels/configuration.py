"""Where the shipped configuration lies."""

import os
from pathlib import Path

__all__ = ["config_path", "expand_home"]


def config_path(name: str = "") -> Path:
    """Where a shipped configuration file lies.

    Parameters
    ----------
    name : str
        File name below the configuration folder, such as ``weekdark.asdf``; empty for the folder itself.

    Returns
    -------
    pathlib.Path
        Absolute path, in an installed package as well as in an editable installation.
    """
    package = Path(__file__).resolve().parent.parent
    installed = package / "config"
    return (installed if installed.is_dir() else package.parent / "config") / name


def expand_home(name: str | os.PathLike) -> Path:
    """Path of a name that may begin with ``~``; the home of nobody stays as it is written.

    Parameters
    ----------
    name : str or os.PathLike
        As somebody wrote it.

    Returns
    -------
    pathlib.Path
        With the home folder in place of ``~`` or ``~user``.

    Examples
    --------
    >>> print(expand_home("~no such user/x"))
    ~no such user/x
    """
    return Path(os.path.expanduser(name))  # noqa: PTH111 - pathlib raises where there is no such home
