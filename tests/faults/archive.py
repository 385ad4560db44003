"""An archive on this machine, in a process of its own: what runs here is killed, and forks only without threads."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

# rootname, begin and exposure time of what it holds; slow enough that kills fall into downloads
EXPOSURES = [(f"OBTEST{one:02d}Q", 56005.2 + one / 2, 1100.0) for one in range(8)]
RATE = 250_000  # bytes a second of one download


def serve():
    """Answer until nobody listens any more."""
    from retrieval.conftest import MastServer, _MastHandler, serving

    state = MastServer(rate=RATE)
    for name, begin, seconds in EXPOSURES:
        state.add(name, start=begin, duration=seconds, size=100)
    with serving(_MastHandler, state) as address:
        print(f"http://{address}", flush=True)
        sys.stdin.read()


@contextmanager
def archive():
    """Start it; gives its address."""
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process.stdout.readline().strip()
    finally:
        process.communicate("")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    serve()
