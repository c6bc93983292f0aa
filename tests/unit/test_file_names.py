# SPDX-License-Identifier: GPL-3.0-or-later
"""What file names tell, by the conventions of the programs that write them."""

import pytest
from gnuradio.amc.file_names import hints_from_name
from gnuradio.amc.sample_formats import parse_format
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("name", "rate", "frequency", "seconds"),
    [
        ("rec_2.4Msps.cu8", 2.4e6, None, None),
        ("rec_48k.cs16", 48e3, None, None),
        ("rec-250kSPS-433.92MHz.cf32", 250e3, 433.92e6, None),
        ("x-20180101_120000-433_92MHz-1MSps-1MHz.complex", 1e6, 433.92e6, None),
        ("gqrx_20140908_214530_433800000_2400000_fc.raw", 2.4e6, 433.8e6, 1410212730),
        ("SDRSharp_20150804_204730Z_935550kHz_IQ.wav", None, 935.55e6, 1438721250),
        ("picsat_9k6.wav", None, None, None),
        ("g001_433.92M_250k.cu8", 250e3, None, None),
        ("rec_433.92M_2.4Msps.cu8", 2.4e6, None, None),
        ("rec_16k_48ksps.cu8", 48e3, None, None),
        ("rec_433.92MHz_2.4Msps", 2.4e6, 433.92e6, None),
        ("rec_0sps_99999999Hz_20241331_000000Z.cf32", None, 99999999.0, None),
        (f"rec_{'9' * 400}sps_{'9' * 400}Hz.cf32", None, None, None),
    ],
)
def test_what_a_name_tells(name, rate, frequency, seconds):
    hints = hints_from_name(name)
    assert (hints.sample_rate, hints.frequency) == (rate, frequency)
    assert hints.time == (None if seconds is None else (seconds, 0.0))


@given(name=st.text(max_size=60))
def test_any_name_tells_something_or_nothing(name):
    hints = hints_from_name(name)
    if hints.format not in (None, "wav"):
        parse_format(hints.format)
