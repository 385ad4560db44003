"""What the record beside a product tells of it, for a ledger that does not know the product."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refstis.anneal.exposures import checksum_of, signature_of
from refstis.anneal.ledger import ProductRecord
from refstis.anneal.plan import Plan

__all__ = ["adopt_products", "read_record"]


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
