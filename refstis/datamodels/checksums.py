"""Checksums of files."""

import hashlib
import os
from pathlib import Path

__all__ = ["checksum_of"]

# Bytes that are read and summed up at a time: few pieces, as after each of them another thread may be in the
# interpreter, and the thread that takes the checksum has to wait until it leaves.
PIECE = 2**21


def checksum_of(path: str | os.PathLike) -> str:
    """Checksum of a file's bytes.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    str
        sha256 in hexadecimal.

    Raises
    ------
    OSError
        Where it cannot be read.
    """
    digest, piece = hashlib.sha256(), memoryview(bytearray(PIECE))
    with Path(path).open("rb", 0) as stream:
        while length := stream.readinto(piece):
            digest.update(piece[:length])
    return digest.hexdigest()
