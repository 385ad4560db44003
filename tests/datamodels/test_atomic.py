"""Files appear whole or not at all."""

import os

import pytest

from refstis.datamodels.atomic import atomic_write, make_folder
from refstis.errors import OutputError


def test_a_file_appears_when_it_is_complete(tmp_path):
    target = tmp_path / "new" / "product.fits"
    with atomic_write(target) as stream:
        stream.write(b"half")
        assert not target.exists()
    assert target.read_bytes() == b"half"
    assert [f.name for f in target.parent.iterdir()] == ["product.fits"]
    with atomic_write(tmp_path / "log", "w") as stream:
        stream.write("Größe\n")
    assert (tmp_path / "log").read_bytes() == "Größe\n".encode()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError])
def test_a_failure_leaves_what_was_there(tmp_path, error):
    target = tmp_path / "product.fits"
    target.write_bytes(b"old")

    def fail():
        with atomic_write(target) as stream:
            stream.write(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == {"product.fits": b"old"}


def test_inputs_are_not_replaced_whatever_they_are_called(tmp_path):
    raw = tmp_path / "x_raw.fits"
    raw.write_bytes(b"raw")
    (tmp_path / "link.fits").symlink_to(raw)
    os.link(raw, tmp_path / "hard.fits")
    for name in ("x_raw.fits", "link.fits", "hard.fits", "../" + tmp_path.name + "/x_raw.fits"):
        with pytest.raises(OutputError, match="is an input"), atomic_write(tmp_path / name, inputs=[raw]):
            pytest.fail("opened")
    assert raw.read_bytes() == b"raw"


def test_existing_files_are_replaced_only_where_asked(tmp_path):
    target = tmp_path / "product.fits"
    target.write_bytes(b"old")
    with (
        pytest.raises(OutputError, match=r"product\.fits: exists already"),
        atomic_write(target, overwrite=False),
    ):
        pytest.fail("opened")
    with atomic_write(target) as stream:
        stream.write(b"new")
    assert target.read_bytes() == b"new"


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "folder").write_text("no folder")
    with (
        pytest.raises(OutputError, match=r"product\.fits: cannot be written .*Check the folder"),
        atomic_write(tmp_path / "folder" / "product.fits"),
    ):
        pytest.fail("opened")


def test_long_names(tmp_path):
    target = tmp_path / ("x" * 250 + ".txt")
    with atomic_write(target) as stream:
        stream.write(b"1")
    assert target.exists()


def test_names_that_are_too_long(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"), atomic_write(tmp_path / f"{'x' * 300}.fits"):
        pass


def test_rights_are_those_of_any_new_file(tmp_path):
    (tmp_path / "ordinary").write_bytes(b"")
    with atomic_write(tmp_path / "product"):
        pass
    assert (tmp_path / "product").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file/below: the folder cannot be made"):
        make_folder(tmp_path / "file" / "below")
    assert make_folder(tmp_path / "one" / "two").is_dir()
