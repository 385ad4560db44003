"""The demonstration: a page that needs nothing else, in a folder that is its own."""

import base64
import hashlib
import io
import json
import os
import re
import resource
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from typer.testing import CliRunner

from refstis.demo import figures
from refstis.demo.chain import demonstrate
from refstis.demo.page import COLUMNS, next_steps, rows
from refstis.errors import OutputError

# What the demonstration's policy says of unbinned frames, for frames that have the layout of 4x4.
SMALL_POLICY = """
selection: {dark: {binning: [4, 4]}}
superbias:
  - {gain: 1, xbin: 4, ybin: 4, refbias_from: 30, division: WK}
  - {gain: 4, xbin: 4, ybin: 4, refbias_from: 1, division: BIWK}
"""
PRODUCTS = ["basebias", "refbias", "weekbias", "refbias", "basedark", "weekdark", "weekdark"]


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profile")
    (folder / "policy.yaml").write_text(SMALL_POLICY)
    return str(folder)


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def demo(tmp_path_factory, profile, told):
    folder = tmp_path_factory.mktemp("demo") / "my demo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("oref", "/nowhere/")
        made = demonstrate(folder, size="small", profile=profile, progress=lambda *what: told.append(what))
        assert os.environ.pop("oref") == "/nowhere/"
    return made


def until(stage, number=0):
    """What ends a demonstration when a stage has come so far."""

    def end(now, done, *_):
        if now == stage and done == number:
            raise KeyboardInterrupt

    return end


class Page(HTMLParser):
    """Everything on a page that could load something, all ids and all links to them."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.ids, self.links, self.images = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("src", "href", "xlink:href"):
                (self.links if value.startswith("#") else self.loaded).append(value)
                if tag == "image":
                    self.images.append(value)
            if name == "id":
                self.ids.append(value)


@pytest.fixture(scope="module")
def page(demo):
    return demo.page.read_text(encoding="utf-8")


def test_month_meets_every_procedure(demo):
    assert [score["name"].split()[0] for score in demo.scores] == PRODUCTS
    assert all((demo.folder / score["file"]).is_file() for score in demo.scores)


def test_products_are_as_good_as_their_frames_allow(demo):
    scores = {score["name"]: score["figures"] for score in demo.scores}
    superbias, superdark = scores["refbias 1-4x4 wk01"], scores["weekdark wk01"]
    assert superbias["ordinary"]["robust_rms_ratio"] == pytest.approx(1.0, abs=0.05)
    # a week that borrows its ordinary pixels from the month has less noise than its own darks must have
    assert superdark["ordinary"]["robust_rms_ratio"] < 1.0
    assert superdark["flags"]["completeness"] > 0.95


def test_scores_are_kept_for_programs(demo):
    assert json.loads((demo.folder / "scores.json").read_text()) == demo.scores


def test_page_loads_nothing(page):
    parsed = Page(page)
    assert parsed.images
    assert [value[:40] for value in parsed.loaded if not value.startswith("data:")] == []
    assert not re.search(r"url\((?!#)|@import|<script|<link(?! rel=\"icon\" href=\"data:)", page)


def test_links_within_the_page_lead_somewhere(page):
    parsed = Page(page)
    # glyphs and clip paths of one drawing must not be another's
    assert len(parsed.ids) == len(set(parsed.ids))
    used = {link.removeprefix("#") for link in parsed.links} | set(re.findall(r"url\(#([^)]*)\)", page))
    assert used <= set(parsed.ids)


def test_page_shows_every_product_with_all_its_pictures(page, demo):
    for score in demo.scores:
        assert f": {score['file'].rpartition('/')[2]}</h3>" in page
    # three images and three plots of each, four close-ups and two plots of the month
    drawings = re.findall(r"<figure><svg.*?</svg>", page, flags=re.DOTALL)
    assert len(drawings) == 6 * len(PRODUCTS) + 6
    for drawing in drawings:
        ET.fromstring(drawing.removeprefix("<figure>").replace("<svg", '<svg xmlns:xlink="x"', 1))  # noqa: S314
        assert 'role="img" aria-label="' in drawing


def test_drawings_take_the_colours_of_the_page(page):
    drawings = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert "currentColor" in drawings
    assert not re.search(r"#(000000|010203|040506|0072b2|d55e00)\b", drawings)


def test_picture_of_the_superdark(demo):
    from PIL import Image

    path = demo.folder / "superdark.png"
    assert path.stat().st_size < 300_000
    with Image.open(path) as picture:
        assert picture.width > 1000


def test_progress_reaches_the_end_of_each_stage(told):
    last = {}
    for stage, done, total, _ in told:
        assert done >= last.get(stage, (0, 0))[0]
        last[stage] = (done, total)
    assert list(last) == ["simulate", "make", "score"]
    assert all(done == total > 0 for done, total in last.values())


def test_table_has_all_columns(demo):
    table = rows(demo.scores)
    assert [tuple(row) for row in table] == [COLUMNS] * len(PRODUCTS)
    assert [row["Hot pixels flagged"] != "" for row in table] == ["dark" in kind for kind in PRODUCTS]


def test_next_steps_work_as_printed(demo):
    from refstis.commands.main import registered

    score, plan, *_ = (shlex.split(command) for command, _ in next_steps(demo))
    variable, _, tables = plan.pop(0).partition("=")
    for words in (score, plan):
        assert words.pop(0) == "refstis"
        done = CliRunner().invoke(registered(), words, env={variable: tables})
        assert done.exit_code == 0, done.output
    assert f"{len(PRODUCTS)} products: 0 to make, 0 to make again, {len(PRODUCTS)} made" in done.output


def test_again_keeps_what_is_made(demo, profile):
    products = [demo.folder / score["file"] for score in demo.scores]
    raws = sorted(demo.month.glob("*_raw.fits"))
    before = [path.stat().st_mtime_ns for path in (*products, *raws)]
    with pytest.raises(KeyboardInterrupt):
        demonstrate(demo.folder, size="small", profile=profile, progress=until("score"))
    assert [path.stat().st_mtime_ns for path in (*products, *raws)] == before


def test_tables_are_those_of_the_simulated_detector(demo):
    import asdf

    record = (demo.folder / demo.scores[0]["file"]).with_suffix(".asdf")
    with asdf.open(record) as file:
        used = {one["name"]: one["sha256"] for one in file["record"]["references"]}
    assert used
    for name, checksum in used.items():
        table = demo.month / "oref" / name.removeprefix("oref$")
        assert hashlib.sha256(table.read_bytes()).hexdigest() == checksum


@pytest.mark.parametrize("what", ["folder", "file"])
def test_folder_of_somebody_else_is_refused(tmp_path, what):
    target = tmp_path / "thesis"
    if what == "folder":
        target.mkdir()
        (target / "chapter1.tex").write_text("precious")
    else:
        target.write_text("precious")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=r"thesis: exists, and no demonstration made it"):
        demonstrate(target)
    assert sorted(tmp_path.rglob("*")) == before


def test_simulation_that_was_ended_is_begun_again(tmp_path, profile):
    folder = tmp_path / "demo"
    with pytest.raises(KeyboardInterrupt):
        demonstrate(folder, size="small", profile=profile, progress=until("simulate", 3))
    (folder / "month" / "odbt99010_raw.fits").write_text("left over")
    with pytest.raises(KeyboardInterrupt):
        demonstrate(folder, size="small", profile=profile, progress=until("make"))
    names = {path.name for path in (folder / "month").glob("*_raw.fits")}
    assert len(names) == 36
    assert "odbt99010_raw.fits" not in names


def test_of_another_seed_nothing_is_kept(tmp_path, profile):
    folder = tmp_path / "demo"
    with pytest.raises(KeyboardInterrupt):
        demonstrate(folder, seed=2, size="small", profile=profile, progress=until("make"))
    raw = next((folder / "month").glob("*_raw.fits"))
    before = raw.read_bytes()
    (folder / "products" / "old.fits").touch()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(KeyboardInterrupt):
        demonstrate(folder, seed=3, size="small", profile=profile, progress=until("make"))
    assert raw.read_bytes() != before
    assert not (folder / "products" / "old.fits").exists()
    assert (folder / "notes.txt").read_text() == "mine"


# ------------------------------------------------------------------ drawings


def pixels_of(href):
    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(href.partition(",")[2])))
    return np.asarray(picture.convert("RGBA"))


def test_image_has_its_first_row_at_the_bottom():
    values = np.zeros((4, 5))
    values[0, 4] = 1.0
    shown = pixels_of(figures._png(values, figures._Scale(0.0, 1.0, "gray", "")))
    bright = np.argwhere(shown[:, :, 0] == 255)
    assert bright.tolist() == [[3, 4]]


def test_image_larger_than_the_page_is_averaged():
    values = np.arange(1030.0 * 1024).reshape(1030, 1024)
    small = figures._smaller(values)
    assert small.shape == (343, 341)
    assert small[0, 0] == values[:3, :3].mean()


def test_window_is_where_the_hot_pixels_are(demo):
    from refstis.simulation.scoring import compare

    superdark = demo.folder / demo.scores[-1]["file"]
    comparison = compare(superdark, demo.month)
    window = figures.zoom_window(comparison, 32)
    hot = (comparison.truth >= 0.1) & (comparison.truth < 10.0)
    ny, nx = hot.shape
    most = max(
        int(hot[y : y + 32, x : x + 32].sum()) for y in range(0, ny - 31, 32) for x in range(0, nx - 31, 32)
    )
    assert hot[window].shape == (32, 32)
    assert hot[window].sum() == most > 0


# ------------------------------------------------------------------ the command


def test_command_refuses_in_one_line(tmp_path):
    (tmp_path / "refstis-demo").mkdir()
    (tmp_path / "refstis-demo" / "mine").touch()
    done = subprocess.run(
        [sys.executable, "-c", "from refstis.commands.main import main; main()", "demo"],
        cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONWARNINGS": "error"},
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("refstis: refstis-demo: exists, and no demonstration made it. Name an empty")


@pytest.mark.slow
def test_whole_demonstration_of_full_frames(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", "from refstis.commands.main import main; main()", "demo"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    page = tmp_path / "refstis-demo" / "report.html"
    assert done.stdout.splitlines()[-1] == page.as_uri()
    assert "making products: 7" in done.stderr
    assert page.stat().st_size < 12_000_000
    # 90 s on two processors, machine code compiled before
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 180.0
