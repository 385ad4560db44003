"""Random numbers that are the same bits on every Python, numpy and scipy (x86-64).

Neither the streams of `numpy.random.Generator` nor the last bits of ``exp`` and ``log`` are promised
to stay as they are between versions. Raw files that are to have the same checksum everywhere are
therefore made from SplitMix64 bits [1]_ with transformations that consist of IEEE additions,
multiplications, divisions and table look-ups only.

References
----------
.. [1] Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", OOPSLA.
"""

import functools
import hashlib
from statistics import NormalDist

import numpy as np
from numba import njit

__all__ = [
    "Tables",
    "exp_array",
    "log_array",
    "normal_array",
    "poisson_array",
    "stream",
    "tables",
    "uniform_array",
]

_NORMAL_BITS = 13
_POISSON_LARGE = 1024.0
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_POWERS = np.array([2.0**k for k in range(-1022, 1024)])
_SINE_BITS = 12
_GUIDE_BITS = 10

Tables = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def stream(*names: object) -> np.ndarray:
    """The state of an independent stream that belongs to these names.

    Parameters
    ----------
    *names : object
        What the stream is for, such as the seed, the exposure and the purpose; their ``str`` counts.

    Returns
    -------
    numpy.ndarray
        State and increment, uint64, shape (2,); the functions of this module advance it in place.

    Examples
    --------
    >>> bool((stream(1, "odbr01010", "read-out") != stream(1, "odbr01010", "cosmic rays")).any())
    True
    """
    digest = hashlib.sha256("/".join(str(name) for name in names).encode()).digest()
    state = np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)
    state[1] |= np.uint64(1)
    return state


@functools.cache
def tables() -> Tables:
    """Tables behind the transformations: normal quantiles, sine, Poisson guide and distribution.

    Returns
    -------
    normal : numpy.ndarray
        Means of 2**13 equally probable slices of a normal distribution with variance 1/3, float64.
        The sum of three is a normal variate to a good approximation up to 5.5 sigma.
    sine : numpy.ndarray
        One period of the sine, float64, shape (4096,).
    guide : numpy.ndarray
        For each Poisson table and each leading 10 bits the first value possible, int16, shape (130, 1024).
    distribution : numpy.ndarray
        2**32 times the distribution function, uint64, shape (130, 820); the means of the rows are 1 to 63,
        then 64, 128, 256 and 512, then 1/64 to 63/64.
    """
    normal = NormalDist()
    n = 1 << _NORMAL_BITS
    edges = [normal.inv_cdf(k / n) for k in range(1, n // 2)] + [0.0]
    density = [0.0] + [normal.pdf(edge) for edge in edges]
    lower = np.array([n * (density[k] - density[k + 1]) for k in range(n // 2)])
    quantiles = np.concatenate([lower, -lower[::-1]])
    # Rounding to a coarse grid takes out the last bits, in which mathematical libraries may differ.
    quantiles = np.round(quantiles / np.sqrt(3.0 * np.mean(quantiles**2)) * 2.0**24) / 2.0**24
    angles = np.arange(1 << _SINE_BITS) * (2.0 * np.pi / (1 << _SINE_BITS))
    sine = np.round(np.sin(angles) * 2.0**24) / 2.0**24

    means = [*range(1, 64), 64, 128, 256, 512, *(k / 64.0 for k in range(1, 64))]
    length = 820
    distribution = np.zeros((len(means), length), dtype=np.uint64)
    guide = np.zeros((len(means), 1 << _GUIDE_BITS), dtype=np.int16)
    starts = np.arange(1 << _GUIDE_BITS, dtype=np.uint64) << np.uint64(32 - _GUIDE_BITS)
    for row, mean in enumerate(means):
        k = np.arange(length)
        steps = np.concatenate([[-float(mean)], log_array(mean / k[1:])])
        cumulative = np.minimum(np.cumsum(exp_array(np.maximum(np.cumsum(steps), -690.0))), 1.0)
        distribution[row] = np.round(cumulative * 2.0**32).astype(np.uint64)
        distribution[row, -1] = 1 << 32
        guide[row] = np.searchsorted(distribution[row], starts, "right")
    return quantiles, sine, guide, distribution


@njit(nogil=True, cache=True, inline="always")
def mix(z):
    """64 random bits of a counter (SplitMix64); kernels keep it in a local variable for speed.

    Parameters
    ----------
    z : numpy.uint64
        The counter.

    Returns
    -------
    numpy.uint64
        Random bits.
    """
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(nogil=True, cache=True, inline="always")
def as_uniform(bits):
    """A double in the open interval from 0 to 1 from 64 random bits.

    Parameters
    ----------
    bits : numpy.uint64
        Random bits.

    Returns
    -------
    float
        The number.
    """
    return (np.float64(np.int64(bits >> np.uint64(12))) + 0.5) * 2.220446049250313e-16


@njit(nogil=True, cache=True, inline="always")
def as_normal(bits, normal):
    """A normal variate with mean 0 and variance 1 from 64 random bits.

    Parameters
    ----------
    bits : numpy.uint64
        Random bits.
    normal : numpy.ndarray
        Table of 8192 values, three of which are added.

    Returns
    -------
    float
        The number.
    """
    mask = np.uint64(0x1FFF)
    return (
        normal[bits & mask] + normal[(bits >> np.uint64(13)) & mask] + normal[(bits >> np.uint64(26)) & mask]
    )


@njit(nogil=True, cache=True)
def exponential(x):
    """``exp(x)`` from additions and multiplications, to a few units in the last place.

    Parameters
    ----------
    x : float
        Up to 709.

    Returns
    -------
    float
        The exponential; 0 below -700.
    """
    if x < -700.0:
        return 0.0
    k = np.floor(x * 1.4426950408889634 + 0.5)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    total = 1.0
    for i in range(14, 0, -1):
        total = 1.0 + total * r / i
    return total * _POWERS[np.int64(k) + 1022]


@njit(nogil=True, cache=True)
def logarithm(x):
    """``log(x)`` for x > 0 from additions, multiplications and divisions.

    Parameters
    ----------
    x : float
        Greater than 0.

    Returns
    -------
    float
        The natural logarithm.
    """
    k = 0
    m = x
    while m > 1.4142135623730951:
        m *= 0.5
        k += 1
    while m < 0.7071067811865476:
        m *= 2.0
        k -= 1
    s = (m - 1.0) / (m + 1.0)
    q = s * s
    total = 0.0
    for i in range(25, 0, -2):
        total = total * q + 1.0 / i
    return 2.0 * s * total + k * _LN2_LOW + k * _LN2_HIGH


@njit(nogil=True, cache=True, inline="always")
def _from_table(bits32, row, guide, distribution):
    k = np.int64(guide[row, bits32 >> np.uint64(22)])
    while bits32 >= distribution[row, k]:
        k += 1
    return k


@njit(nogil=True, cache=True)
def poisson(mean, counter, step, normal, guide, distribution):
    """A Poisson variate and the advanced counter.

    The mean is split into an integer, sixty-fourths and a rest, because a sum of Poisson variates is one
    with the sum of the means: two table look-ups and a draw that is nearly always zero, exact and fast.
    Beyond a mean of 1024 a normal variate with the third-order term of Cornish and Fisher stands for it.

    Parameters
    ----------
    mean : float
        Mean of the distribution.
    counter, step : numpy.uint64
        Counter of the stream, and what it advances by.
    normal, guide, distribution : numpy.ndarray
        Tables.

    Returns
    -------
    value : int
        The number.
    counter : numpy.uint64
        The advanced counter.
    """
    counter += step
    bits = mix(counter)
    if mean >= _POISSON_LARGE:
        z = as_normal(bits, normal)
        value = np.floor(mean + np.sqrt(mean) * z + (z * z - 1.0) / 6.0 + 0.5)
        return np.int64(max(value, 0.0)), counter
    whole = np.int64(mean)
    sixtyfourths = np.int64((mean - whole) * 64.0)
    rest = mean - whole - sixtyfourths * 0.015625
    k = np.int64(0)
    if sixtyfourths > 0:
        k += _from_table(bits & np.uint64(0xFFFFFFFF), 66 + sixtyfourths, guide, distribution)
    bits >>= np.uint64(32)
    low = whole & 63
    if low > 0:
        k += _from_table(bits, low - 1, guide, distribution)
    row = 63
    whole >>= 6
    while whole > 0:
        if whole & 1:
            counter += step
            k += _from_table(mix(counter) >> np.uint64(32), row, guide, distribution)
        whole >>= 1
        row += 1
    counter += step
    u = as_uniform(mix(counter))
    p = 1.0 - rest * (1.0 - rest * (0.5 - rest * (0.16666666666666666 - rest * 0.041666666666666664)))
    if u >= p:
        cumulative = p
        i = 0
        while u >= cumulative and i < 8:
            i += 1
            p *= rest / i
            cumulative += p
        k += i
    return k, counter


@njit(nogil=True, cache=True)
def _fill_uniform(out, state):
    counter, step = state[0], state[1]
    for i in range(out.size):
        counter += step
        out[i] = as_uniform(mix(counter))
    state[0] = counter


@njit(nogil=True, cache=True)
def _fill_normal(out, state, normal):
    counter, step = state[0], state[1]
    for i in range(out.size):
        counter += step
        out[i] = as_normal(mix(counter), normal)
    state[0] = counter


@njit(nogil=True, cache=True)
def _fill_poisson(out, mean, state, normal, guide, distribution):
    counter, step = state[0], state[1]
    for i in range(out.size):
        out[i], counter = poisson(mean[i], counter, step, normal, guide, distribution)
    state[0] = counter


@njit(nogil=True, cache=True)
def _fill_exponential(out, x):
    for i in range(out.size):
        out[i] = exponential(x[i])


@njit(nogil=True, cache=True)
def _fill_logarithm(out, x):
    for i in range(out.size):
        out[i] = logarithm(x[i])


def uniform_array(state: np.ndarray, size: int) -> np.ndarray:
    """Uniform doubles in the open interval from 0 to 1.

    Parameters
    ----------
    state : numpy.ndarray
        A stream, advanced in place.
    size : int
        How many.

    Returns
    -------
    numpy.ndarray
        float64, shape (size,).
    """
    out = np.empty(size)
    _fill_uniform(out, state)
    return out


def normal_array(state: np.ndarray, size: int) -> np.ndarray:
    """Normal doubles with mean 0 and variance 1.

    Parameters
    ----------
    state : numpy.ndarray
        A stream, advanced in place.
    size : int
        How many.

    Returns
    -------
    numpy.ndarray
        float64, shape (size,).
    """
    out = np.empty(size)
    _fill_normal(out, state, tables()[0])
    return out


def poisson_array(state: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Poisson integers with these means.

    Parameters
    ----------
    state : numpy.ndarray
        A stream, advanced in place.
    mean : numpy.ndarray
        Means, at least 0, any shape.

    Returns
    -------
    numpy.ndarray
        int64, the shape of `mean`.
    """
    mean = np.ascontiguousarray(mean, dtype=np.float64)
    out = np.empty(mean.size, dtype=np.int64)
    normal, _, guide, distribution = tables()
    _fill_poisson(out, mean.ravel(), state, normal, guide, distribution)
    return out.reshape(mean.shape)


def exp_array(x: np.ndarray) -> np.ndarray:
    """Exponential function with the same bits everywhere.

    Parameters
    ----------
    x : numpy.ndarray
        Exponents, below 709.

    Returns
    -------
    numpy.ndarray
        float64, the shape of `x`.
    """
    x = np.ascontiguousarray(x, dtype=np.float64)
    out = np.empty(x.size)
    _fill_exponential(out, x.ravel())
    return out.reshape(x.shape)


def log_array(x: np.ndarray) -> np.ndarray:
    """Natural logarithm with the same bits everywhere.

    Parameters
    ----------
    x : numpy.ndarray
        Positive numbers.

    Returns
    -------
    numpy.ndarray
        float64, the shape of `x`.
    """
    x = np.ascontiguousarray(x, dtype=np.float64)
    out = np.empty(x.size)
    _fill_logarithm(out, x.ravel())
    return out.reshape(x.shape)
