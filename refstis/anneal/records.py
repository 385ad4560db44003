"""What the record beside a product tells of it, for a ledger that does not know the product."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refstis.anneal.exposures import checksum_of, signature_of
from refstis.anneal.ledger import ProductRecord
from refstis.anneal.plan import Plan

__all__ = ["adopt_products", "find_stale", "read_record"]


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
    import asdf
    import yaml

    path = product.with_suffix(".asdf")
    if not path.is_file():
        return {}
    try:
        with asdf.open(path, lazy_load=False, memmap=False) as file:
            record = file.tree.get("record")
            return dict(record) if isinstance(record, Mapping) else {}
    except (OSError, ValueError, RuntimeError, yaml.YAMLError, asdf.ValidationError):
        return {}


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
