"""One case: made, read, and judged by what is left behind."""

import hashlib
import os
import shutil
import signal
import socket
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path

from refstis.errors import RefstisError

LONGEST = 20  # seconds; more counts as a hang


class Finding(AssertionError):
    """A case that was neither read nor refused as it should be."""


class _TooLong(BaseException):
    pass


@contextmanager
def in_time(seconds=LONGEST):
    """End what hangs."""

    def ring(*_):
        raise _TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    except _TooLong:
        raise Finding(f"hangs: more than {seconds} s") from None
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def offline():
    """Let nobody speak to another machine."""
    sound = socket.socket.connect

    def connect(self, address):
        if isinstance(address, tuple) and not str(address[0]).startswith(("127.", "localhost", "::1")):
            raise Finding(f"speaks to {address[0]}")
        return sound(self, address)

    socket.socket.connect = connect
    try:
        yield
    finally:
        socket.socket.connect = sound


def contents(folder):
    """What every file below a folder holds; links are not followed."""
    found = {}
    for root, folders, names in os.walk(folder):
        for one in (*folders, *names):
            path = os.path.join(root, one)
            if os.path.islink(path):
                found[path] = os.readlink(path)
            elif os.path.isdir(path):
                found[path] = "folder"
            else:
                with open(path, "rb") as stream:
                    found[path] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


class Bench:
    """A folder in which cases are tried one after the other."""

    def __init__(self, folder, stock):
        self.folder, self.stock = Path(folder), stock
        self.case, self.output, self.work = (self.folder / one for one in ("case", "output", "work"))

    def make(self, kind, choices):
        """Write a case."""
        self._clean()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind.make(choices, self.stock, self.case)

    def load(self, folder):
        """Take a case that was kept."""
        self._clean()
        shutil.copytree(folder, self.case, dirs_exist_ok=True, symlinks=True)

    def _clean(self):
        for one in (self.case, self.output, self.work):
            shutil.rmtree(one, ignore_errors=True)
            one.mkdir(parents=True)

    def judge(self, kind):
        """Read the case that lies here; gives whether it was taken ("good") or refused ("refused").

        Raises
        ------
        Finding
            Where it was neither, or something was left behind that must not be.
        """
        before = contents(self.case)
        here = os.getcwd()
        os.chdir(self.work)
        try:
            with in_time(), offline(), warnings.catch_warnings():
                warnings.simplefilter("error")
                kind.use(self.case, self.stock, self.output)
            verdict = "good"
        except RefstisError as error:
            verdict = "refused"
            self._check_message(str(error))
        except Finding:
            raise
        except BaseException as error:
            if type(error).__name__ == "Ended":
                verdict = "refused"
            elif isinstance(error, KeyboardInterrupt):
                raise
            else:
                last = [
                    frame
                    for frame in traceback.extract_tb(error.__traceback__)
                    if "/refstis/" in frame.filename
                ]
                where = f"{Path(last[-1].filename).name}:{last[-1].lineno}" if last else "nowhere in refstis"
                raise Finding(f"{type(error).__name__} at {where}: {str(error)[:300]}") from error
        finally:
            os.chdir(here)
        after = contents(self.case)
        changed = [path for path in before if after.get(path) != before[path]]
        if changed:
            raise Finding(f"changed its input {changed[0]}")
        stray = [
            path
            for root, _, names in os.walk(self.folder)
            for path in names
            if "PWNED" in path and "raws" not in root
        ]
        if stray:
            raise Finding(f"ran or wrote what the input asked for: {stray}")
        if verdict == "refused":
            left = [path.name for path in self.output.rglob("*.fits")] + [
                path.name for path in self.output.rglob("*.part")
            ]
            if left and kind.name in ("members", "pixels"):
                raise Finding(f"refused, and left {left}")
        return verdict

    @staticmethod
    def _check_message(message):
        if not message.strip():
            raise Finding("refused without a word")
        if len(message.splitlines()) > 1:
            raise Finding(f"a message of several lines: {message!r:.300}")
        if not message.isprintable():
            raise Finding(f"a message with control characters: {message!r:.300}")
        if len(message) > 2000:
            raise Finding(f"a message of {len(message)} characters: {message[:200]}")

    def keep(self, folder):
        """Keep the case that lies here."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.case, folder, symlinks=True)
