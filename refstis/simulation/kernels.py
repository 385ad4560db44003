"""The compiled loops of the simulation: charge, cosmic rays, bleeding, transfer, read-out."""

import numpy as np
from numba import njit

from refstis.simulation.streams import as_normal, as_uniform, exponential, logarithm, mix, poisson

__all__ = [
    "add_point_sources",
    "bleed",
    "collect",
    "collect_fast",
    "deposit",
    "mean_charge",
    "read_out",
    "strike",
    "transfer",
]


@njit(nogil=True, cache=True)
def mean_charge(out, base, base_factor, y_offset, from_top, spurious, columns, hot, trail_time):
    """Expected electrons in each sensor pixel and, read last, in each virtual row.

    Parameters
    ----------
    out : numpy.ndarray
        float32, unbinned rows of the frame by sensor columns; overwritten.
    base : numpy.ndarray
        Dark rate of ordinary pixels, float32, shape of the sensor (electrons/s).
    base_factor : float
        Seconds times temperature factor.
    y_offset : int
        Row of `out` at which the sensor begins.
    from_top : bool
        The row with the highest index is read first.
    spurious : float
        Spurious charge in the row read last (electrons).
    columns : tuple of numpy.ndarray
        Column, row of origin and charge of hot columns.
    hot : tuple of numpy.ndarray
        Row, column and charge (electrons) of hot pixels, and their rate at this temperature (electrons/s).
    trail_time : float
        Time in which one row is transferred: what passes a hot pixel collects its rate times that (s).
    """
    rows, width = out.shape
    ny = base.shape[0]
    hot_y, hot_x, hot_charge, hot_rate = hot
    column_x, column_y, column_charge = columns
    out[:] = 0.0
    # First the sources of trails at their place; then the sum away from the amplifier.
    for i in range(hot_y.size):
        y = hot_y[i] + y_offset + (-1 if from_top else 1)
        if 0 <= y < rows:
            out[y, hot_x[i]] += hot_rate[i] * trail_time
    for i in range(column_x.size):
        out[column_y[i] + y_offset, column_x[i]] += column_charge[i]
    running = np.zeros(width)
    for j in range(rows):
        y = rows - 1 - j if from_top else j
        level = spurious * (j + 0.5) / rows
        s = y - y_offset
        inside = 0 <= s < ny
        for x in range(width):
            running[x] += out[y, x]
            value = running[x] + level
            if inside:
                value += base[s, x] * base_factor
            out[y, x] = value
    for i in range(hot_y.size):
        out[hot_y[i] + y_offset, hot_x[i]] += hot_charge[i]


@njit(nogil=True, cache=True)
def collect(charge, mean, state, normal, guide, distribution):
    """Poisson electrons in each pixel.

    Parameters
    ----------
    charge : numpy.ndarray
        float32 (electrons); overwritten.
    mean : numpy.ndarray
        Expected electrons, the shape of `charge`.
    state : numpy.ndarray
        A stream, advanced in place.
    normal, guide, distribution : numpy.ndarray
        What `refstis.simulation.streams.tables` gives.
    """
    counter, step = state[0], state[1]
    for y in range(mean.shape[0]):
        for x in range(mean.shape[1]):
            value, counter = poisson(np.float64(mean[y, x]), counter, step, normal, guide, distribution)
            charge[y, x] = value
    state[0] = counter


@njit(nogil=True, cache=True)
def collect_fast(charge, mean, limit, state, normal, guide, distribution):
    """Electrons with the mean and variance of a Poisson law; exactly Poisson above `limit`.

    For the few electrons in a bias, which read noise of several electrons covers, the higher moments are lost
    anyway: the skewness of the sum is below one per cent.

    Parameters
    ----------
    charge : numpy.ndarray
        float32 (electrons); overwritten.
    mean : numpy.ndarray
        Expected electrons, the shape of `charge`.
    limit : float
        Expected electrons above which the law is exact.
    state : numpy.ndarray
        A stream, advanced in place.
    normal, guide, distribution : numpy.ndarray
        What `refstis.simulation.streams.tables` gives.
    """
    counter, step = state[0], state[1]
    for y in range(mean.shape[0]):
        for x in range(mean.shape[1]):
            value = np.float64(mean[y, x])
            if value > limit:
                drawn, counter = poisson(value, counter, step, normal, guide, distribution)
                charge[y, x] = drawn
            else:
                counter += step
                charge[y, x] = value + np.sqrt(value) * as_normal(mix(counter), normal)
    state[0] = counter


@njit(nogil=True, cache=True)
def add_point_sources(image, y, x, flux, sigma):
    """Add Gaussian point sources, cut at four sigma, to an image of rates.

    Parameters
    ----------
    image : numpy.ndarray
        Rates (electrons/s); added to.
    y, x : numpy.ndarray
        Positions (pixels).
    flux : numpy.ndarray
        Total rate of each source (electrons/s).
    sigma : float
        Width (pixels).
    """
    ny, nx = image.shape
    reach = np.int64(4.0 * sigma) + 1
    for i in range(y.size):
        cy, cx = np.int64(y[i]), np.int64(x[i])
        total = 0.0
        for pass_ in range(2):
            for j in range(cy - reach, cy + reach + 1):
                for k in range(cx - reach, cx + reach + 1):
                    r2 = (j - y[i]) ** 2 + (k - x[i]) ** 2
                    weight = exponential(-0.5 * r2 / (sigma * sigma))
                    if pass_ == 0:
                        total += weight
                    elif 0 <= j < ny and 0 <= k < nx:
                        image[j, k] += flux[i] * weight / total


@njit(nogil=True, cache=True)
def _quantile(fraction, fractions, log_values):
    i = 1
    while i < fractions.size - 1 and fraction > fractions[i]:
        i += 1
    t = (fraction - fractions[i - 1]) / (fractions[i] - fractions[i - 1])
    return exponential(log_values[i - 1] + t * (log_values[i] - log_values[i - 1]))


@njit(nogil=True, cache=True)
def strike(hits, events, fractions, log_charge, log_length, scatter, weights, state, normal):
    """Charge of cosmic rays: straight tracks of uniform density, widened by diffusion.

    Parameters
    ----------
    hits : numpy.ndarray
        float32, shape of the sensor; electrons are added.
    events : int
        How many rays.
    fractions, log_charge, log_length : numpy.ndarray
        Cumulative distribution of an event's charge and of its length plus one (logarithms).
    scatter : float
        Scatter of the length's fraction about the charge's.
    weights : numpy.ndarray
        Part of a charge that each of seven pixels gets, by position in the middle pixel, shape (n, 7).
    state : numpy.ndarray
        A stream, advanced in place.
    normal : numpy.ndarray
        Quantiles of the normal distribution.
    """
    ny, nx = hits.shape
    positions = weights.shape[0]
    counter, step = state[0], state[1]
    for _ in range(events):
        counter += step
        fraction = as_uniform(mix(counter))
        charge = _quantile(fraction, fractions, log_charge)
        counter += step
        rank = fraction + scatter * as_normal(mix(counter), normal)
        # Reflection keeps the rank a fraction without piling events up at the ends.
        if rank < 0.0:
            rank = -rank
        if rank > 1.0:
            rank = 2.0 - rank
        length = _quantile(min(max(rank, 0.0), 1.0), fractions, log_length) - 1.0
        counter += step
        y = as_uniform(mix(counter)) * ny
        counter += step
        x = as_uniform(mix(counter)) * nx
        # A direction without sine and cosine: a point in the unit disc.
        dy, dx, r2 = 1.0, 0.0, 2.0
        while r2 > 1.0 or r2 < 1e-4:
            counter += step
            dy = 2.0 * as_uniform(mix(counter)) - 1.0
            counter += step
            dx = 2.0 * as_uniform(mix(counter)) - 1.0
            r2 = dy * dy + dx * dx
        scale = length / np.sqrt(r2)
        dy *= scale
        dx *= scale
        pieces = np.int64(length * 2.0) + 1
        part = charge / pieces
        for i in range(pieces):
            along = (i + 0.5) / pieces - 0.5
            py, px = y + along * dy, x + along * dx
            iy, ix = np.int64(np.floor(py)), np.int64(np.floor(px))
            wy = weights[np.int64((py - iy) * positions)]
            wx = weights[np.int64((px - ix) * positions)]
            for j in range(7):
                row = iy + j - 3
                if row < 0 or row >= ny:
                    continue
                for k in range(7):
                    column = ix + k - 3
                    if 0 <= column < nx:
                        hits[row, column] += part * wy[j] * wx[k]
    state[0] = counter


@njit(nogil=True, cache=True)
def deposit(charge, hits, y_offset, index, amount):
    """Add the charge of cosmic rays, and list the pixels that got at least an electron.

    Parameters
    ----------
    charge : numpy.ndarray
        float32 electrons, unbinned rows of the frame by sensor columns; added to.
    hits : numpy.ndarray
        float32 electrons of cosmic rays, shape of the sensor.
    y_offset : int
        Row of `charge` at which the sensor begins.
    index, amount : numpy.ndarray
        int32 and uint16 with an entry for each sensor pixel; the first ones are overwritten.

    Returns
    -------
    number : int
        How many entries of `index` (flat, int32) and `amount` (uint16) were filled.
    most : float
        Largest charge of any pixel.
    """
    number = 0
    most = np.float32(0.0)
    ny, nx = hits.shape
    for y in range(ny):
        for x in range(nx):
            value = hits[y, x]
            if value > 0.0:
                charge[y + y_offset, x] += value
                if value >= 1.0:
                    index[number] = y * nx + x
                    amount[number] = np.uint16(min(value, np.float32(65535.0)))
                    number += 1
            most = max(most, charge[y + y_offset, x])
    return number, most


@njit(nogil=True, cache=True)
def bleed(charge, full_well):
    """Let charge above the full well run along its column, half up and half down.

    Parameters
    ----------
    charge : numpy.ndarray
        float32 electrons; changed in place.
    full_well : float
        What a pixel holds (electrons).
    """
    rows, width = charge.shape
    for x in range(width):
        for y in range(rows):
            excess = charge[y, x] - full_well
            if excess <= 0.0:
                continue
            charge[y, x] = full_well
            for direction in (-1, 1):
                left = 0.5 * excess
                at = y + direction
                while left > 0.0 and 0 <= at < rows:
                    room = full_well - charge[at, x]
                    if room > 0.0:
                        moved = min(room, left)
                        charge[at, x] += moved
                        left -= moved
                    at += direction


@njit(nogil=True, cache=True)
def transfer(charge, from_top, background, strength, norm, power, background_factor, background_power, trail):
    """Charge that parallel transfer leaves behind and gives back within some rows.

    The loss per transfer follows the form of the CCDTAB coefficients,
    ``norm G**-power exp(background_factor (B/G)**background_power)`` for charge G over background B.

    Parameters
    ----------
    charge : numpy.ndarray
        float32 electrons; changed in place.
    from_top : bool
        The row with the highest index is read first.
    background : float
        Usual charge of a pixel (electrons).
    strength : numpy.ndarray
        Factor of each column.
    norm, power, background_factor, background_power : float
        Coefficients of the loss.
    trail : float
        Rows over which the charge reappears.
    """
    rows, width = charge.shape
    keep = exponential(-1.0 / trail)
    for x in range(width):
        held = 0.0
        for j in range(rows):
            y = rows - 1 - j if from_top else j
            value = np.float64(charge[y, x])
            over = value - background
            lost = 0.0
            if over > 10.0:
                log_g = logarithm(over)
                ratio = exponential(background_power * (logarithm(max(background, 0.1)) - log_g))
                cti = strength[x] * norm * exponential(-power * log_g + background_factor * ratio)
                lost = over * min(cti * (j + 1), 0.9)
            released = held * (1.0 - keep)
            held = held * keep + lost
            charge[y, x] = value - lost + released


@njit(nogil=True, cache=True)
def read_out(
    frame,
    charge,
    offsets,
    bins,
    from_top,
    from_right,
    pattern,
    gain,
    noise,
    levels,
    depression,
    tone,
    state,
    normal,
    sine,
):
    """Bin the charge, add noise and levels, and convert to DN.

    Parameters
    ----------
    frame : numpy.ndarray
        uint16 raw frame; overwritten.
    charge : numpy.ndarray
        float32 electrons, unbinned rows of the frame by sensor columns.
    offsets : tuple of int
        Unbinned column of the frame at which the sensor begins, and rows per frame row.
    bins : tuple of int
        Columns and rows per frame pixel.
    from_top, from_right : bool
        Where the amplifier is.
    pattern : numpy.ndarray
        float32 fixed structure of the frame (DN).
    gain : float
        Electrons/DN.
    noise : float
        White noise (electrons rms).
    levels : tuple of float
        Level (DN), its change by row and by column, and the row and the column where it holds.
    depression : float
        Mean row signal that lowers the row by one electron.
    tone : tuple
        Amplitude (electrons), phase, and advance by pixel and by row of the pick-up, in units of 2**-32
        periods.
    state : numpy.ndarray
        A stream, advanced in place.
    normal, sine : numpy.ndarray
        Tables.

    Returns
    -------
    tuple of int
        Smallest and largest value and the sum of the frame.
    """
    ny, nx = frame.shape
    x_offset = offsets
    xbin, ybin = bins
    width = charge.shape[1]
    level, by_row, by_column, row_zero, column_zero = levels
    amplitude, phase, by_pixel, between_rows = tone
    counter, step = state[0], state[1]
    electrons = np.zeros(nx)
    mask = np.uint64(0xFFFFFFFF)
    inverse = 1.0 / gain
    least, most, total = np.int64(65535), np.int64(0), np.int64(0)
    for r in range(ny):
        j = ny - 1 - r if from_top else r
        electrons[:] = 0.0
        signal = 0.0
        for b in range(ybin):
            line = charge[j * ybin + b]
            if xbin == 1:
                for x in range(width):
                    electrons[x + x_offset] += line[x]
            else:
                for x in range(width):
                    electrons[(x + x_offset) // xbin] += line[x]
        for c in range(nx):
            signal += electrons[c]
        base = level + by_row * (j - row_zero) - signal * xbin / width / depression * inverse
        for c in range(nx):
            i = nx - 1 - c if from_right else c
            counter += step
            value = electrons[i] + noise * as_normal(mix(counter), normal)
            if amplitude > 0.0:
                value += amplitude * sine[(phase & mask) >> np.uint64(20)]
                phase += by_pixel
            dn = value * inverse + base + by_column * (i - column_zero) + pattern[j, i] + 0.5
            whole = np.int64(min(max(dn, 0.0), 65535.0))
            frame[j, i] = whole
            total += whole
            least = min(least, whole)
            most = max(most, whole)
        phase += between_rows
    state[0] = counter
    return least, most, total
