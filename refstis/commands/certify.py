"""`refstis certify`: what CRDS says of reference files."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["certify"]


def certify(
    files: Annotated[list[Path], typer.Argument(help="Superbiases and superdarks, or folders with them.")],
    context: Annotated[
        str | None,
        typer.Option(
            metavar="hst_1204.pmap",
            help="Also check against the rules of this context (or `latest`), from the cache or the server.",
        ),
    ] = None,
    log: Annotated[Path | None, typer.Option(metavar="FILE", help="Write what CRDS said.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Certify reference files with CRDS's own code, offline unless a context is named.

    The exit status is 1 where a file is refused.
    """
    from refstis.delivery.certification import certify_files, certify_log
    from refstis.delivery.products import product_paths

    found = certify_files(product_paths(files), context)
    text = certify_log(found)
    if log is not None:
        from refstis.datamodels.atomic import atomic_write

        with atomic_write(log, "w") as stream:
            stream.write(text)
    if json:
        from json import dumps

        print(dumps([one.to_dict() for one in found], indent=1))
    else:
        print(text, end="")
    if not all(one.passed for one in found):
        raise typer.Exit(1)
