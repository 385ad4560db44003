"""``python -m refstis`` is the `refstis` command."""

from refstis.commands.main import main

if __name__ == "__main__":
    main()
