# SPDX-License-Identifier: GPL-3.0-or-later
"""WAV files: two channels are I and Q, one is a real signal."""

import struct
from pathlib import Path
from typing import BinaryIO

from .errors import AmcError
from .limits import usable_rate
from .reading import file_size, reading
from .recordings import Recording, Segment, Source, whole_samples
from .sample_formats import stored_as


def open_wav(path: Path) -> Recording:
    """Plain, extensible and RF64 WAV; the standard library's reader knows no float and no file over 4 GiB."""
    size = file_size(path)
    with reading(path), open(path, "rb") as file:
        layout, start, length = _chunks(path, file, size)
    tag, channels, rate, bits, frame = layout
    kinds = {(1, 8): "u", (1, 16): "i", (1, 24): "i", (1, 32): "i", (3, 32): "f", (3, 64): "f"}
    if (tag, bits) not in kinds:
        raise AmcError(
            f"{path} has WAV encoding {tag} with {bits} bits; convert it to PCM of 8, 16, 24 or 32 bits or to float."
        )
    if channels not in (1, 2):
        raise AmcError(f"{path} has {channels} channels; a WAV recording has two (I and Q) or one (a real signal).")
    if frame != channels * bits // 8:
        raise AmcError(
            f"{path} says a frame has {frame} bytes, where {channels * bits // 8} are due; its header is wrong."
        )
    # In WAV, 8-bit silence is 128.
    zero = 128.0 if bits == 8 else None
    sample_format = stored_as("c" if channels == 2 else "r", kinds[tag, bits], bits, zero=zero)
    segment = Segment(0, whole_samples(path, length, sample_format), 0)
    source = Source(path, start, length)
    return Recording(path, sample_format, usable_rate(float(rate)), (segment,), source)


def _chunks(path: Path, file: BinaryIO, size: int) -> tuple[tuple[int, int, int, int, int], int, int]:
    """(encoding, channels, rate, bits, bytes of a frame), where the samples begin, how many bytes they are."""
    head = file.read(12)
    if len(head) < 12 or head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:] != b"WAVE":
        raise AmcError(f"{path} is not a WAV file, or its header is cut off; give its true format (--format).")
    layout = long_length = None
    position = 12
    for _ in range(1000):  # no writer makes so many chunks; a damaged file may seem to
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            break
        name, length = head[:4], struct.unpack("<I", head[4:])[0]
        position += 8
        if name == b"fmt ":
            layout = _layout(file.read(min(length, 40)))
        elif name == b"ds64":
            content = file.read(min(length, 28))
            long_length = struct.unpack("<Q", content[8:16])[0] if len(content) >= 16 else None
        elif name == b"data":
            if layout is None:
                break
            return layout, position, _data_length(path, length, long_length, size - position)
        position += length + length % 2
    raise AmcError(f"{path} is a truncated WAV file: it has no samples after a valid header; fetch it again.")


def _layout(content: bytes) -> tuple[int, int, int, int, int] | None:
    if len(content) < 16:
        return None
    tag, channels, rate, _, frame, bits = struct.unpack("<HHIIHH", content[:16])
    if tag == 0xFFFE and len(content) >= 26:  # extensible: the encoding is in the sub-format
        tag = struct.unpack("<H", content[24:26])[0]
    return tag, channels, rate, bits, frame


def _data_length(path: Path, length: int, long_length: int | None, rest: int) -> int:
    largest = 0xFFFFFFFF
    if long_length is not None and length == largest:
        length, largest = long_length, 0xFFFFFFFFFFFFFFFF
    if length in (0, largest) or rest > largest:
        # Written by a program that was ended, or that could not go back; or too long for the field.
        length = rest
    if length > rest:
        raise AmcError(
            f"{path} is truncated: its header says {length} bytes of samples, and {rest} follow; fetch it again."
        )
    return length
