"""Kinds of input that may be wrong: how a case of each is made, and what reads it.

A kind makes files in a folder and, separately, reads what lies in that folder. So a finding is kept as its files alone and
stays what it was when the making of cases changes.
"""

import gzip
import io
import json
import os
import sqlite3
import sys
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from astropy.io import fits

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from frames import (
    MONTH_BIASES,
    MONTH_DARKS,
    MONTH_MEMBERS,
    MONTH_SHAPE,
    ccd_row,
    rejection_row,
    write_month,
    write_raw,
    write_table,
)
from fuzz import spoiling

from refstis.datamodels import config_path
from refstis.errors import RefstisError

DETAILS = "case.json"


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes
    ----------
    name : str
        In the table of what was tried.
    words : str
        What it is.
    make : callable
        Takes choices, sound files and an empty folder, and writes a case into it.
    use : callable
        Takes the case's folder, sound files and an empty output folder, and reads the case as users would.
    share : int
        Cases of a campaign, in parts of the whole.
    """

    name: str
    words: str
    make: Any
    use: Any
    share: int


class Stock:
    """Sound files that cases are spoiled from."""

    def __init__(self, folder):
        self.folder = folder / "sound"
        self.folder.mkdir()
        write_month(self.folder)
        self.bytes = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        single = write_raw(self.folder / "o1_raw.fits", imsets=1, shape=(4, 6), primary={"BPIXTAB": "N/A"})
        self.bytes["small"] = single.read_bytes()
        single.unlink()
        tables = self.folder / "tables"
        tables.mkdir()
        self.tables = {
            "ccdtab": write_table(tables / "ccd.fits", [ccd_row(), ccd_row(CCDAMP="D", CCDGAIN=4)]),
            "bpixtab": write_table(
                tables / "bpx.fits",
                [{"PIX1": 3, "PIX2": 4, "LENGTH": 5, "AXIS": 1, "VALUE": 16}, {"PIX1": 9, "PIX2": 1, "LENGTH": 2, "AXIS": 2, "VALUE": 4}],
                {"SIZAXIS1": MONTH_SHAPE[1], "SIZAXIS2": MONTH_SHAPE[0]},
            ),
            "crrejtab": write_table(tables / "crr.fits", [rejection_row(), rejection_row(CRSPLIT=9, CRSIGMAS="6.5,5.5")]),
            "epctab": write_table(tables / "epc.fits", [{"TIME": 57910.0, "VALUE": 20.5}, {"TIME": 57911.0, "VALUE": 21.5}]),
        }  # fmt: skip
        hdus = fits.HDUList(
            [
                fits.PrimaryHDU(),
                fits.BinTableHDU.from_columns(
                    [
                        fits.Column("MEMNAME", "14A", array=["OB01010", "OB02010", "OB03010"]),
                        fits.Column("MEMTYPE", "14A", array=["EXP-BIAS", "EXP-BIAS", "PROD-BIAS"]),
                    ],
                    name="ASN",
                ),
            ]
        )
        stream = io.BytesIO()
        hdus.writeto(stream)
        self.asn = stream.getvalue()
        with quiet():
            import refstis

            refstis.RefBiasPipeline.call(
                str(self.folder / "refbias.json"), output_file=str(self.folder / "product_bia.fits")
            )
        self.product = (self.folder / "product_bia.fits").read_bytes()
        self.record = (self.folder / "product_bia.asdf").read_bytes()


@contextmanager
def quiet():
    """Without what stpipe and astropy say at a terminal."""
    import logging

    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def put(folder, **details):
    """Remember beside the files what else belongs to a case."""
    (folder / DETAILS).write_text(json.dumps(details))


def details(folder):
    path = folder / DETAILS
    return json.loads(path.read_text()) if path.exists() else {}


def link_sound(stock, folder, *names):
    for one in names:
        if not (folder / one).exists():
            os.link(stock.folder / one, folder / one)


# ---------------------------------------------------------------- exposures


def read_as_everybody(path):
    """Read an exposure with each of the readers: pipelines, plan, retrieval, delivery."""
    from refstis.anneal.exposures import read_exposure, screen_group, select
    from refstis.anneal.policy import load_policy
    from refstis.custom.choice import read_science
    from refstis.datamodels.association import Association, ExposureLibrary
    from refstis.datamodels.exposure import Exposure
    from refstis.delivery.products import Product
    from refstis.retrieval.whole import primary_facts, why_not_whole

    refused = []
    policy = POLICY.setdefault("policy", load_policy())
    seen = read_exposure(path)
    if select(seen, policy) in ("bias", "dark"):
        screen_group([seen] * policy.screening.smallest_group, policy)
    why_not_whole(path)
    with path.open("rb") as stream:
        primary_facts(stream)
    product = Product.open(path)
    _ = (
        product.kind,
        product.mode_words,
        product.useafter,
        product.pedigree,
        product.mjd,
        product.exposure_time,
    )

    def exposure():
        opened = Exposure.open(path)
        for imset in opened.imsets:
            imset.sci[:], imset.err[:], imset.dq[:]
        opened.get_crds_parameters()

    def library():
        ExposureLibrary.open(Association.of_files([path]), "bias")

    with suppress(RefstisError):
        read_science(path)  # refuses biases
    for reader in (exposure, library):
        try:
            reader()
        except RefstisError as error:
            refused.append(error)
    if refused:
        raise refused[0]


POLICY: dict[str, Any] = {}


def make_structure(choices, stock, folder):
    source = choices.pick(
        (stock.bytes["small"], stock.bytes["small"], stock.bytes["super_bia.fits"], stock.product)
    )
    content = spoiling.spoil_structure(choices, source)
    if choices.chance(8):  # the archive packs files, and readers tell packed ones from their content
        content = gzip.compress(content, 1)
        content = spoiling.spoil_bytes(choices, content) if choices.chance(2) else content
    (folder / "o1_raw.fits").write_bytes(content)


def make_headers(choices, stock, folder):
    blocks = spoiling.Blocks(stock.bytes["small"])
    spoiling.spoil_headers(
        choices,
        blocks,
        keywords=spoiling.TELLING + spoiling.STORAGE if choices.chance(6) else spoiling.TELLING,
    )
    (folder / "o1_raw.fits").write_bytes(blocks.content())


def use_exposure(folder, stock, output):
    read_as_everybody(folder / "o1_raw.fits")


# ---------------------------------------------------------------- pipelines


def check_products(output, names=("*.fits",)):
    """A product is whole, has its record, and what is not a number in it is flagged."""
    for pattern in names:
        for path in output.rglob(pattern):
            assert path.with_suffix(".asdf").is_file(), f"{path.name} without its record"
            with fits.open(path, memmap=False) as hdus:
                hdus.verify("exception")
                for plane in ("SCI", "ERR"):
                    data = hdus[plane].data
                    assert np.isfinite(data[hdus["DQ"].data == 0]).all(), (
                        f"{plane} is not finite where DQ is 0"
                    )
                assert (hdus["ERR"].data[np.isfinite(hdus["ERR"].data)] >= 0).all(), "a negative ERR"


def pipeline_of(name):
    import refstis

    return {
        "basebias": refstis.BaseBiasPipeline, "refbias": refstis.RefBiasPipeline, "weekbias": refstis.WeekBiasPipeline,
        "basedark": refstis.BaseDarkPipeline, "weekdark": refstis.WeekDarkPipeline,
    }[name]  # fmt: skip


def members_of(name):
    members = MONTH_MEMBERS[name]
    return [one for value in members.values() for one in ([value] if isinstance(value, str) else value)]


def make_member(choices, stock, folder):
    """One of the exposures or reference images of a product is spoiled."""
    product = choices.pick(tuple(MONTH_MEMBERS))
    names = members_of(product)
    references = [one for one in names if not one.endswith("_raw.fits")]
    victim = choices.pick(references if references and choices.chance(2) else names)
    content = stock.bytes[victim]
    if choices.chance(8):
        content = spoiling.spoil_structure(choices, content)
    elif not victim.endswith("_raw.fits") and choices.chance(2):
        blocks = spoiling.Blocks(content)
        number = choices.integer(1, len(blocks.hdus) - 1)
        cards, data = blocks.hdus[number]
        pixels = np.frombuffer(data, ">f4" if number < 3 else ">i2").copy()
        bad = (
            choices.pick((np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-40, 0.0, -1.0))
            if number < 3
            else choices.integer(-32768, 32767)
        )
        if choices.chance(2):
            pixels[:] = bad
        else:
            pixels[choices.integer(0, 799) :: choices.integer(1, 99)] = bad
        blocks.hdus[number] = (cards, pixels.tobytes())
        content = blocks.content()
    else:
        blocks = spoiling.Blocks(content)
        spoiling.spoil_headers(choices, blocks, most=2)
        content = blocks.content()
    (folder / victim).write_bytes(content)
    put(folder, product=product)


def use_member(folder, stock, output):
    product = details(folder)["product"]
    members = MONTH_MEMBERS[product]
    link_sound(stock, folder, *members_of(product), f"{product}.json")
    with quiet():
        pipeline_of(product).call(str(folder / f"{product}.json"), output_file=str(output / "product.fits"))
    check_products(output)
    _ = members


def make_pixels(choices, stock, folder):
    """Frames whose pixels are extreme: constant, saturated, one pixel different, zeros."""
    product = choices.pick(tuple(MONTH_MEMBERS))
    raws = [one for one in members_of(product) if one.endswith("_raw.fits")]
    for victim in raws if choices.chance(2) else [choices.pick(raws)]:
        blocks = spoiling.Blocks(stock.bytes[victim])
        for number, (cards, data) in enumerate(blocks.hdus):
            if not data:
                continue
            pixels = np.frombuffer(data, ">i2").copy()
            level = choices.pick((-32768, 32767, 0, -31368, -31366, 1))
            if choices.chance(2):
                pixels[:800] = level
            else:
                pixels[choices.integer(0, 799) :: choices.integer(1, 800)] = level
            blocks.hdus[number] = (cards, pixels.tobytes())
        (folder / victim).write_bytes(blocks.content())
    put(folder, product=product)


# ---------------------------------------------------------------- reference tables


def make_table(choices, stock, folder):
    kind = choices.pick(tuple(stock.tables))
    content = stock.tables[kind].read_bytes()
    how = choices.integer(0, 3)
    if how == 0:
        content = spoiling.spoil_structure(choices, content)
    elif how == 1:
        blocks = spoiling.Blocks(content)
        spoiling.spoil_headers(
            choices, blocks, keywords=("PEDIGREE", "DESCRIP", "SIZAXIS1", "SIZAXIS2", *spoiling.STORAGE)
        )
        content = blocks.content()
    else:
        with fits.open(io.BytesIO(content)) as hdus:
            names = hdus[1].columns.names
            rows = [{one: row[one] for one in names} for row in hdus[1].data]
        for _ in range(choices.integer(1, 3)):
            column = choices.pick(names)
            change = choices.integer(0, 6)
            if change == 0:
                rows = []
            elif change == 1:
                rows = [{key: value for key, value in row.items() if key != column} for row in rows]
            elif change == 2:
                rows = [{**row, column: choices.real()} for row in rows]
            elif change == 3:
                rows = [{**row, column: choices.pick(spoiling.HOSTILE)} for row in rows]
            elif change == 4:
                rows = [{**row, column: choices.integer(-(2**31), 2**31 - 1)} for row in rows]
            elif change == 5:
                rows = [
                    {**row, column: choices.pick((True, 0, -1, 1, 2, 99, "4.0,", "minimum", ""))}
                    for row in rows
                ]
            else:
                rows *= 3
        columns = []
        for one in rows[0] if rows else ():
            array = np.array([row[one] for row in rows])
            if array.dtype.kind == "U":
                array = np.char.encode(array, "utf-8")
            code = {"f": "D", "i": "K", "b": "L"}.get(array.dtype.kind) or f"{max(array.dtype.itemsize, 1)}A"
            columns.append(fits.Column(one, code, array=array))
        hdus = fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)])
        if kind == "bpixtab" and not choices.chance(4):
            hdus[1].header["SIZAXIS1"], hdus[1].header["SIZAXIS2"] = choices.pick(
                (MONTH_SHAPE[::-1], (0, 0), (-1, 5), (2**31, 2**31))
            )
        stream = io.BytesIO()
        hdus.writeto(stream)
        content = stream.getvalue()
    (folder / "table.fits").write_bytes(content)
    put(folder, kind=kind)


def use_table(folder, stock, output):
    from refstis.datamodels.exposure import Exposure
    from refstis.datamodels.tables import (
        ReferenceTable,
        read_bad_pixels,
        read_ccd_parameters,
        read_rejection_parameters,
        read_temperatures,
    )

    kind, path = details(folder)["kind"], folder / "table.fits"
    table = ReferenceTable.open(path)
    if kind == "ccdtab":
        read_ccd_parameters(table, Exposure.open(stock.folder / MONTH_BIASES[0]))
    elif kind == "bpixtab":
        read_bad_pixels(table, "MIRVIS")
    elif kind == "crrejtab":
        read_rejection_parameters(table, [0.0] * 9, False)
    else:
        read_temperatures(table)


def use_table_in_stage(folder, stock, output):
    """The same, in the stage that needs the table."""
    from refstis.stages import BlevCorrStep, CrCorrStep, DqiCorrStep, TempCorrStep

    kind, path = details(folder)["kind"], folder / "table.fits"
    with quiet():
        if kind == "ccdtab":
            BlevCorrStep.call(str(stock.folder / MONTH_BIASES[0]), override_ccdtab=str(path))
        elif kind == "bpixtab":
            for imset in DqiCorrStep.call(
                str(stock.folder / MONTH_BIASES[0]), override_bpixtab=str(path)
            ).imsets:
                imset.dq[:]
        elif kind == "crrejtab":
            CrCorrStep.call([str(stock.folder / one) for one in MONTH_BIASES], override_crrejtab=str(path))
        else:
            TempCorrStep.call(str(stock.folder / MONTH_DARKS[0]), temperature_table=str(path))


# ---------------------------------------------------------------- associations


def make_association(choices, stock, folder):
    product = choices.pick(tuple(MONTH_MEMBERS))
    sound = json.loads(stock.bytes[f"{product}.json"])
    kind = choices.integer(0, 4)
    if kind == 4:
        (folder / "inputs.asn").write_bytes(spoiling.spoil_structure(choices, stock.asn))
        return
    if kind == 3:
        members = sound["products"][0]["members"]
        for _ in range(choices.integer(1, 3)):
            one = choices.pick([each for each in members if isinstance(each, dict)] or [{}])
            wrong = choices.pick((None, 1, [], {}, True, 1.5, *spoiling.HOSTILE))
            how = choices.integer(0, 5)
            if how == 0:
                one["expname"] = wrong
            elif how == 1:
                one["exptype"] = wrong
            elif how == 2:
                sound["products"][0]["name"] = wrong
            elif how == 3:
                members.append(wrong)
            elif how == 4:
                sound["products"] = choices.pick((wrong, sound["products"] * 2, []))
                break
            else:
                one.pop(choices.pick(("expname", "exptype")), None)
        text = json.dumps(sound, ensure_ascii=choices.chance(2))
    elif kind == 2:
        text = "\n".join(members_of(product))
    elif kind == 1:
        text = yaml.safe_dump(sound)
    else:
        text = json.dumps(sound)
    if kind != 3:
        text = spoiling.spoil_text(
            choices, text, spoiling.YAML_HOSTILE if choices.chance(2) else spoiling.HOSTILE
        )
    spoiling.write_text(choices, folder / "inputs.asn", text)


def use_association(folder, stock, output):
    from refstis.datamodels.association import Association, ExposureLibrary

    link_sound(stock, folder, *MONTH_BIASES, *MONTH_DARKS, "super_bia.fits", "base_bia.fits", "base_drk.fits")
    association = Association.open(folder / "inputs.asn")
    if association.name is not None:
        # the product's name decides where it is written
        path = (output / f"{association.name}.fits").resolve()
        assert path.parent == output.resolve(), f"a product outside the folder: {path}"
    ExposureLibrary.open(
        association, "dark" if any(one.role == "dark" for one in association.members) else "bias"
    )


# ---------------------------------------------------------------- configuration

CONFIGURATIONS = ("refstis_config.yaml", "policy.yaml", "limits.yaml", "delivery.yaml")


def make_configuration(choices, stock, folder):
    which = choices.pick(CONFIGURATIONS)
    text = config_path(which).read_text(encoding="utf-8")
    if choices.chance(3):
        tree = yaml.safe_load(text) or {}
        for _ in range(choices.integer(1, 3)):
            where = tree
            while isinstance(where, dict | list) and where:
                keys = list(where) if isinstance(where, dict) else list(range(len(where)))
                key = choices.pick(keys)
                if not isinstance(where[key], dict | list) or choices.chance(3):
                    where[key] = choices.pick(
                        (
                            None,
                            1,
                            -1,
                            1e300,
                            float("nan"),
                            float("inf"),
                            [],
                            {},
                            True,
                            "",
                            10**30,
                            *spoiling.HOSTILE,
                        )
                    )
                    break
                where = where[key]
        text = yaml.safe_dump(tree, allow_unicode=True)
    else:
        text = spoiling.spoil_text(
            choices, text, spoiling.YAML_HOSTILE if choices.chance(2) else spoiling.HOSTILE
        )
    spoiling.write_text(choices, folder / which, text)


def use_configuration(folder, stock, output):
    from refstis.anneal.policy import load_policy
    from refstis.datamodels.settings import Settings
    from refstis.delivery.form import read_form_settings
    from refstis.delivery.limits import load_limits

    readers = {
        "refstis_config.yaml": lambda path: Settings.open(path).mapping(), "policy.yaml": load_policy,
        "limits.yaml": load_limits, "delivery.yaml": read_form_settings,
    }  # fmt: skip
    for which, reader in readers.items():
        if (folder / which).exists():
            reader(folder / which)


def make_parameters(choices, stock, folder):
    """A profile's folder with a parameter file that was tampered with, or a product's record."""
    which = choices.pick(("weekdark", "basedark", "refbias", "basebias", "weekbias"))
    content = config_path(f"{which}.asdf").read_bytes()
    if choices.chance(3):
        content = stock.record
    how = choices.integer(0, 3)
    if how == 0:
        content = spoiling.spoil_bytes(choices, content) if choices.chance(2) else choices.blob(2000)
        (folder / f"{which}.asdf").write_bytes(content)
    else:
        text = spoiling.spoil_text(
            choices, content.decode("latin-1"), spoiling.YAML_HOSTILE if how == 1 else spoiling.HOSTILE
        )
        spoiling.write_text(choices, folder / f"{which}.asdf", text)
    put(folder, pipeline=which)


def use_parameters(folder, stock, output):
    from refstis.anneal.policy import load_profile
    from refstis.anneal.records import read_record
    from refstis.delivery.products import Product

    which = details(folder)["pipeline"]
    read_record(folder / f"{which}.fits")
    Product.open(folder / f"{which}.fits")
    parameters = load_profile(str(folder)).parameters(which)
    json.dumps(parameters)  # the plan's key and the ledger hold them


# ---------------------------------------------------------------- anneal tables


def make_anneals(choices, stock, folder):
    text = "\n".join(config_path("anneals.csv").read_text(encoding="utf-8").splitlines()[-12:])
    header = "begin,end,proposal,visit,source,remark\n"
    kind = choices.integer(0, 3)
    if kind == 0:
        rows = [
            {"begin": choices.pick((56428.0, "2013-05-16", choices.pick(spoiling.HOSTILE), choices.pick(spoiling.NUMBERS), choices.real())),
             "end": choices.pick((56429.0, None, choices.pick(spoiling.HOSTILE), choices.real())),
             "proposal": choices.pick((13134, "13134", choices.pick(spoiling.HOSTILE), 1.5)),
             "visit": choices.pick((26, "26", choices.pick(spoiling.HOSTILE), None))}
            for _ in range(choices.integer(0, 3))
        ]  # fmt: skip
        text = yaml.safe_dump(rows, allow_unicode=True)
        if choices.chance(3):
            text = spoiling.spoil_text(choices, text, spoiling.YAML_HOSTILE)
        spoiling.write_text(choices, folder / "anneals", text)
    elif kind == 1:
        path = folder / "anneals"
        with closing(sqlite3.connect(path)) as connection, connection:
            columns = choices.pick(
                ('id, proposid, visit, start, "end"', 'id, start, "end"', "id, begin", "id")
            )
            connection.execute(f"CREATE TABLE anneals ({columns})")
            number = columns.count(",") + 1
            for _ in range(choices.integer(0, 3)):
                row = [
                    choices.pick(
                        (
                            1,
                            56428.5,
                            None,
                            choices.real(),
                            choices.pick(spoiling.HOSTILE),
                            choices.blob(9),
                            10**18,
                        )
                    )
                    for _ in range(number)
                ]
                connection.execute(f"INSERT INTO anneals VALUES ({','.join('?' * number)})", row)
        if choices.chance(3):
            content = bytearray(path.read_bytes())
            for _ in range(choices.integer(1, 30)):
                content[choices.integer(0, len(content) - 1)] = choices.integer(0, 255)
            path.write_bytes(content[: choices.integer(100, len(content))])
    else:
        spoiling.write_text(choices, folder / "anneals", spoiling.spoil_text(choices, header + text))


def use_anneals(folder, stock, output):
    from refstis.anneal.table import Anneal, append_to_file, read_table

    table = read_table(folder / "anneals")
    for month in table.months():
        assert (output / month.name).resolve().parent == output.resolve(), f"a month outside: {month.name!r}"
    if len(table):
        table.at(57000.0)
    copy = output / "anneals"
    copy.write_bytes((folder / "anneals").read_bytes())
    append_to_file(copy, Anneal(58000.0, 58001.0, "15000", "01"))
    assert len(read_table(copy)) == len(table) + 1


# ---------------------------------------------------------------- answers of archives


def _row(choices):
    row = {
        "sci_data_set_name": "OC4U5RFMQ", "sci_targname": "DARK", "sci_instrume": "STIS  ", "sci_instrument_config": "STIS/CCD",
        "sci_pep_id": 12740, "sci_start_time": "2012-03-11T00:00:00.000000", "sci_actual_duration": 1100.0, "search_key": "x",
    }  # fmt: skip
    for _ in range(choices.integer(0, 2)):
        row[choices.pick(tuple(row))] = _wrong(choices)
    return row


def _wrong(choices):
    return choices.pick((None, 1, -1, 1e308, True, [], {}, "", 10**30, *spoiling.HOSTILE))


def make_answers(choices, stock, folder):
    columns = [{"column_name": one, "qual_type": "x", "description": "x"} for one in _row(choices)]
    product = {
        "access": "PUBLIC", "dataset": "OC4U5RFMQ", "filename": "oc4u5rfmq_raw.fits", "uri": "OC4U5RFMQ/oc4u5rfmq_raw.fits",
        "size": 10, "file_suffix": "RAW",
    }  # fmt: skip
    for _ in range(choices.integer(0, 2)):
        product[choices.pick(tuple(product))] = _wrong(choices)
    results = [_row(choices) for _ in range(choices.integer(0, 3))]
    search = {
        "results": results,
        "totalResults": choices.pick((len(results), len(results), _wrong(choices))),
        "info": [],
        "messages": [],
    }
    products = {
        "products": choices.pick(([product], [[product]], [product, _wrong(choices)], _wrong(choices)))
    }
    texts = [json.dumps(one) for one in (columns, search, products)]
    for _ in range(choices.integer(0, 2)):
        number = choices.integer(0, 2)
        texts[number] = choices.pick(
            (
                "",
                "null",
                "[]",
                "{}",
                "<html>down</html>",
                '{"products": 1}',
                spoiling.spoil_text(choices, texts[number]),
            )
        )
    content = stock.bytes["small"]
    if choices.chance(2):
        content = spoiling.spoil_structure(choices, content)
    (folder / "body").write_bytes(content)
    headers = {
        "Content-Length": choices.pick((str(len(content)), str(len(content)), "", "-1", "x", "9" * 30)),
        "ETag": choices.pick(('"a"', "W/x", "")),
        "Content-Range": choices.pick(("", "bytes 0-9/10", "bytes x")),
        "Repr-Digest": choices.pick(("", "sha-256=:AAAA:", "sha-256=:A:", "md5=x")),
    }
    put(
        folder,
        answers=texts,
        headers={key: value for key, value in headers.items() if value},
        status=choices.pick((200,) * 12 + (206, 404, 416, 204, 302, 401)),
    )


def use_answers(folder, stock, output):
    import requests
    from requests.adapters import HTTPAdapter

    from refstis.retrieval.client import Patience
    from refstis.retrieval.mast import Mast
    from refstis.retrieval.selection import Selection

    case = details(folder)
    body = (folder / "body").read_bytes()

    def send(adapter, request, *args, **kwargs):
        answer = requests.Response()
        answer.request, answer.url = request, request.url
        answer.status_code, answer.reason = 200, "OK"
        url = request.url
        if "column_list" in url:
            content = case["answers"][0].encode("utf-8", "replace")
        elif "retrieve_product" in url:
            content = body
            answer.status_code, answer.reason = case["status"], "as it is"
            answer.headers.update(case["headers"])
        else:
            content = case["answers"][2 if "list_products" in url else 1].encode("utf-8", "replace")
        answer.raw = io.BytesIO(content)
        return answer

    patience = Patience(
        at_once=1, attempts=2, backoff=0.0, longest_pause=0.0, connect_timeout=1, read_timeout=1
    )
    sound, HTTPAdapter.send = HTTPAdapter.send, send
    mast_sound = _patient_send()
    try:
        with quiet():
            archive = Mast("http://127.0.0.1:9", patience=patience)
            # one target and one page are enough, else an archive that repeats itself would be asked for ever
            fetched = archive.fetch(archive.find(Selection(targets=("DARK",), amps=())), output)
        for path in fetched.paths.values():
            assert path.parent == output
        for left in (*fetched.failed, *fetched.excluded):
            assert str(left.reason)
    finally:
        HTTPAdapter.send = sound
        mast_sound()


def _patient_send():
    """Let refstis's own adapter use the one that answers from memory; gives what undoes it."""
    from refstis.retrieval import client

    sound = client._PatientAdapter.send
    del client._PatientAdapter.send
    return lambda: setattr(client._PatientAdapter, "send", sound)


def make_pages(choices, stock, folder):
    page = "<table><tr><td>me12345</td></tr><tr><td>State:</td><td>COMPLETE</td></tr></table> SUCCESS me12345"
    (folder / "page").write_bytes(
        spoiling.spoil_text(choices, page).encode("utf-8", "replace")
        + (choices.blob(20) if choices.chance(3) else b"")
    )
    settings = {
        key: choices.pick((text, _wrong(choices)))
        for key, text in (
            ("archive", "127.0.0.1"), ("archive_user", "me"), ("dads_host", "h"), ("host", "h"), ("email", "a@b"), ("ftp_user", "f"),
            ("retrieve_directory", "/tmp/x"),
        )
    }  # fmt: skip
    put(
        folder,
        settings=settings,
        datasets=[choices.pick(("oc4u5rfmq", *spoiling.HOSTILE)) for _ in range(choices.integer(0, 3))],
    )


def use_pages(folder, stock, output):
    from xml.dom.minidom import parseString

    from refstis.retrieval import dads

    case, page = details(folder), (folder / "page").read_bytes()

    class Answer(io.BytesIO):
        status, reason = 200, "OK"

    sound, dads._speak = dads._speak, lambda *args: Answer(page)
    try:
        done, killed = dads._state("me12345", "127.0.0.1")
        assert isinstance(done, bool) and isinstance(killed, bool)
        request = dads.build_xml_request(case["datasets"], case["settings"])
        names = [node.tagName for node in parseString(request).getElementsByTagName("*")]
        assert "script" not in names
        with quiet(), dads.submit_xml_request(request, case["settings"]) as answer:
            dads._text(answer, "127.0.0.1")
    finally:
        dads._speak = sound


# ---------------------------------------------------------------- names and command lines


def make_names(choices, stock, folder):
    source = folder / "raws"
    source.mkdir()
    names = []
    for number in range(choices.integer(1, 3)):
        one = spoiling.name(choices)
        with suppress(OSError, ValueError):
            (source / one).write_bytes(stock.bytes[MONTH_BIASES[number % 3]])
            names.append(one)
    if choices.chance(4):
        (source / "loop_raw.fits").symlink_to("loop_raw.fits")
        names.append("loop_raw.fits")
    if choices.chance(4):
        (source / "circle").symlink_to(".")
    if choices.chance(6):
        (source / "gone_raw.fits").symlink_to("nowhere")
        names.append("gone_raw.fits")
    if choices.chance(6):
        (source / "folder_raw.fits").mkdir()
        names.append("folder_raw.fits")
    if choices.chance(6):
        names.append(
            choices.pick(
                (
                    "x" * 300 + "_raw.fits",
                    "../../etc/passwd",
                    "",
                    "a\x00b_raw.fits",
                    "/dev/null",
                    "/proc/self/mem",
                )
            )
        )
    put(
        folder,
        names=[os.fsencode(one).decode("latin-1") for one in names],
        command=choices.pick(("refbias", "plan", "exposures", "fetch", "list")),
    )


def use_names(folder, stock, output):
    case = details(folder)
    names = [os.fsdecode(one.encode("latin-1")) for one in case["names"]]
    source = folder / "raws"
    paths = [str(source / one) for one in names]
    words = {
        "refbias": ["refbias", "-o", str(output / "product.fits"), "--", *paths],
        "plan": ["plan", str(source), "-o", str(output), "--json"],
        "exposures": ["exposures", "mark-bad", "--reason", names[0] if names else "x", "-o", str(output), "--", paths[0] if paths else "x"],
        "fetch": ["fetch", "--from", str(source), "--dates", "2017-01-01", "2018-01-01", "-o", str(output)],
        "list": [],
    }[case["command"]]  # fmt: skip
    if not words:
        (output / "list.txt").write_bytes(b"\n".join(os.fsencode(one) for one in paths))
        from refstis.datamodels.association import Association, ExposureLibrary

        ExposureLibrary.open(Association.open(output / "list.txt"), "bias")
        return
    run_command(words)


def make_words(choices, stock, folder):
    def word():
        return choices.pick(
            (
                choices.text(20),
                choices.pick(spoiling.HOSTILE),
                str(choices.pick(spoiling.NUMBERS)),
                "2013-05",
                "56428.5",
            )
        )

    commands = {
        "anneals list": ["--anneals", "--ledger"], "anneals at": ["--anneals"], "anneals add": ["--proposal", "--visit", "--remark", "--anneals"],
        "plan": ["--month", "--dates", "--anneals", "--profile", "--ledger", "--json", "--graph"],
        "exposures list": ["--bad", "--json"], "exposures mark-bad": ["--reason"], "config path": [], "config check": [],
        "check": ["--previous", "--limits", "--json"], "fetch": ["--month", "--dates", "--programs", "--amp", "--gain", "--binning", "--suffix", "--dry-run"],
        "simulate": ["--days", "--imsets", "--epoch", "--amp", "--gain", "--binning", "--size", "--product"], "score": ["--truth", "--rejected"],
        "basejoint": ["-o"], "refbias": ["-o"], "weekbias": ["-o", "-b"], "basedark": ["-o", "-b"], "weekdark": ["-o", "-b", "-d"],
        "custom-dark": ["--darks", "--superbias", "--basedark"], "deliver": ["--accept", "--email", "--form", "--previous"],
        "certify": [], "report": ["--anneals", "--limits"], "reproduce": ["--raws"],
    }  # fmt: skip
    command = choices.pick(tuple(commands))
    words = command.split()
    for _ in range(choices.integer(0, 4)):
        if commands[command] and choices.chance(2):
            words.append(choices.pick(commands[command]))
        words.append(word())
    put(folder, words=words)


# Options without which a command would leave its folder or this machine.
AT_HOME = {
    "fetch": ["--from", "."], "simulate": ["--size", "small"], "custom-dark": ["--darks", "."], "plan": ["."],
}  # fmt: skip


def use_words(folder, stock, output):
    words = details(folder)["words"]
    words = [*words[:1], *AT_HOME.get(words[0], ()), *words[1:]]
    if words[0] == "simulate":
        words = [*words[:1], "raws", *words[1:], "--size", "small"]
        # a real simulation takes long, and its options are what is tried
        from unittest import mock

        with mock.patch("refstis.simulation.month._write_all", create=True):
            if _would_simulate(words):
                return
    run_command([one.replace("\x00", "") for one in words])


def _would_simulate(words):
    """Whether the options are sound: then the month is not made."""
    from refstis.simulation import month

    sound = month.simulate

    class Reached(BaseException):
        """No error, which a command would tell of."""

    def stop(*args, **kwargs):
        raise Reached

    month.simulate = stop
    try:
        run_command(words)
    except Reached:
        return True
    finally:
        month.simulate = sound
    return False


class Ended(Exception):
    """A command ended with an exit status that is no success, and said why."""


def run_command(words):
    """Run `refstis` in this process as the shell does; what it ends with is judged as the user sees it."""
    from refstis.commands.main import app, execute, registered

    said, errors = io.StringIO(), io.StringIO()
    app.registered_commands.clear()
    app.registered_groups.clear()
    before = sys.argv
    sys.argv = ["refstis", *words]
    try:
        with quiet_errors(), redirect_stdout(said), redirect_stderr(errors):
            execute(registered, "refstis")
        status: Any = 0
    except SystemExit as end:
        status = end.code or 0
    finally:
        sys.argv = before
    text = errors.getvalue()
    assert "Traceback" not in text, text
    assert status in (0, 1, 2, 3, 130), f"exit status {status}"
    for line in text.splitlines():
        assert line.isprintable() or "\x1b" not in line, f"a control character at the terminal: {line!r}"
    if status:
        assert text.strip() or said.getvalue().strip(), f"exit status {status} without a word"
        raise Ended(f"{status}: {text.strip()[-300:]}")


@contextmanager
def quiet_errors():
    import logging

    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


# ---------------------------------------------------------------- what refstis itself left


def make_ledger(choices, stock, folder):
    """A ledger, a lock or a record of a run that somebody wrote into."""
    from refstis.anneal.ledger import Ledger

    path = folder / "refstis_ledger.db"
    if "ledger" not in POLICY:
        with Ledger(path) as ledger:
            ledger.look([str(stock.folder / one) for one in MONTH_BIASES])
        POLICY["ledger"] = path.read_bytes()
        for one in folder.iterdir():
            one.unlink()
    content = bytearray(POLICY["ledger"])
    how = choices.integer(0, 3)
    if how == 0:
        for _ in range(choices.integer(1, 60)):
            content[choices.integer(0, len(content) - 1)] = choices.integer(0, 255)
    elif how == 1:
        content = content[: choices.integer(0, len(content))]
    elif how == 2:
        content = bytearray(choices.blob(3000))
    path.write_bytes(content)
    if how == 3:
        with closing(sqlite3.connect(path)) as connection, connection:
            tables = [
                row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
            ]
            table = choices.pick(tables)
            columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
            change = choices.integer(0, 2)
            value = choices.pick((None, "x", -1, 1e300, b"\xff", *spoiling.HOSTILE))
            with suppress(sqlite3.Error):
                if change == 0:
                    connection.execute(f'DROP TABLE "{table}"')
                elif change == 1:
                    connection.execute(f'UPDATE "{table}" SET "{choices.pick(columns)}" = ?', (value,))
                else:
                    connection.execute(f'ALTER TABLE "{table}" DROP COLUMN "{choices.pick(columns)}"')
    (folder / "run.json").write_text(
        choices.pick(
            ("", "{}", "[1]", '{"plan": {"products": [1]}}', '{"plan": {"products": [{"month": 1}]}}')
        )
    )
    put(folder)


def use_ledger(folder, stock, output):
    from refstis.anneal.ledger import Ledger
    from refstis.delivery.records import read_run

    read_run(folder)
    copy = output / "refstis_ledger.db"
    copy.write_bytes((folder / "refstis_ledger.db").read_bytes())
    with Ledger(copy) as ledger:
        ledger.look([str(stock.folder / one) for one in MONTH_BIASES])
        ledger.exposures(), ledger.anneals(), ledger.marks(), ledger.runs(), ledger.products([str(copy)])


def make_product(choices, stock, folder):
    """A reference file that is to be checked and shown."""
    content = stock.product
    if choices.chance(4):
        content = spoiling.spoil_structure(choices, content)
    else:
        blocks = spoiling.Blocks(content)
        spoiling.spoil_headers(
            choices,
            blocks,
            keywords=(
                "FILETYPE",
                "DESCRIP",
                "PEDIGREE",
                "USEAFTER",
                "CCDAMP",
                "CCDGAIN",
                "BINAXIS1",
                "TASKNAME",
                "HISTORY",
                "NEXTEND",
                "TELESCOP",
                "EXTNAME",
                "COMMENT",
            ),
        )
        if choices.chance(3):
            cards, data = blocks.hdus[1]
            blocks.hdus[1] = (
                cards,
                choices.pick((b"\x7f\xc0\x00\x00", b"\x7f\x80\x00\x00", b"\x00" * 4)) * (len(data) // 4),
            )
        content = blocks.content()
    (folder / "product_bia.fits").write_bytes(content)


def use_product(folder, stock, output):
    from refstis.delivery.checks import check_files
    from refstis.delivery.products import open_products

    with quiet():
        judged = check_files([folder / "product_bia.fits"])
        for one in judged:
            json.dumps(one.to_dict(), allow_nan=False)
    open_products([folder / "product_bia.fits"])


KINDS = [
    Kind("structure", "FITS files cut, patched, shuffled, or with bytes changed", make_structure, use_exposure, 12),
    Kind("headers", "keywords missing, mistyped, out of range, not ASCII, doubled, CONTINUE", make_headers, use_exposure, 12),
    Kind("members", "one spoiled exposure or reference image of a product", make_member, use_member, 2),
    Kind("pixels", "constant, saturated, zero or single extreme pixels in the frames of a product", make_pixels, use_member, 1),
    Kind("tables", "CCDTAB, BPIXTAB, CRREJTAB and engineering tables", make_table, use_table, 32),
    Kind("tables in stages", "the same tables, in the stage that needs them", make_table, use_table_in_stage, 1),
    Kind("associations", "JSON, YAML, FITS tables and lists of names", make_association, use_association, 44),
    Kind("configuration", "configuration file, policy, limits and delivery form in YAML", make_configuration, use_configuration, 8),
    Kind("parameters", "parameter files and records in ASDF", make_parameters, use_parameters, 8),
    Kind("anneal tables", "CSV, YAML and data bases of refstis 0.8", make_anneals, use_anneals, 50),
    Kind("MAST", "answers and downloads of MAST", make_answers, use_answers, 22),
    Kind("DADS", "status pages, settings and dataset names of DADS requests", make_pages, use_pages, 40),
    Kind("names", "file names and links", make_names, use_names, 1),
    Kind("command lines", "words of every command", make_words, use_words, 2),
    Kind("ledgers", "data bases that were damaged", make_ledger, use_ledger, 5),
    Kind("products", "reference files that are checked for delivery", make_product, use_product, 2),
]  # fmt: skip
