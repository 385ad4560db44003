"""What a machine can lack or do while a command runs: room, descriptors, memory, rights, time, and inputs that stay.

A condition is a context: it prepares a case and gives what is done inside the command's process before it begins, and what is
done beside it while it runs. Its place among others, between 0 and 1, says how hard it is, or when it comes.
"""

import ctypes
import fcntl
import os
import resource
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

from faults.commands import digests

PAGE = 4096
# So many more descriptors than a process has at its begin are enough for every command.
MOST_LEFT = 8


class NotHere(Exception):
    """This machine, or this user, cannot make a condition."""


def _mount(*words):
    ended = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise NotHere(f"no right to mount file systems ({ended.stderr.strip()})")


@contextmanager
def full_disk(case, place, expected, _seconds):
    """The output folder is a file system with less room than what is written takes."""
    there = needed(case.folder / "out")
    size = there + max(PAGE * 2, int((expected - there) * place) // PAGE * PAGE)
    kept = case.folder / "kept"
    shutil.move(case.folder / "out", kept)
    (case.folder / "out").mkdir()
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", case.folder / "out")
    try:
        shutil.copytree(kept, case.folder / "out", dirs_exist_ok=True)
        yield None, None
        # the resumed run finds what is there, with room for the rest
        _mount("-o", f"remount,size={expected * 8 + (8 << 20)}", case.folder / "out")
        shutil.rmtree(kept)
        shutil.copytree(case.folder / "out", kept)
    finally:
        subprocess.run(["umount", "-l", case.folder / "out"], check=False)
        (case.folder / "out").rmdir()
        shutil.move(kept, case.folder / "out")


@contextmanager
def full_tmp(case, _place, _expected, _seconds):
    """TMPDIR has no room at all."""
    _mount("-t", "tmpfs", "-o", f"size={PAGE}", "tmpfs", case.folder / "tmp")
    try:
        (case.folder / "tmp" / "filled").write_bytes(bytes(PAGE))
        yield None, None
    finally:
        subprocess.run(["umount", "-l", case.folder / "tmp"], check=False)


@contextmanager
def read_only(case, _place, _expected, _seconds):
    """The output folder's file system is mounted read-only."""
    _mount("--bind", case.folder / "out", case.folder / "out")
    try:
        _mount("-o", "remount,bind,ro", case.folder / "out")
        yield None, None
    finally:
        subprocess.run(["umount", "-l", case.folder / "out"], check=False)


class _Capabilities(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _obey_rights(_case):
    """Let root be told by a file's mode what it may do, as everybody else is (capset(2))."""
    library = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    both = (_Capabilities * 2)()
    override_and_search = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    if library.capget(header, both) == 0:
        both[0].effective &= ~override_and_search
        both[0].permitted &= ~override_and_search
        library.capset(header, both)


@contextmanager
def denied(case, _place, _expected, _seconds):
    """Nobody may write into the output folder."""
    os.chmod(case.folder / "out", 0o555)
    try:
        yield _obey_rights, None
    finally:
        os.chmod(case.folder / "out", 0o755)


def _limited(kind, number):
    def arrange(_case):
        _, most = resource.getrlimit(kind)
        resource.setrlimit(kind, (number, most))

    return arrange


@contextmanager
def file_size(case, place, _expected, _seconds):
    """No file may become longer than a part of what the longest would be."""
    limit = _limited(resource.RLIMIT_FSIZE, max(1, int(max(case.sizes.values()) * place)))
    # what it says goes through a pipe, which has no such limit
    come, go = os.pipe()
    fcntl.fcntl(go, fcntl.F_SETPIPE_SZ, 1 << 20)

    def arrange(here):
        os.dup2(go, 1)
        os.dup2(go, 2)
        limit(here)

    yield arrange, None
    os.close(go)
    with open(come, "rb") as stream:
        (case.folder / "err.txt").write_bytes(stream.read())


@contextmanager
def descriptors(_case, place, _expected, _seconds):
    """A few file descriptors are left: none in the hardest case, one more than a run needs in the easiest."""

    def arrange(case):
        # numbers are given from the lowest one on, and some in between may be free; the folder's own is, too
        used = {int(one) for one in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{one}")}
        free = [one for one in range(len(used) + MOST_LEFT + 1) if one not in used]
        _limited(resource.RLIMIT_NOFILE, free[int(MOST_LEFT * place)])(case)

    yield arrange, None


@contextmanager
def memory(_case, place, _expected, _seconds):
    """A little address space is left.

    With less than this, Python (3.11 to 3.13) waits for ever for a thread that found no memory to begin in.
    """

    def arrange(case):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _limited(resource.RLIMIT_AS, pages * PAGE + int(2 ** (22 + 4 * place)))(case)

    yield arrange, None


def clock(shim):
    """The clock jumps back, by a minute or by years, while the command runs."""

    @contextmanager
    def jumps(_case, place, _expected, _seconds):
        def arrange(_case):
            shim.clock_arm(1 + int(30 * place), -60 if int(100 * place) % 2 else -400_000_000)

        yield arrange, None

    return jumps


def victim(case):
    """The first input of a command that is a file of this case; None where there is none."""
    for word in case.words():
        path = Path(word)
        if case.folder / "in" in path.parents and path.is_dir():
            path = next(iter(sorted(path.glob("*_raw.fits"))), path)
        if case.folder / "in" in path.parents and path.suffix == ".fits" and path.is_file():
            return path
    return None


def other(content):
    """An exposure with other pixels: the lowest bits of some are turned, in the middle of the file."""
    changed = bytearray(content)
    begin = len(changed) // 2 // 2880 * 2880
    for at in range(begin + 1, min(begin + 2880, len(changed)), 2):
        changed[at] ^= 1
    return bytes(changed)


def _own(case):
    """A victim that is no link to the stock."""
    path = victim(case)
    if path is None:
        raise NotHere("no input that could change")
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    return path, content


def _later(seconds, place, act):
    return seconds * place, act


@contextmanager
def vanishes(case, place, _expected, seconds):
    """An input is removed while the command runs, and comes back before it is run again."""
    path, content = _own(case)
    yield None, _later(seconds, place, path.unlink)
    path.write_bytes(content)


@contextmanager
def cut(case, place, _expected, seconds):
    """An input loses its second half while the command runs, in place."""
    path, content = _own(case)
    yield None, _later(seconds, place, lambda: os.truncate(path, len(content) // 2))
    path.unlink()
    path.write_bytes(content)


@contextmanager
def changes(case, place, _expected, seconds):
    """An input is written over with other pixels while the command runs, in place, and gets its old ones back."""
    path, content = _own(case)

    def act():
        with path.open("r+b") as stream:
            stream.write(other(content))

    yield None, _later(seconds, place, act)
    path.unlink()
    path.write_bytes(content)


def needed(folder):
    """Bytes below a folder, in whole pages, and the number of files."""
    return sum(-(-(folder / name).stat().st_size // PAGE) * PAGE + PAGE for name in digests(folder))


def conditions(library):
    """Name to condition, and how many of each are tried."""
    found = {
        "disk full": (full_disk, 4), "/tmp full": (full_tmp, 1), "read-only": (read_only, 1), "denied": (denied, 1),
        "file size": (file_size, 4), "descriptors": (descriptors, 8), "memory": (memory, 6),
        "input vanishes": (vanishes, 4), "input is cut": (cut, 4), "input changes": (changes, 4),
    }  # fmt: skip
    if library is not None:
        shim = ctypes.CDLL(str(library))
        shim.clock_arm.argtypes = [ctypes.c_int, ctypes.c_longlong]
        found["clock jumps"] = (clock(shim), 3)
    return found
