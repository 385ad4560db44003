"""The page holds everything and needs nothing."""

import json
import re
import shutil
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from refstis.delivery.certification import certify_files
from refstis.delivery.pictures import image_data
from refstis.delivery.products import find_products, open_products
from refstis.delivery.records import anneals_near, read_run
from refstis.delivery.regression import Reduction, RegressionResult
from refstis.delivery.report import write_index, write_report
from refstis.delivery.series import changed_pixels, dark_series
from refstis.errors import InputError

VOID = {"meta", "link", "img", "br", "input", "path", "use", "rect", "circle"}


class Page(HTMLParser):
    """Elements, addresses and whether every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.text, self.open, self.tags, self.addresses, self.ids, self.images = text, [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        given = dict(attributes)
        if "id" in given and "svg" not in self.open:
            self.ids.append(given["id"])
        if tag == "img":
            self.images.append(given)
        self.addresses += [
            given[key] for key in ("src", "href", "srcset", "action", "data") if given.get(key)
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(months, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "14825_08"
    regression = RegressionResult(
        "a suite",
        [
            Reduction(
                "otst1_raw.fits",
                "a_bia.fits",
                "a_drk.fits",
                "refstis",
                1,
                figures={"before": 20.0, "after": 0.1},
            ),
            Reduction(
                "otst2_raw.fits",
                "a_bia.fits",
                "a_drk.fits",
                "refstis",
                1,
                step="darkcorr",
                error="no <dark> & more",
            ),
        ],
    )
    certifications = certify_files(find_products(months.now, baselines=True))
    anneals = anneals_near(open_products(find_products(months.now)), months.raws / "anneals.csv")
    path = write_report(
        months.now,
        previous=months.before,
        certifications=certifications,
        regression=regression,
        reasons={"weekdark_14825_08_wk01_drk.fits": "weekdark, 10 imsets of 10 darks"},
        anneals=anneals,
        output=out,
    )
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_asks_for_nothing(page):
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert not re.search(r"@import|url\((?!#)|<iframe|<object", page.text)
    assert "default-src 'none'" in page.text


def test_verdicts_come_first(page):
    text = re.sub(r"<style>.*?</style>", "", page.text, flags=re.DOTALL)
    assert (
        text.index("FAIL")
        < text.index("<h2>Verdicts")
        < text.index("<h2>The month")
        < text.index("<h2>Files")
    )
    assert "regression: 2 reductions, 1 failed" in text
    assert "no &lt;dark&gt; &amp; more" in text


def test_every_file_has_picture_provenance_and_certification(page):
    assert page.tags.count("article") == 7
    assert len(set(page.ids)) == len(page.ids)
    for link in (address for address in page.addresses if address.startswith("#")):
        assert link[1:] in page.ids
    assert page.text.count("<summary>Certification: passed") == 7
    assert "weekdark, 10 imsets of 10 darks" in page.text
    assert page.text.count("HISTORY</p>") == 7
    assert page.text.count("crcorr.") > 7  # parameters of the rejection
    assert "odbr0vh1q_flt.fits" in page.text


def test_images_are_there_in_full_size_and_described(page):
    pictures = [image for image in page.images if image.get("src")]
    assert len(pictures) == 4 * 2 + 3 * 3  # image and difference; of darks the ratio, too
    assert {(image["width"], image["height"]) for image in pictures} == {("255", "256")}
    assert all(image["alt"] for image in pictures)
    assert page.text.count('role="img"') == page.tags.count("svg")


def test_plots_take_the_colours_of_the_page(page):
    assert "#123456" not in page.text
    assert "currentColor" in page.text
    assert "prefers-color-scheme: dark" in page.text
    assert "@media print" in page.text


def test_month_tells_of_darks_and_changes(page, months):
    assert "housing temperature" in page.text
    assert "anneal" in page.text
    darks = dark_series(months.now)
    assert len(darks) == 20
    assert darks == sorted(darks, key=lambda dark: dark["date"])
    scaled = [dark["scaled"] for dark in darks]
    # scaled to 18 C they agree much better than as they were taken
    assert np.std(scaled) < 0.5 * np.std([dark["rate"] for dark in darks])
    weekdarks = open_products(find_products(months.now / "darks"))
    (step,) = changed_pixels(weekdarks)
    assert step["born"] > step["healed"] > 0


def test_report_of_spoiled_files(months, tmp_path):
    for path in find_products(months.now):
        shutil.copy(path, tmp_path)
    dark = next(tmp_path.glob("*_wk01_drk.fits"))
    dark.write_bytes(dark.read_bytes()[:5000])
    bias = next(tmp_path.glob("*_wk01_bia.fits"))
    with fits.open(bias, mode="update", memmap=False) as hdus:
        hdus[1].data[:] = np.nan
        hdus[0].header["DESCRIP"] = "<script>alert(1)</script>"
    text = write_report(tmp_path).read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.count("script") == 1
    assert "cannot be read" in text
    facts = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert facts["outcome"] == "FAIL"


def test_nothing_to_report(tmp_path):
    with pytest.raises(InputError, match="no superbiases"):
        write_report(tmp_path)


@pytest.fixture(scope="module")
def reports(months, tmp_path_factory):
    """A folder with the reports of both months."""
    folder = tmp_path_factory.mktemp("reports")
    for month in (months.before, months.now):
        write_report(month, output=folder / month.name)
    return folder


def test_equal_months_give_equal_pages(months, reports, tmp_path):
    again = write_report(months.before, output=tmp_path)
    assert again.read_bytes() == (reports / "14825_05" / "report.html").read_bytes()


def test_index_over_months(reports):
    other = reports / "other"
    other.mkdir()
    (other / "report.json").write_text("{}")
    text = write_index(reports).read_text(encoding="utf-8")
    page = Page(text)
    links = [address for address in page.addresses if address.endswith("report.html")]
    assert links == ["14825_05/report.html", "14825_08/report.html"]
    assert page.tags.count("svg") == 4
    with pytest.raises(InputError, match="no month"):
        write_index(other)


def test_run_record_gives_reasons_and_cautions(tmp_path):
    month = tmp_path / "14825_08"
    month.mkdir()
    node = {
        "name": "a_drk.fits",
        "month": "14825_08",
        "reason": "weekdark",
        "cautions": ["late"],
        "exclusions": ["b: bad"],
        "kind": "weekdark",
    }
    inputs = [
        {"name": "o_raw.fits", "path": "/raws/o_raw.fits"},
        {"name": "a_bia.fits", "node": "14825_08/a_bia.fits"},
    ]
    dark = {
        **node,
        "name": "o_flt.fits",
        "kind": "biassub",
        "cautions": [],
        "exclusions": [],
        "inputs": inputs,
    }
    other = {"name": "b_drk.fits", "month": "14825_05", "reason": "weekdark", "kind": "weekdark"}
    plan = {"output": "/products", "products": [dark, node, other]}
    (tmp_path / "run.json").write_text(json.dumps({"plan": plan}))
    found = read_run(month)
    assert found.reasons["a_drk.fits"] == "weekdark"
    assert "b_drk.fits" not in found.reasons
    assert found.darks == [(Path("/raws/o_raw.fits"), Path("/products/14825_08/a_bia.fits"))]
    assert found.cautions == {"a_drk.fits": ["late", "left out: b: bad"]}
    assert read_run(tmp_path / "none").reasons == {}


def test_anneals_near_a_month(months):
    products = open_products(find_products(months.now))
    found = anneals_near(products, months.raws / "anneals.csv")
    assert len(found) == 3
    assert all(isinstance(moment, datetime) for moment in found)


def test_image_data_keeps_orientation_and_size():
    import base64
    import io

    from PIL import Image

    image = np.zeros((4, 6))
    image[0, 0] = 1.0
    data = image_data(image, 0.0, 1.0, "gray")
    with Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))) as picture:
        assert picture.size == (6, 4)
        bright = np.asarray(picture.convert("L"))
    assert bright[3, 0] == 255  # the first row is at the bottom
    assert bright.sum() == 255
