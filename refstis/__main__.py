"""``python -m refstis`` is the `refstis` command."""

from refstis.commands.main import main

main()
