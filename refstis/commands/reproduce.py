"""`refstis reproduce`: make a delivered file again and compare."""

from pathlib import Path
from typing import Annotated

import typer

from refstis.commands.options import Anneals, LedgerUrl, ProfileName

__all__ = ["reproduce"]


def reproduce(
    product: Annotated[Path, typer.Argument(metavar="PRODUCT", help="A superbias or superdark.")],
    raws: Annotated[
        Path | None,
        typer.Option(
            "--raws",
            metavar="DIR",
            help="Folder with the raws of its month, in it or below. "
            "(default: what the ledger in a folder above the product knows, else the product's folder)",
        ),
    ] = None,
    anneals: Anneals = None,
    ledger: LedgerUrl = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT", help="Keep what is made here (default: not kept)."),
    ] = None,
    profile: ProfileName = "heritage",
) -> None:
    """Make a delivered file again from the inputs that its HISTORY names, and say whether the two agree.

    Where the record of its run lies beside it, it is made with the parameters recorded there.

    Exit status: 0 pixels and header agree, 1 they differ.
    """
    from tempfile import TemporaryDirectory

    from rich.console import Console
    from rich.text import Text

    from refstis.anneal.ledger import DEFAULT_NAME
    from refstis.anneal.progress import listening
    from refstis.anneal.reproduce import reproduce as make_again
    from refstis.anneal.survey import open_ledger

    above = (folder / DEFAULT_NAME for folder in product.absolute().parents)
    known = ledger or next((str(path) for path in above if path.is_file()), None)
    with (
        TemporaryDirectory(prefix="refstis-") as temporary,
        # what is tried here is nobody else's business: the ledger that knows the raws stays as it is
        open_ledger(None, temporary) as opened,
        listening() as listener,
    ):
        if raws is None and known is not None:
            with open_ledger(known, temporary, new=False) as other:
                opened.look([one.path for one in other.exposures() if Path(one.path).is_file()])
                opened.add_anneals(other.anneals())
        elif raws is None:
            raws = product.absolute().parent
        found = make_again(
            product, raws, output or temporary, opened, anneals=anneals, profile=profile, listener=listener
        )
    console = Console()
    for note in found.notes:
        console.print(Text(f"CAUTION {note}", style="yellow"), soft_wrap=True)
    console.print(Text(f"{product.name}: {found.reason}"))
    console.print(Text(f"parameters: {found.parameters}"), soft_wrap=True)
    for name, (number, largest) in found.pixels.items():
        words = "all pixels agree" if not number else f"{number} pixels differ, by {largest:g} at most"
        console.print(Text(f"{name}: {words}", style="red" if number else "green"))
    for line in found.header or ["all keywords agree"]:
        console.print(Text(f"header: {line}", style="red" if found.header else "green"), soft_wrap=True)
    raise typer.Exit(0 if found.agrees else 1)
