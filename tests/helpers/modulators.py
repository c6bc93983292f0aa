# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals that this project did not make: GNU Radio's modulators and filters, liquid-dsp's constellations."""

from functools import cache

import numpy as np
from gnuradio import analog, blocks, digital, fft, filter, gr
from gnuradio.filter import firdes

from . import liquid

SILENCE = 2048  # samples at the beginning, in which filters fill

# liquid-dsp's names of the constellations that are those of RadioML; its larger APSK are others.
SCHEMES = {
    "OOK": ("ook", 2),
    "BPSK": ("bpsk", 2),
    "QPSK": ("qpsk", 4),
    "8PSK": ("psk8", 8),
    "16PSK": ("psk16", 16),
    "32PSK": ("psk32", 32),
    "16APSK": ("apsk16", 16),
    "16QAM": ("qam16", 16),
    "32QAM": ("sqam32", 32),
    "64QAM": ("qam64", 64),
    "128QAM": ("sqam128", 128),
    "256QAM": ("qam256", 256),
}
UNIPOLAR = {"4ASK": 4, "8ASK": 8}
LINEAR = (*SCHEMES, *UNIPOLAR, "OQPSK")
ANALOG = ("AM-SSB-SC", "AM-SSB-WC", "AM-DSB-SC", "AM-DSB-WC", "FM")
CLASSES = (*LINEAR, "GMSK", *ANALOG)
OTHERS = ("OFDM", "chirp", "2FSK", "8FSK", "carrier", "noise")


@cache
def points(name):
    """Constellation complex64 (order,)."""
    if name in UNIPOLAR:
        return np.arange(UNIPOLAR[name]).astype(np.complex64)
    return liquid.constellation(*SCHEMES["QPSK" if name == "OQPSK" else name])


def signal(name, samples_per_symbol, count, seed, roll_off=0.35):
    """``count`` samples, complex64, of power 1: of CLASSES or OTHERS; ``samples_per_symbol`` is an even number.

    Analog modulations carry noise in the band of speech, as wide as a linear one of that many samples a symbol.
    """
    chain = _chain(name, samples_per_symbol, seed, roll_off)
    sink, top = blocks.vector_sink_c(), gr.top_block()
    top.connect(*chain, blocks.skiphead(gr.sizeof_gr_complex, SILENCE), blocks.head(gr.sizeof_gr_complex, count), sink)
    top.run()
    samples = np.array(sink.data(), np.complex64)
    if name == "OQPSK":
        late = np.roll(samples.imag, samples_per_symbol // 2)
        samples = (samples.real + 1j * late).astype(np.complex64)
    return samples / np.sqrt(np.mean(np.abs(samples) ** 2))


def received(name, samples_per_symbol, count, seed, snr_db, carrier_offset=0.0, roll_off=0.35):
    """``signal`` with a carrier offset in cycles per sample, any phase, and white noise: complex64."""
    generator = np.random.default_rng(seed)
    sent = signal(name, samples_per_symbol, count, seed, roll_off)
    turned = sent * np.exp(2j * np.pi * (carrier_offset * np.arange(count) + generator.uniform()))
    noise = generator.normal(size=(count, 2)).view(np.complex128)[:, 0] * np.sqrt(0.5)
    return (turned + noise * 10 ** (-snr_db / 20)).astype(np.complex64)


def _symbols(order, seed):
    values = np.random.default_rng(seed).integers(0, order, 1 << 14)
    return blocks.vector_source_b(values.tolist(), True)


def _audio(samples_per_symbol, seed):
    """Noise between a twentieth and nine tenths of half the symbol rate, of power 1."""
    edge = 0.5 / samples_per_symbol
    taps = firdes.band_pass(1 / np.sqrt(2 * 0.85 * edge), 1.0, 0.05 * edge, 0.9 * edge, 0.04 * edge)
    return [analog.noise_source_f(analog.GR_GAUSSIAN, 1.0, seed), filter.fft_filter_fff(1, taps)]


def _shifted(levels, samples_per_symbol, seed, deviation):
    """Frequency shift keying of rectangular pulses; ``deviation`` in cycles per sample for a level of 1."""
    return [
        _symbols(len(levels), seed),
        digital.chunks_to_symbols_bf([float(level) for level in levels]),
        blocks.repeat(gr.sizeof_float, samples_per_symbol),
        analog.frequency_modulator_fc(2 * np.pi * deviation),
    ]


def _chain(name, samples_per_symbol, seed, roll_off):
    if name in LINEAR:
        shape = points(name)
        taps = firdes.root_raised_cosine(samples_per_symbol, samples_per_symbol, 1.0, roll_off, 16 * samples_per_symbol)
        return [
            _symbols(len(shape), seed),
            digital.chunks_to_symbols_bc([complex(point) for point in shape]),
            filter.interp_fir_filter_ccf(samples_per_symbol, taps),
        ]
    audio = _audio(samples_per_symbol, seed)
    rate = 1 / samples_per_symbol
    return {
        "GMSK": lambda: [_symbols(256, seed), digital.gmsk_mod(samples_per_symbol=samples_per_symbol, bt=0.35)],
        "FM": lambda: [*audio, analog.frequency_modulator_fc(2 * np.pi * 0.25 * rate)],
        "AM-DSB-SC": lambda: [*audio, blocks.float_to_complex()],
        "AM-DSB-WC": lambda: [
            *audio,
            blocks.multiply_const_ff(0.4),
            blocks.add_const_ff(1.0),
            blocks.float_to_complex(),
        ],
        "AM-SSB-SC": lambda: [*audio, filter.hilbert_fc(401)],
        "AM-SSB-WC": lambda: [*audio, filter.hilbert_fc(401), blocks.multiply_const_cc(0.4), blocks.add_const_cc(1.0)],
        "OFDM": lambda: _ofdm(seed),
        "chirp": lambda: [
            analog.sig_source_f(1.0, analog.GR_SAW_WAVE, 1 / (32 * samples_per_symbol), 1.0, -0.5),
            analog.frequency_modulator_fc(2 * np.pi * 2 * rate),
        ],
        "2FSK": lambda: _shifted([-1, 1], 2 * samples_per_symbol, seed, 0.75 * rate),
        "8FSK": lambda: _shifted(range(-7, 8, 2), 4 * samples_per_symbol, seed, 0.125 * rate),
        "carrier": lambda: [analog.sig_source_c(1.0, analog.GR_COS_WAVE, 0.0, 1.0)],
        "noise": lambda: [analog.noise_source_c(analog.GR_GAUSSIAN, 1.0, seed)],
    }[name]()


def _ofdm(seed):
    """16QAM on 48 of 128 carriers, and a prefix of 16 samples."""
    used = [carrier for carrier in range(-24, 25) if carrier]
    symbols = np.random.default_rng(seed).integers(0, 16, 48 * 512)
    return [
        blocks.vector_source_b(symbols.tolist(), True),
        digital.chunks_to_symbols_bc([complex(point) for point in points("16QAM")]),
        blocks.stream_to_tagged_stream(gr.sizeof_gr_complex, 1, 48, "length"),
        digital.ofdm_carrier_allocator_cvc(128, [used], [[]], [[]], [], "length"),
        fft.fft_vcc(128, False, [], True),
        digital.ofdm_cyclic_prefixer(128, 144, 0, "length"),
    ]
