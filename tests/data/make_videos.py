"""Writes tiny videos in several containers, and alters them as cameras, editors and torn copies do."""

import struct
from pathlib import Path

import cv2
import numpy as np

HEIGHT, WIDTH, FRAMES = 48, 64, 60
CODES = {".mp4": "mp4v", ".mov": "mp4v", ".avi": "MJPG", ".mkv": "MJPG", ".webm": "VP80"}


def write_video(path: Path, *, frames: int = FRAMES) -> Path:
    """Write a video whose frame k has the grey level 4 k, in the container that the ending names."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*CODES[path.suffix]), 30.0, (WIDTH, HEIGHT))
    assert writer.isOpened()
    noise = np.random.default_rng(0).integers(0, 8, (frames, HEIGHT, WIDTH, 3))
    for frame in range(frames):
        writer.write((noise[frame] + 4 * frame).astype(np.uint8))
    writer.release()
    return path


def trim_by_edit_list(path: Path, *, first: int, count: int) -> Path:
    """Let the edit list of an MP4 show only some of its frames, as phones do when a video is trimmed."""
    content = bytearray(path.read_bytes())
    place = content.index(b"elst") + 4
    movie_scale = struct.unpack_from(">I", content, content.index(b"mvhd") + 16)[0]
    track_scale = struct.unpack_from(">I", content, content.index(b"mdhd") + 16)[0]
    struct.pack_into(">ii", content, place + 8, round(count * movie_scale / 30), round(first * track_scale / 30))
    path.write_bytes(content)
    return path


def index_first(path: Path) -> Path:
    """Put the index of an MP4 in front of its frames, as for streaming, so that a torn copy still opens."""
    content = path.read_bytes()
    index, frames = content.index(b"moov") - 4, content.index(b"mdat") - 4
    assert index > frames
    moov = bytearray(content[index : index + struct.unpack_from(">I", content, index)[0]])
    place = moov.index(b"stco") + 8
    (count,) = struct.unpack_from(">I", moov, place)
    for chunk in range(count):
        (offset,) = struct.unpack_from(">I", moov, place + 4 + 4 * chunk)
        struct.pack_into(">I", moov, place + 4 + 4 * chunk, offset + len(moov))
    path.write_bytes(content[:frames] + bytes(moov) + content[frames:index])
    return path


def announce_more(path: Path, factor: float) -> Path:
    """Make the duration of a WebM or Matroska longer: as at a variable rate, fewer frames come than announced."""
    content = bytearray(path.read_bytes())
    place = content.index(b"\x44\x89\x88") + 3  # Duration, a float of eight bytes
    struct.pack_into(">d", content, place, struct.unpack_from(">d", content, place)[0] * factor)
    path.write_bytes(content)
    return path


def as_stream(path: Path) -> Path:
    """Take the size of a WebM's or Matroska's only segment away, as a browser's recorder leaves it."""
    content = bytearray(path.read_bytes())
    place = content.index(b"\x18\x53\x80\x67") + 4
    assert content[place] == 0x01  # a size of eight bytes
    content[place : place + 8] = b"\x01" + b"\xff" * 7
    path.write_bytes(content)
    return path


def tear(path: Path, share: float) -> Path:
    """Keep only the first part of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content))])
    return path


def blank(path: Path, begin: float, end: float) -> Path:
    """Write zeros over a part of a file, as a broken disk or an unfinished download leaves it."""
    content = bytearray(path.read_bytes())
    first, last = round(begin * len(content)), round(end * len(content))
    content[first:last] = bytes(last - first)
    path.write_bytes(content)
    return path
