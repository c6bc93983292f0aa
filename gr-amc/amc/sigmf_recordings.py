# SPDX-License-Identifier: GPL-3.0-or-later
"""SigMF recordings: a pair of metadata and dataset, or an archive of them."""

import os
import re
import tarfile
from dataclasses import replace
from pathlib import Path

from .errors import AmcError
from .limits import usable_rate
from .reading import file_size, reading
from .recordings import Recording, Segment, Source, whole_samples
from .sample_formats import SampleFormat, parse_format
from .sigmf_metadata import Fields, read_metadata

_PAIR = (".sigmf-meta", ".sigmf-data")
_ARCHIVE = (".sigmf", ".sigmf.gz", ".sigmf.xz")


def is_sigmf(name: str) -> bool:
    """Whether a file name ends as SigMF files do."""
    return name.lower().endswith(_PAIR + _ARCHIVE)


def open_sigmf(path: Path, given_format: str) -> Recording:
    """Opens metadata, dataset or archive; ``given_format``, where not empty, wins over the metadata.

    Raises AmcError where the metadata is not valid, or the dataset is missing, truncated or contradicts it.
    """
    if path.name.lower().endswith(_ARCHIVE):
        metadata, source, where = _read_archive(path)
    else:
        metadata, source, where = _read_pair(path)
    fields = Fields(where)
    information = fields.object(metadata, "global")
    sample_format = _format(fields, information, given_format)
    rate = fields.number(information, "core:sample_rate")
    if rate is not None and usable_rate(rate) is None:
        raise fields.wrong("core:sample_rate", "above 0")
    trailing = fields.index(information, "core:trailing_bytes", 0)
    if trailing >= max(source.size, 1):
        raise AmcError(
            f"{where} says that {trailing} bytes follow the samples, but its dataset has only {source.size}."
        )
    source = replace(source, size=source.size - trailing)
    segments = _segments(fields, metadata, information, sample_format, rate, source)
    return Recording(path, sample_format, rate, segments, source, metadata)


def _read_pair(path: Path) -> tuple[dict, Source, str]:
    meta = path.with_suffix(".sigmf-meta") if path.suffix.lower() == ".sigmf-data" else path
    if meta != path and not os.path.exists(meta):
        file_size(path)
        raise AmcError(f"the metadata {meta} of {path} is missing; put it there, or give the sample format (--format).")
    metadata, information = _read_metadata_file(meta)
    dataset = _dataset_path(meta, information.get("core:dataset"))
    if not os.path.exists(dataset):
        said = (
            " (core:metadata_only: it was meant to come alone)" if information.get("core:metadata_only") is True else ""
        )
        raise AmcError(f"the samples {dataset} of {meta} are missing{said}; put them beside it.")
    return metadata, Source(dataset, 0, file_size(dataset)), str(meta)


def _read_metadata_file(meta: Path) -> tuple[dict, dict]:
    """The metadata, and the object ``global`` in it."""
    file_size(meta)
    with reading(meta), open(meta, "rb") as file:
        metadata = read_metadata(file, str(meta))
    return metadata, Fields(str(meta)).object(metadata, "global")


def named_dataset(meta: Path) -> str | None:
    """What ``core:dataset`` in a metadata file says; None where it, or all of the file, cannot be used."""
    try:
        name = _read_metadata_file(meta)[1].get("core:dataset")
    except AmcError:
        return None
    return name if is_plain_name(name) else None


def _dataset_path(meta: Path, name: object) -> Path:
    """The dataset of a metadata file; one that it names itself must lie in its folder."""
    if name is None:
        return meta.with_suffix(".sigmf-data")
    folder = meta.parent
    if is_plain_name(name):
        dataset = folder / name
        if os.path.realpath(dataset) == os.path.join(
            os.path.realpath(folder), os.path.basename(os.path.realpath(dataset))
        ):
            return dataset
    raise _foreign_dataset(str(meta), name)


def _foreign_dataset(where: str, name: object) -> AmcError:
    return AmcError(f"core:dataset in {where} must name a file in the same folder; {str(name)[:80]!r} does not.")


def is_plain_name(name: object) -> bool:
    """Whether this names a file without a folder, as ``core:dataset`` must."""
    return isinstance(name, str) and name not in ("", ".", "..") and not re.search(r"[/\\\0]", name)


def _read_archive(path: Path) -> tuple[dict, Source, str]:
    file_size(path)
    with reading(path):
        try:
            archive, compressed = tarfile.open(path, "r:"), False
        except (tarfile.TarError, ValueError, ArithmeticError, LookupError):
            archive, compressed = _open_compressed(path), True
        with archive:
            members = _archive_members(archive)
            metas = [name for name in members if name.endswith(".sigmf-meta")]
            if len(metas) != 1:
                raise AmcError(
                    f"the SigMF archive {path} holds {len(metas)} recordings, where one is due; "
                    "extract it with tar and name one .sigmf-meta file."
                )
            where = f"{metas[0]} of {path}"
            with archive.extractfile(metas[0]) as file:
                metadata = read_metadata(file, where)
            named = Fields(where).object(metadata, "global").get("core:dataset")
            if named is not None and not is_plain_name(named):
                raise _foreign_dataset(where, named)
            folder = metas[0].rpartition("/")[0]
            name = metas[0].removesuffix("-meta") + "-data" if named is None else f"{folder}/{named}".lstrip("/")
            if name not in members:
                raise AmcError(f"the SigMF archive {path} lacks the samples {name}; fetch it again.")
            member = members[name]
    if compressed or member.issparse():
        return metadata, Source(path, 0, member.size, name), where
    return metadata, Source(path, member.offset_data, member.size), where


def _archive_members(archive: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    try:
        return {member.name: member for member in archive if member.isreg()}
    except (ValueError, ArithmeticError, LookupError, RecursionError) as error:
        # Some damage in a header is not caught by tarfile.
        raise tarfile.ReadError(f"bad header: {error}") from None


def _open_compressed(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:*")
    except (tarfile.TarError, ValueError, ArithmeticError, LookupError):
        raise AmcError(f"{path} is not a SigMF archive, which is a tar file; fetch it again or extract it.") from None


def _format(fields: Fields, information: dict, given: str) -> SampleFormat:
    datatype = information.get("core:datatype")
    if not given and datatype is None:
        raise fields.wrong("core:datatype", "given")
    try:
        sample_format = parse_format(given or (datatype if isinstance(datatype, str) else repr(datatype)))
    except AmcError:
        if given:
            raise
        raise fields.wrong("core:datatype", f"a known SigMF datatype such as cf32_le: {datatype!r:.40}") from None
    channels = fields.index(information, "core:num_channels", 1)
    if channels != 1:
        raise AmcError(f"{fields.where} has {channels} interleaved channels; split it into recordings of one channel.")
    return sample_format


def _segments(
    fields: Fields,
    metadata: dict,
    information: dict,
    sample_format: SampleFormat,
    rate: float | None,
    source: Source,
) -> tuple[Segment, ...]:
    offset = fields.index(information, "core:offset", 0)
    captures = fields.objects(metadata, "captures")
    starts = [fields.index(capture, "core:sample_start", -1) for capture in captures]
    headers = [fields.index(capture, "core:header_bytes", 0) for capture in captures]
    if sum(headers) > source.size:
        raise AmcError(f"the dataset of {fields.where} is truncated: its headers alone have {sum(headers)} bytes.")
    total = whole_samples(source.path, source.size - sum(headers), sample_format)
    end = offset + total
    if starts != sorted(starts) or (starts and starts[0] < offset):
        raise fields.wrong("core:sample_start", "in ascending order from core:offset")
    claimed = [(start + 1, "a capture") for start in starts] + [
        (
            fields.index(item, "core:sample_start", -1) + max(fields.index(item, "core:sample_count", 1), 1),
            "an annotation",
        )
        for item in fields.objects(metadata, "annotations")
    ]
    reach, what = max(claimed, default=(0, ""))
    if reach > end:
        raise AmcError(
            f"the dataset of {fields.where} is truncated: {what} needs sample {reach - 1}, the last one is {end - 1}; "
            "fetch it again or correct the metadata."
        )
    if not starts or starts[0] > offset:
        captures, starts, headers = [{}, *captures], [offset, *starts], [0, *headers]
    segments, skipped = [], 0
    times = _capture_times(fields, captures, starts, rate)
    for number, (capture, start) in enumerate(zip(captures, starts, strict=True)):
        skipped += headers[number]
        following = starts[number + 1] if number + 1 < len(starts) else end
        if following > start:
            byte_start = (start - offset) * sample_format.size + skipped
            frequency = fields.number(capture, "core:frequency")
            segments.append(Segment(start, following - start, byte_start, times[number], frequency))
    return tuple(segments)


def _capture_times(
    fields: Fields, captures: list[dict], starts: list[int], rate: float | None
) -> list[tuple[int, float] | None]:
    """When each capture began: its core:datetime, or counted from the last one by core:global_index."""
    times, reference = [], None
    for capture, start in zip(captures, starts, strict=True):
        time = fields.time(capture, "core:datetime")
        index = fields.index(capture, "core:global_index", start)
        if time is not None:
            reference = (time, index)
        elif reference and rate and "core:global_index" in capture and index >= reference[1]:
            whole, fraction = divmod(reference[0][1] + (index - reference[1]) / rate, 1.0)
            time = (reference[0][0] + int(whole), fraction)
        times.append(time)
    return times
