"""`refstis config`: your configuration file, and where the shipped parameters lie."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Your configuration file, and the shipped parameters.")

ConfigurationFile = Annotated[
    Path, typer.Argument(metavar="[FILE]", help="Configuration file.", show_default=False)
]
DEFAULT = Path("~/refstis_config.yaml")


@app.command("init")
def init(file: ConfigurationFile = DEFAULT) -> None:
    """Write a configuration file to fill in (~/refstis_config.yaml); one that exists is left alone."""
    from refstis.datamodels import config_path
    from refstis.datamodels.atomic import atomic_write

    target = file.expanduser()
    with atomic_write(target, "w", overwrite=False) as stream:
        stream.write(config_path("refstis_config.yaml").read_text(encoding="utf-8"))
    print(target)


@app.command("check")
def check(file: ConfigurationFile = DEFAULT) -> None:
    """Say whether a configuration file is right, and which of its keys nothing needs any more."""
    from refstis.datamodels.settings import NOT_NEEDED, Settings

    settings = Settings.open(file)
    unused = sorted(settings.model_fields_set.intersection(NOT_NEEDED))
    print(f"{file.expanduser()}: {len(settings.model_fields_set)} keys, all good")
    if unused:
        print(f"not needed any more: {', '.join(unused)}")


@app.command("show")
def show(file: ConfigurationFile = DEFAULT) -> None:
    """Print what is in force, defaults included; never a password."""
    from refstis.datamodels.settings import Settings

    for key, value in Settings.open(file).mapping().items():
        shown = ", ".join(str(one) for one in value) if isinstance(value, tuple | list) else value
        print(f"{key}: {shown}")


@app.command("path")
def path(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="Such as weekdark, policy.yaml or limits.")
    ] = "",
) -> None:
    """Print where a shipped file lies, such as the parameters of weekdark; without a name, the folder."""
    from refstis.datamodels import config_path
    from refstis.errors import ConfigurationError

    endings = ("", ".asdf", ".yaml", ".ecsv", ".csv")
    found = next((one for ending in endings if (one := config_path(f"{name}{ending}")).exists()), None)
    if found is None or not found.resolve().is_relative_to(config_path().resolve()):
        known = ", ".join(sorted(one.name for one in config_path().iterdir() if one.is_file()))
        raise ConfigurationError(f"there is no {name!r} in {config_path()}; it holds {known}")
    print(found)
