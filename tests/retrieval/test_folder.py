"""Exposures on disk: a folder or an archive tree."""

import gzip
import os
from pathlib import Path

import pytest

from refstis.errors import InputError, OutputError
from refstis.retrieval import Folder, Selection


@pytest.fixture
def tree(tmp_path, raw):
    root = tmp_path / "archive"

    def put(name, folder="", *, suffix="raw.fits", **keywords):
        path = root / folder / f"{name}_{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = raw(name, **keywords)
        path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
        return path

    root.mkdir()
    put.root = root
    return put


def names(findings):
    return [file.rootname for file in findings.files]


def test_selects_in_a_tree_in_order_of_time(tree):
    tree("odarkone0", "12740/11", mjd=56001.0)
    tree("odarktwo0", "12740/12", mjd=56000.5, suffix="raw.fits.gz")
    tree("obiasone0", "12743", mjd=56000.6, target="BIAS", exptime=0.0)
    tree("oampabias", "12743", mjd=56000.6, target="BIAS", exptime=0.0, CCDAMP="A")
    tree("oampaprev", "12743", mjd=55900.6, target="BIAS", exptime=0.0, CCDAMP="A")
    tree("oshort000", mjd=56000.6, exptime=60.0)
    tree("ongc10680", mjd=56000.6, target="NGC1068")
    tree("oother000", mjd=56000.6, PROPOSID=11111)
    tree("odarkone0", "12740/11", suffix="flt.fits")
    memory = {}
    found = Folder(tree.root, remember=memory.__setitem__).find(
        Selection(begin=56000.0, end=56002.0, programs=(12740,), amps=("D",))
    )
    assert names(found) == ["odarktwo0", "obiasone0", "odarkone0"]
    # What is of another month, length or programme is not worth a word; what its header refuses is.
    assert [(Path(left.name).name, left.reason) for left in found.excluded] == [
        ("oampabias_raw.fits", "has CCDAMP A, wanted is D")
    ]
    assert memory["oampaprev_raw.fits"]["CCDAMP"] == "A"


def test_rootnames_and_what_is_missing(tree):
    tree("ongc10680", mjd=50000.0, target="NGC1068", exptime=5.0)
    found = Folder(tree.root).find(Selection(rootnames=("ONGC10680", "omissing0")))
    assert names(found) == ["ongc10680"]
    assert [left.name for left in found.excluded] == ["omissing0"]


def test_used_in_place_or_copied(tree, tmp_path):
    plain = tree("odarkone0", mjd=56001.0)
    packed = tree("odarktwo0", mjd=56002.0, suffix="raw.fits.gz")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (plain, packed)}
    folder = Folder(tree.root)
    found = folder.find(Selection())
    assert list(folder.fetch(found).paths.values()) == [plain, packed]
    assert list(folder.fetch(found, tree.root).paths.values()) == [plain, packed]
    for _ in range(2):
        copied = folder.fetch(found, tmp_path / "copy").paths
    assert {name: path.read_bytes() for name, path in copied.items()} == {
        plain.name: plain.read_bytes(),
        packed.name: packed.read_bytes(),
    }
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == [plain.name, packed.name]
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (plain, packed)}


def test_broken_copies_are_made_again(tree, tmp_path):
    path = tree("odarkone0")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / path.name).write_bytes(path.read_bytes()[:3000])
    folder = Folder(tree.root)
    folder.fetch(folder.find(Selection()), tmp_path / "copy")
    assert (tmp_path / "copy" / path.name).read_bytes() == path.read_bytes()


def test_cut_off_exposures_fail_by_name(tree):
    good, cut = tree("odarkone0"), tree("odarktwo0")
    cut.write_bytes(cut.read_bytes()[:-2880])
    packed = tree("odarkthre", suffix="raw.fits.gz")
    packed.write_bytes(packed.read_bytes()[:-20])
    folder = Folder(tree.root)
    fetched = folder.fetch(folder.find(Selection()))
    assert list(fetched.paths.values()) == [good]
    assert {left.name for left in fetched.failed} == {str(cut), str(packed)}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no FITS header"),
        (b"rubbish" * 1000, "no FITS header"),
        (b"SIMPLE  =                    T" + b" " * 100_000, "no FITS header"),
        (b"SIMPLE  =                    T".ljust(2800) + b"END".ljust(80), "no TARGNAME and no TEXPSTRT"),
        (("SIMPLE  =                    T".ljust(2800) + "ÿ" * 2000).encode("latin-1"), "no FITS header"),
    ],
)
def test_unreadable_exposures_are_left_out_by_name(tree, content, reason):
    good = tree("odarkone0")
    (tree.root / "odarktwo0_raw.fits").write_bytes(content)
    found = Folder(tree.root).find(Selection())
    assert [file.filename for file in found.files] == [good.name]
    ((name, said),) = found.excluded
    assert name.endswith("odarktwo0_raw.fits")
    assert reason in said


@pytest.mark.parametrize("keywords", [{"TEXPSTRT": "soon"}, {"TEXPTIME": "?"}, {"PROPOSID": "none"}])
def test_values_of_the_wrong_type_are_left_out_by_name(tree, raw, keywords):
    (tree.root / "odarktwo0_raw.fits").write_bytes(raw("odarktwo0", **keywords))
    found = Folder(tree.root).find(Selection())
    assert found.files == []
    assert "no numbers" in found.excluded[0].reason


def test_an_exposure_that_is_there_twice_is_taken_once(tree):
    tree("odarkone0", "a")
    tree("odarkone0", "b")
    found = Folder(tree.root).find(Selection())
    assert len(found.files) == 1
    assert "already taken from" in found.excluded[0].reason


def test_links_in_a_circle_end(tree):
    tree("odarkone0", "a")
    (tree.root / "a" / "up").symlink_to(tree.root)
    (tree.root / "broken_raw.fits").symlink_to("nowhere")
    (tree.root / "odarktwo0_raw.fits").symlink_to("nowhere")
    found = Folder(tree.root).find(Selection())
    assert names(found) == ["odarkone0"]
    assert found.excluded[0].reason == "is not a file"


def test_a_folder_that_cannot_be_listed_is_named(tree, close_folders):
    tree("odarkone0", "12740/closed")
    close_folders("closed")
    with pytest.raises(InputError, match=r"closed: cannot be listed \(Permission denied\)"):
        Folder(tree.root).find(Selection())


def test_descriptors_that_run_out_exclude_nothing(tree, monkeypatch):
    tree("odarkone0")

    def fail(path, *_):
        raise OSError(24, "Too many open files", str(path))

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(InputError, match=r"odarkone0_raw\.fits cannot be read .*Too many open files"):
        Folder(tree.root).find(Selection())


def test_named_pipes_do_not_hang(tree):
    tree("odarkone0")
    os.mkfifo(tree.root / "odarktwo0_raw.fits")
    found = Folder(tree.root).find(Selection())
    assert names(found) == ["odarkone0"]


def test_no_folder_and_no_place_for_copies(tree, tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        Folder(tmp_path / "nowhere")
    tree("odarkone0")
    folder = Folder(tree.root)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        folder.fetch(folder.find(Selection()), tmp_path / "file")
