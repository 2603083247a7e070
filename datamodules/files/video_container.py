"""Completeness check of a video file from its container, without decoding.

OpenCV decodes the frames that exist and does not report missing ones. Its frame count is that of the MP4 index, of
which an edit list may select a part, or an estimate from duration and rate. Neither reveals a truncated file; the sizes
of the parts that a container states do.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

UNKNOWN_SIZE = -1


@dataclass(frozen=True)
class Container:
    """Properties of a video file derived from its container.

    Attributes:
        cut_off: Evidence that the file is truncated, or None.
        whole: Whether every size that the container states fits the file; also False if it states none.
        frames: Number of frames in the index (of an MP4 after its edit list, or of an AVI); None if not exactly known.
    """

    cut_off: str | None
    whole: bool
    frames: int | None = None


def inspect(path: Path) -> Container:
    """Return the container properties of an MP4, MOV, AVI, Matroska or WebM file.

    Raises:
        OSError: If the file cannot be opened.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(12)
        try:
            if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
                return _inspect_mp4(file, size)
            if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
                # Some writers include the eight header bytes in the size.
                found = _inspect_parts(_riff_parts(file, size), size, slack=8)
                return replace(found, frames=_indexed_frames(file)) if found.whole else found
            if head[:4] == b"\x1a\x45\xdf\xa3":
                return _inspect_parts(_matroska_parts(file, size), size)
        except (struct.error, IndexError, ValueError):  # another or a damaged container
            return Container(None, whole=False)
    return Container(None, whole=False)


def _inspect_parts(parts: Iterator[tuple[str, int]], size: int, slack: int = 0) -> Container:
    known = True
    for name, end in parts:
        if end == UNKNOWN_SIZE:
            known = False
        elif end > size + slack:
            return Container(f"its part '{name}' ends at byte {end}, but the file at byte {size}", whole=False)
    return Container(None, whole=known)


# MP4 and MOV: boxes of a 32-bit size, a type of four letters and the content.

MP4_PARTS = (b"moov", b"mdat", b"moof", b"mfra")


def _boxes(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start of the content and end of each box; the end may lie beyond the file."""
    while begin + 8 <= end:
        file.seek(begin)
        length, kind = struct.unpack(">I4s", file.read(8))
        content = begin + 8
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
            content += 8
        stop = end if length == 0 else begin + length
        if stop < content:
            return  # zeros after the last box
        yield kind, content, stop
        begin = stop
    # Fewer than eight remaining bytes are no box.


def _inspect_mp4(file: BinaryIO, size: int) -> Container:
    parts = list(_boxes(file, 0, size))
    # Trailing data of some cameras may look like a box.
    beyond = next(((kind, stop) for kind, _, stop in parts if stop > size and kind in MP4_PARTS), None)
    if beyond is not None:
        reason = f"its part '{beyond[0].decode('latin-1')}' ends at byte {beyond[1]}, but the file at byte {size}"
        return Container(reason, whole=False)
    index = next(((content, stop) for kind, content, stop in parts if kind == b"moov"), None)
    if index is None:
        return Container("it has no index (moov): recording or copying it was not finished", whole=False)
    if any(kind == b"moof" for kind, _, _ in parts):
        return Container(None, whole=True)  # frames are listed in fragments
    return Container(None, whole=True, frames=_shown_frames(file, *index))


def _shown_frames(file: BinaryIO, begin: int, end: int) -> int | None:
    """Return the number of frames of the first video track after its edit list; None if unknown."""
    movie = {kind: (content, stop) for kind, content, stop in _boxes(file, begin, end)}
    if b"mvhd" not in movie:
        return None
    movie_scale = _timescale(file, movie[b"mvhd"][0])
    for kind, content, stop in _boxes(file, begin, end):
        if kind != b"trak":
            continue
        boxes = _flat(file, content, stop)
        if b"hdlr" not in boxes or _read(file, boxes[b"hdlr"])[8:12] != b"vide":
            continue
        if not {b"mdhd", b"stts"} <= set(boxes):
            return None
        times = _presentation_times(
            _read(file, boxes[b"stts"]), _read(file, boxes[b"ctts"]) if b"ctts" in boxes else b""
        )
        if b"elst" not in boxes:
            return len(times)
        scale = _timescale(file, boxes[b"mdhd"][0]) / movie_scale
        edits = _edits(_read(file, boxes[b"elst"]))
        # An empty edit (-1) shows no frame of the file; an edit of duration 0 extends to the end.
        return sum(
            sum(start <= time < (start + length * scale if length else float("inf")) for time in times)
            for length, start in edits
            if start >= 0
        )
    return None


def _flat(file: BinaryIO, begin: int, end: int) -> dict[bytes, tuple[int, int]]:
    """Return the relevant boxes of a track by type, at any nesting depth."""
    found: dict[bytes, tuple[int, int]] = {}
    for kind, content, stop in _boxes(file, begin, end):
        if kind in (b"mdia", b"minf", b"stbl", b"edts"):
            for name, place in _flat(file, content, stop).items():
                found.setdefault(name, place)
        else:
            found.setdefault(kind, (content, stop))
    return found


def _read(file: BinaryIO, place: tuple[int, int]) -> bytes:
    file.seek(place[0])
    return file.read(place[1] - place[0])


def _timescale(file: BinaryIO, content: int) -> int:
    """Return the ticks per second of an ``mvhd`` or ``mdhd`` box."""
    file.seek(content)
    header = file.read(24)
    (scale,) = struct.unpack_from(">I", header, 20 if header[0] == 1 else 12)
    return max(int(scale), 1)


def _presentation_times(stts: bytes, ctts: bytes) -> list[int]:
    """Return the presentation time of each frame, in ticks of its track."""
    times: list[int] = []
    time = 0
    for count, delta in struct.iter_unpack(">II", stts[8 : 8 + 8 * struct.unpack_from(">I", stts, 4)[0]]):
        times += range(time, time + count * delta, delta) if delta else [time] * count
        time += count * delta
    if ctts:
        place = 0
        for count, offset in struct.iter_unpack(">Ii", ctts[8 : 8 + 8 * struct.unpack_from(">I", ctts, 4)[0]]):
            for index in range(place, min(place + count, len(times))):
                times[index] += offset
            place += count
    return times


def _edits(elst: bytes) -> list[tuple[int, int]]:
    """Return duration (ticks of the movie) and start time (ticks of the track) of each edit."""
    form, step = (">qq", 20) if elst[0] == 1 else (">ii", 12)
    (count,) = struct.unpack_from(">I", elst, 4)
    return [(pair[0], pair[1]) for pair in (struct.unpack_from(form, elst, 8 + step * index) for index in range(count))]


# AVI: RIFF chunks, a large file has several.


def _riff_parts(file: BinaryIO, size: int) -> Iterator[tuple[str, int]]:
    begin = 0
    while begin + 12 <= size:
        file.seek(begin)
        kind, length, form = struct.unpack("<4sI4s", file.read(12))
        if kind != b"RIFF":
            return  # padding after the last chunk
        if length in (0, 0xFFFFFFFF):  # a placeholder: the recording was not closed
            yield form.decode("latin-1"), UNKNOWN_SIZE
            return
        end = begin + 8 + length
        yield form.decode("latin-1"), end
        begin = end + length % 2


def _indexed_frames(file: BinaryIO) -> int | None:
    """Return the number of non-empty frames of the first video stream in an AVI index; None without an index."""
    file.seek(4)
    end = 8 + struct.unpack("<I", file.read(4))[0]
    begin = 12
    while begin + 8 <= end:
        file.seek(begin)
        kind, length = struct.unpack("<4sI", file.read(8))
        if kind == b"idx1":
            entries = struct.iter_unpack("<4sIII", file.read(length - length % 16))
            frames = [(name, content) for name, _, _, content in entries if name[2:] in (b"dc", b"db")]
            return sum(content > 0 for name, content in frames if name[:2] == frames[0][0][:2])
        begin += 8 + length + length % 2
    return None


# Matroska and WebM: EBML elements of an id, a size and the content.

SEGMENT, CLUSTER = 0x18538067, 0x1F43B675


def _ebml_number(file: BinaryIO, *, keep_marker: bool) -> int:
    first = file.read(1)[0]
    if first == 0:
        raise ValueError("This is no EBML number.")
    length = 9 - first.bit_length()
    rest = file.read(length - 1)
    if len(rest) < length - 1:
        raise ValueError("The file ends inside an EBML number.")
    value = int.from_bytes(bytes([first if keep_marker else first & (0xFF >> length)]) + rest, "big")
    return UNKNOWN_SIZE if not keep_marker and value == (1 << (7 * length)) - 1 else value


def _matroska_parts(file: BinaryIO, size: int) -> Iterator[tuple[str, int]]:
    begin, names = 0, {SEGMENT: "Segment", CLUSTER: "Cluster"}
    while begin < size:
        file.seek(begin)
        kind = _ebml_number(file, keep_marker=True)
        length = _ebml_number(file, keep_marker=False)
        content = file.tell()
        name = names.get(kind, f"{kind:X}")
        end = UNKNOWN_SIZE if length == UNKNOWN_SIZE else content + length
        yield name, end
        if kind == SEGMENT and end != UNKNOWN_SIZE:
            return
        if kind == SEGMENT:
            begin = content  # a stream: its parts may still state where they end
        elif end == UNKNOWN_SIZE:
            return
        else:
            begin = end
