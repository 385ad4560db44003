"""Medians that are taken side by side, against numpy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refstis.calibration import medians
from refstis.calibration.medians import network_for, stack_medians

VALUES = {
    "noise": lambda generator, shape: generator.normal(0.3, 4.0, shape),
    "few values": lambda generator, shape: generator.integers(-2, 3, shape),
    "far out": lambda generator, shape: generator.integers(-2, 2, shape) * 1e30,
    "equal": lambda generator, shape: np.broadcast_to(generator.normal(0, 1, shape[1:]), shape),
    "rays": lambda generator, shape: np.where(
        generator.random(shape) < 0.3, 6e4, generator.normal(0, 1e-3, shape)
    ),
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("few", [0, medians.FEW_IMAGES])
@given(st.integers(2, 40), st.integers(0, 10**6))
@settings(deadline=None, derandomize=True, max_examples=40)
def test_stacks(kind, few, images, seed):
    stack = VALUES[kind](np.random.default_rng(seed), (images, 2, 70)).astype(np.float32)
    out = np.empty((2, 70), dtype=np.float32)
    # both ways of taking it, whatever the number of images
    if few:
        stack_medians(stack, network_for(len(stack)), out)
    else:
        bracketed(stack, out)
    np.testing.assert_array_equal(out, np.median(stack, axis=0))


def bracketed(stack, out):
    """The median by brackets, which `stack_medians` takes of large stacks alone."""
    block = medians.BLOCK
    floats = [np.empty(block, dtype=np.float32) for _ in range(5)]
    integers = [np.empty(block, dtype=np.int32) for _ in range(3)]
    sample = np.empty((medians.SAMPLE, block), dtype=np.float32)
    network = medians._sorting_network(medians.SAMPLE)
    flat = stack.reshape(len(stack), -1)
    for begin in range(0, flat.shape[1], block):
        part = np.zeros((len(stack), block), dtype=np.float32)
        width = min(block, flat.shape[1] - begin)
        part[:, :width] = flat[:, begin : begin + width]
        medians._bracket_median(part, sample, network, *floats[:4], *integers, floats[4])
        out.reshape(-1)[begin : begin + width] = floats[4][:width]


@pytest.mark.parametrize("images", [139, 140, 141, 142, 300])
def test_large_stacks(images):
    stack = np.random.default_rng(images).normal(1500.0, 5.0, (images, 1, 90)).astype(np.float32)
    out = np.empty((1, 90), dtype=np.float32)
    stack_medians(stack, network_for(len(stack)), out)
    np.testing.assert_array_equal(out, np.median(stack, axis=0))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 33, 64, 98])
def test_networks_put_any_zeros_and_ones_in_order(size):
    # a network that orders every sequence of 0 and 1 orders everything (Knuth, 5.3.4, theorem Z)
    generator = np.random.default_rng(size)
    for share in np.linspace(0.02, 0.98, 25):
        values = (generator.random((size, medians.BLOCK)) < share).astype(np.float32)
        expected = np.sort(values, axis=0)
        ordered = values.copy()
        medians.sort_lanes(ordered, medians._sorting_network(size))
        np.testing.assert_array_equal(ordered, expected)
        medians.sort_lanes(values, medians.median_network(size))
        middle = [(size - 1) // 2, size // 2]
        np.testing.assert_array_equal(values[middle], expected[middle])
