"""What a run of the pipeline says of the products that it made."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from refstis.delivery.products import Product

__all__ = ["RunRecord", "anneals_near", "read_run"]

RUN_RECORD = "run.json"
_MJD_ZERO = datetime(1858, 11, 17)


@dataclass(frozen=True)
class RunRecord:
    """What is told of products by name of the file.

    Attributes
    ----------
    reasons : dict
        Procedure and why it was chosen.
    cautions : dict
        What somebody should look at, left-out exposures among it.
    darks : list of tuple
        Each raw dark that superdarks were made of, and the superbias that was subtracted from it.
    """

    reasons: dict[str, str] = field(default_factory=dict)
    cautions: dict[str, list[str]] = field(default_factory=dict)
    darks: list[tuple[Path, Path]] = field(default_factory=list)


def read_run(folder: str | os.PathLike) -> RunRecord:
    """Read the record of the run that made a month.

    Parameters
    ----------
    folder : str or os.PathLike
        Of the month; the record lies in it or in the folder above.

    Returns
    -------
    RunRecord
        Empty where there is no record that can be read.
    """
    folder = Path(folder).absolute()
    for path in (folder / RUN_RECORD, folder.parent / RUN_RECORD):
        try:
            plan = json.loads(path.read_text(encoding="utf-8"))["plan"]
            nodes, output = plan["products"], Path(plan["output"])
            mine = [node for node in nodes if node["month"] == folder.name or path.parent == folder]
            reasons = {node["name"]: node["reason"] for node in mine}
            cautions = {
                node["name"]: [
                    *node.get("cautions", []),
                    *(f"left out: {one}" for one in node.get("exclusions", [])),
                ]
                for node in mine
            }
            darks = [
                (Path(node["inputs"][0]["path"]), output / node["inputs"][1]["node"])
                for node in mine
                if node["kind"] == "biassub"
            ]
        except (OSError, ValueError, LookupError, TypeError):
            continue
        return RunRecord(reasons, {name: found for name, found in cautions.items() if found}, darks)
    return RunRecord()


def anneals_near(products: list[Product], table: str | os.PathLike | None = None) -> list[datetime]:
    """Anneals of the table in use about the time of some products.

    Parameters
    ----------
    products : list of Product
        Of a month.
    table : str or os.PathLike, optional
        An anneal table of one's own; the shipped one by default.

    Returns
    -------
    list of datetime.datetime
        Begins of the anneals from five weeks before the first product to three days after the last day of its inputs.
    """
    from refstis.anneal.table import read_table, shipped_table

    dates = [date for product in products if product.pedigree for date in product.pedigree]
    if not dates:
        return []
    first, last = min(dates) - timedelta(days=35), max(dates) + timedelta(days=3)
    known = read_table(table) if table is not None else shipped_table()
    begins = [_MJD_ZERO + timedelta(days=anneal.begin) for anneal in known]
    return [begin for begin in begins if first <= begin <= last]
