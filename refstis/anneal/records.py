"""What the record beside a product tells of it, for a ledger that does not know the product."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refstis.anneal.exposures import signature_of
from refstis.anneal.ledger import ProductRecord
from refstis.anneal.plan import Plan
from refstis.datamodels.checksums import checksum_of

__all__ = ["adopt_products", "find_stale", "read_parameters", "read_record"]

# Parameters that say where a file was written or found: those of the plan take their place.
_PLACES = frozenset(
    ["input_dir", "output_dir", "output_ext", "output_file", "output_use_index", "output_use_model", "save_results",
     "search_output_file", "suffix", "override_basebias", "override_basedark", "override_biasfile"]
)  # fmt: skip


def _read(product: Path) -> dict[str, Any]:
    """What stands beside a product, as JSON could hold it; empty where there is nothing that can be read."""
    path = product.with_suffix(".asdf")
    if not path.is_file():
        return {}
    from refstis.datamodels.damage import read_asdf

    try:
        tree = read_asdf(path)
        kept = {key: tree[key] for key in ("record", "parameters", "steps") if key in tree}
        return json.loads(json.dumps(kept, default=str))
    except (OSError, RecursionError, TypeError, ValueError):
        return {}


def read_record(product: Path) -> dict[str, Any]:
    """Read the record beside a product.

    Parameters
    ----------
    product : pathlib.Path
        The product; its record has the ending ``.asdf``.

    Returns
    -------
    dict
        What the record holds; empty where there is none that can be read.
    """
    record = _read(product).get("record")
    return record if isinstance(record, dict) else {}


def read_parameters(product: Path) -> dict[str, Any]:
    """Read with which parameters a product was made.

    Parameters
    ----------
    product : pathlib.Path
        The product; the parameters stand beside it, with the ending ``.asdf``.

    Returns
    -------
    dict
        ``parameters`` and ``steps`` as a profile has them, without those that say where files are; empty where
        nothing stands there that can be read.
    """
    found = _read(product)
    if not isinstance(found.get("record"), dict) or not isinstance(found.get("parameters"), dict):
        return {}

    def chosen(parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in parameters.items() if key not in _PLACES}

    steps = [
        {**step, "parameters": chosen(step["parameters"])}
        for step in found.get("steps", ())
        if isinstance(step, dict) and isinstance(step.get("parameters"), dict)
    ]
    return {"parameters": chosen(found["parameters"]), "steps": steps}


def adopt_products(plan: Plan, records: Mapping[str, ProductRecord]) -> dict[str, ProductRecord]:
    """Products that were made as planned although the ledger does not say so.

    A ledger may be lost, and a run may end between a product and its entry in the ledger. The record beside a product
    holds its key and its checksum.

    Parameters
    ----------
    plan : Plan
        What is to be made.
    records : mapping
        Absolute path to what the ledger knows of the product there.

    Returns
    -------
    dict
        Path to record, of products that the ledger does not know in this form.
    """
    adopted = {}
    for node in plan.nodes.values():
        path = plan.path(node)
        known = records.get(str(path))
        if node.kind == "biassub" or (known is not None and known.key == node.key) or not path.is_file():
            continue
        told = read_record(path)
        if told.get("key") != node.key:
            continue
        signature = signature_of(path)
        checksum = checksum_of(path)
        if checksum == told.get("sha256"):
            adopted[str(path)] = ProductRecord(
                str(path),
                node.kind,
                node.month,
                node.key,
                checksum,
                signature,
                node.provisional,
                node.record(),
            )
    return adopted


def find_stale(plan: Plan) -> list[str]:
    """Products that an earlier plan made in the folders of this one's months, and that this one does not make.

    A period may have another number of days after an anneal was added, or another procedure: what was made before
    stays where it is, and must not be taken for a product of this plan.

    Parameters
    ----------
    plan : Plan
        Its nodes say what is made.

    Returns
    -------
    list of str
        Paths below the output folder. Only files whose record says that a run made them there are meant.
    """
    planned = {plan.path(node) for node in plan.nodes.values()}
    found = []
    for one in plan.months:
        for record in sorted((plan.output / one.month.name).rglob("*.asdf")):
            path = record.with_suffix(".fits")
            if path not in planned and path.is_file():
                identity = path.relative_to(plan.output).as_posix()
                if read_record(path).get("identity") == identity:
                    found.append(identity)
    return found
