"""Let the tests here import what they share: tests/frames.py, and the modules of this folder as `fuzz`."""

import sys
from pathlib import Path

# under its own name: another distribution installs a package called `tests`
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

# a script of its own that needs atheris: pytest would import it to look for doctests
collect_ignore = ["guided.py"]
