"""The errors that refstis raises on purpose.

Each message names the file, what is wrong, what was expected and what to do. Under ``strun`` they end
the run with their exit status and without a traceback, because they derive from stpipe's own
`~stpipe.exceptions.StpipeExitException`.
"""

import errno

from refstis.garbage import collection_paused

with collection_paused():  # a thousand modules come along
    from stpipe.exceptions import StpipeExitException

__all__ = [
    "ConfigurationError",
    "InputError",
    "OutputError",
    "ReferenceFileError",
    "RefstisError",
    "lacks_resources",
    "printable",
]

LONGEST = 2000
# What open files and memory that ran out are called, of the process and of the whole machine.
_LACKING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def printable(text: str) -> str:
    """A text as one line that a terminal can be given.

    File names and headers may hold line breaks, and sequences that move the cursor or colour the screen.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        With escapes in place of what is not printable.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def lacks_resources(error: BaseException | None) -> bool:
    """Whether an error comes of memory or descriptors that ran out: of the machine then, and not of a file.

    Parameters
    ----------
    error : BaseException or None
        Any error; what it was raised for is looked at, too.

    Returns
    -------
    bool
        True where the same may well succeed later.
    """
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _LACKING):
            return True
        error = error.__cause__
    return False


class RefstisError(StpipeExitException):
    """Any error that refstis raises on purpose.

    Parameters
    ----------
    message : str
        What is wrong, what was expected and what to do.
    """

    def __init__(self, message):
        text = printable(str(message))
        # a message is read by people; what it quotes may be as long as a file
        self.message = text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 3 :]}"
        super().__init__(1, self.message)

    def __str__(self):
        return self.message

    def __reduce__(self):
        return type(self), (self.message,)


class InputError(RefstisError):
    """An exposure, an association or a product that cannot be used as an input."""


class ReferenceFileError(RefstisError):
    """A reference file that is missing, or has no row or window for the exposure."""


class ConfigurationError(RefstisError):
    """A parameter, a configuration file or an option that is wrong."""


class OutputError(RefstisError):
    """An output that cannot be written, or must not be overwritten."""
