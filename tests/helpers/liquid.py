# SPDX-License-Identifier: GPL-3.0-or-later
"""liquid-dsp's modulators through ctypes: signals that another library makes."""

import ctypes
import ctypes.util

import numpy as np
import pytest


def load():
    """The library; skips the test where it is not installed (package libliquid-dev, which ./run test brings)."""
    name = ctypes.util.find_library("liquid")
    if name is None:
        pytest.skip("liquid-dsp is not installed; install the package libliquid-dev")
    library = ctypes.CDLL(name)
    for function, result, *arguments in (
        ("modemcf_create", ctypes.c_void_p, ctypes.c_int),
        ("modemcf_modulate", ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p),
        ("liquid_getopt_str2mod", ctypes.c_int, ctypes.c_char_p),
        (
            "liquid_firdes_rrcos", ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_float, ctypes.c_float,
            ctypes.c_void_p,
        ),
        ("gmskmod_create", ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_float),
        ("gmskmod_modulate", ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p),
    ):  # fmt: skip
        getattr(library, function).restype = result
        getattr(library, function).argtypes = arguments
    return library


def constellation(scheme, order):
    """All points of a scheme such as ``qam64``: complex64 (order,)."""
    library = load()
    modem = library.modemcf_create(library.liquid_getopt_str2mod(scheme.encode()))
    points = np.zeros(order, np.complex64)
    for symbol in range(order):
        library.modemcf_modulate(modem, symbol, points[symbol:].ctypes.data)
    return points


def root_raised_cosine(samples_per_symbol, delay, roll_off):
    """Taps float32 (2 * samples_per_symbol * delay + 1,)."""
    taps = np.zeros(2 * samples_per_symbol * delay + 1, np.float32)
    load().liquid_firdes_rrcos(samples_per_symbol, delay, roll_off, 0.0, taps.ctypes.data)
    return taps


def gmsk(bits, samples_per_symbol, bandwidth_time):
    """GMSK of index 0.5: complex64 (len(bits) * samples_per_symbol,)."""
    library = load()
    modulator = library.gmskmod_create(samples_per_symbol, 3, bandwidth_time)
    signal = np.zeros((len(bits), samples_per_symbol), np.complex64)
    for row, bit in zip(signal, bits, strict=True):
        library.gmskmod_modulate(modulator, int(bit), row.ctypes.data)
    return signal.ravel()
