"""Where the shipped configuration lies."""

from pathlib import Path

__all__ = ["config_path"]


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
