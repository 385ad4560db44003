"""Lines of several images, put into a stack together."""

import os

import numpy as np
import pytest
from frames import write_raw

import refstis.datamodels.exposure
import refstis.datamodels.stack
from refstis.calibration.blevcorr import LevelledFrame
from refstis.calibration.crcorr import StackImage
from refstis.datamodels.exposure import Exposure
from refstis.datamodels.pixels import Pixels
from refstis.datamodels.stack import FrameStack
from refstis.errors import InputError

CORNER, SHAPE = (2, 3), (40, 50)


@pytest.fixture
def raw(tmp_path):
    path = tmp_path / "odbr01h1q_raw.fits"
    write_raw(path, "BIAS", imsets=4, shape=(45, 60))
    return path


def levelled(raw, seed, bias=None, factor=1.0):
    """Frame less a level, as an image of a stack."""
    rng = np.random.default_rng(seed)
    frame = LevelledFrame(
        raw, rng.normal(1500, 1, SHAPE[0]), rng.normal(0, 0.1, SHAPE[1]), CORNER, bias, np.float32(factor)
    )
    return StackImage(Pixels(SHAPE, np.float32, frame), None, 1.0, 1.0, 5.0)


@pytest.fixture
def images(raw):
    """Raw frames, one less a bias and scaled; one of float32; and one that is no frame at all."""
    frames = [imset.sci for imset in Exposure.open(raw).imsets]
    bias = np.random.default_rng(9).normal(0, 1, SHAPE).astype(np.float32)
    floats = Pixels.of(frames[0][:].astype(np.float32) + np.float32(0.25))
    other = StackImage(np.random.default_rng(8).normal(0, 5, SHAPE).astype(np.float32), None, 1.0, 1.0, 5.0)
    return [
        levelled(frames[0], 0), levelled(floats, 1), levelled(frames[1], 2, bias, 0.93), other,
        levelled(frames[2], 3, None, 1.07), levelled(frames[3], 4, bias),
    ]  # fmt: skip


LESS = np.array([0.5, -0.25, 18.7, 0.0, 1 / 3, 0.1], dtype=np.float32)
DIVISORS = np.array([1, 1, 1100, 1, 0.3, 1], dtype=np.float32)


def put(images, rows):
    """Lines as a stack puts them, into arrays that are larger."""
    out = np.full((len(images), rows.stop - rows.start + 2, SHAPE[1] + 4), 7, dtype=np.float32)
    FrameStack(images).put_rows(rows, out, LESS, DIVISORS)
    assert (out[:, -2:] == 7).all()
    assert (out[:, :, -4:] == 7).all()
    return out[:, :-2, :-4]


def expected(images, rows):
    """The same by numpy, step by step in float32."""
    return np.array([(one.sci[rows] - LESS[n]) / DIVISORS[n] for n, one in enumerate(images)])


@pytest.mark.parametrize("rows", [slice(0, 40), slice(0, 1), slice(5, 22), slice(39, 40), slice(16, 32)])
def test_lines_are_those_of_the_images(images, rows):
    assert put(images, rows).tobytes() == expected(images, rows).tobytes()


def test_lines_of_frames_in_memory(images, raw):
    exposure = Exposure.open(raw)
    images[0] = levelled(exposure.imsets[0].sci, 5)
    with exposure.held():
        exposure.imsets[0].sci[:]
        assert exposure.imsets[0].sci.source.array is not None
        assert put(images, slice(3, 30)).tobytes() == expected(images, slice(3, 30)).tobytes()


def test_without_reads_at_a_place(images, monkeypatch):
    before = put(images, slice(3, 30))
    monkeypatch.delattr(os, "pread")
    assert put(images, slice(3, 30)).tobytes() == before.tobytes()


def test_files_are_open_but_a_few_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(refstis.datamodels.stack, "MOST_OPEN", 2)
    images = []
    for number in range(3):
        path = tmp_path / f"odbr0{number}h1q_raw.fits"
        write_raw(path, "BIAS", imsets=2, shape=(45, 60))
        images += [levelled(imset.sci, number) for imset in Exposure.open(path).imsets]
    opened = []
    put_levelled = refstis.datamodels.stack.put_levelled
    monkeypatch.setattr(
        refstis.datamodels.stack, "put_levelled", lambda *a: opened.append(len(set(a[1]))) or put_levelled(*a)
    )
    assert put(images, slice(3, 30)).tobytes() == expected(images, slice(3, 30)).tobytes()
    assert opened == [2, 1]


def test_a_file_that_is_cut_short_meanwhile(images, raw):
    put(images, slice(0, 4))
    status = raw.stat()
    os.truncate(raw, status.st_size // 2)
    os.utime(raw, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(InputError, match=f"{raw.name}: was changed while it was in use"):
        put(images, slice(0, 4))


def test_a_file_that_ends_before_its_pixels(images, raw, monkeypatch):
    # as on a file system that tells of no change
    monkeypatch.setattr(refstis.datamodels.exposure._File, "_check", lambda *_: None)
    os.truncate(raw, images[4].sci.source.raw.source.begin + 100)
    with pytest.raises(InputError, match=rf"{raw.name}: the pixels end after \d+ of \d+ bytes"):
        put(images, slice(0, 40))
