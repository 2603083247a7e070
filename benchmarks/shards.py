"""Bytes and processor time of samples in shards: ``python -m benchmarks.shards``.

Frames are a photograph with measured disparity (Middlebury's motorcycle, from scikit-image, at 640x480, its disparity
as depth in whole millimetres) and, where the embedded data exist, rooms. The other photographs are those of
scikit-image at COCO's mean size. Times are processor seconds of one process, so that other programs on the machine
matter little.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import skimage.data
import torch
from rich.console import Console
from rich.table import Table

from datamodules.rooms.datamodule import RoomsDataModule
from datamodules.samples.frame import Frame, default_intrinsics
from datamodules.samples.instance_frame import InstanceFrame
from datamodules.shards.items import decode_frame, decode_instances, encode_frame, encode_instances
from structures.instances import Truth

SECONDS = 0.5
"""Processor time that each measurement takes at least."""


NOTHING = np.zeros(0)


class Cost(NamedTuple):
    """Bytes and processor seconds of one frame."""

    what: str
    plain_bytes: int
    stored_bytes: float
    encode_s: float
    decode_s: float
    reference_s: float
    """Seconds of reading the same frame from its original format."""


def photograph(height: int = 480, width: int = 640) -> Frame:
    """Return a photograph with depth, as an RGB-D camera stores it."""
    image, _, disparity = skimage.data.stereo_motorcycle()
    # The data set's calibration: focal length 994.978 px, baseline 193.001 mm, offset of the disparity 31.086 px.
    depth = np.where(np.isfinite(disparity), 994.978 * 0.193001 / (disparity + 31.086), 0)
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    depth = cv2.resize(depth.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
    metres = (np.round(depth * 1000).astype(np.uint16) / np.float32(1000)).astype(np.float32)
    return Frame(
        image=image, depth=metres, K=default_intrinsics(width=width, height=height), name=f"motorcycle_{width}"
    )


def pictures(height: int = 484, width: int = 578) -> list[InstanceFrame]:
    """Return photographs without objects, at the mean size of COCO's."""
    found = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea(), skimage.data.rocket()]
    found.append(skimage.data.stereo_motorcycle()[0])
    return [
        InstanceFrame(
            image=cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA),
            boxes=np.zeros((0, 4), dtype=np.float32),
            labels=np.zeros(0, dtype=np.int64),
            name=str(number),
            image_id=number,
            original_size=(height, width),
        )
        for number, image in enumerate(found)
    ]


def rooms(root: str | None = None, count: int = 40) -> list[Callable[[], Frame]]:
    """Return functions that read frames of rooms from their file; none if it does not exist."""
    data = RoomsDataModule(root=root, cache=False)
    if not data.path.is_file():
        return []
    source = data.make_source("train")
    return [lambda k=k: source.read(k) for k in np.linspace(0, len(source) - 1, count).astype(int).tolist()]


def cost(what: str, readers: Iterable[Callable[[], Frame | InstanceFrame]]) -> Cost:
    """Measure the frames of some readers."""
    readers = list(readers)
    frames = [read() for read in readers]
    encoded = [_encode(frame) for frame in frames]
    decode = decode_frame if isinstance(frames[0], Frame) else partial(decode_instances, masks=False)
    return Cost(
        what,
        plain_bytes=int(np.mean([frame.image.nbytes + getattr(frame, "depth", NOTHING).nbytes for frame in frames])),
        stored_bytes=float(np.mean([len(data) for data in encoded])),
        encode_s=_seconds([partial(_encode, frame) for frame in frames]),
        decode_s=_seconds([partial(decode, data) for data in encoded]),
        reference_s=_seconds(readers),
    )


def _encode(frame: Frame | InstanceFrame) -> bytes:
    if isinstance(frame, Frame):
        return encode_frame(frame)
    no = torch.zeros(0, dtype=torch.bool)
    truth = Truth(boxes=torch.zeros(0, 4), labels=no.long(), crowd=no, ignored=no, area=no.double(), masks=None)
    return encode_instances(frame, truth)


def _seconds(calls: list[Callable[[], object]]) -> float:
    """Return the processor seconds of one call, over whole passes."""
    for call in calls:
        call()
    began, count = time.process_time(), 0
    while time.process_time() - began < SECONDS:
        for call in calls:
            call()
        count += len(calls)
    return (time.process_time() - began) / count


def _from_files(frames: Sequence[Frame | InstanceFrame], folder: Path) -> list[Callable[[], Frame | InstanceFrame]]:
    """Return functions that read frames from a JPEG and, with depth, a 16-bit PNG, as data sets store them."""
    readers: list[Callable[[], Frame | InstanceFrame]] = []
    for frame in frames:
        cv2.imwrite(str(folder / f"{frame.name}.jpg"), frame.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        if isinstance(frame, Frame):
            cv2.imwrite(str(folder / f"{frame.name}.png"), np.round(frame.depth * 1000).astype(np.uint16))
        readers.append(partial(_read_files, frame, folder))
    return readers


def _read_files(frame: Frame | InstanceFrame, folder: Path) -> Frame | InstanceFrame:
    image = np.ascontiguousarray(cv2.imread(str(folder / f"{frame.name}.jpg"))[..., ::-1])
    if not isinstance(frame, Frame):
        return replace(frame, image=image)
    depth = cv2.imread(str(folder / f"{frame.name}.png"), cv2.IMREAD_UNCHANGED) / np.float32(1000)
    return replace(frame, image=image, depth=depth)


def main(root: str | None = None) -> int:
    """Print the table."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        files = [
            ("photograph with depth, 640x480 | JPEG and PNG", _from_files([photograph()], Path(folder))),
            ("the same at 384x288 | JPEG and PNG", _from_files([photograph(288, 384)], Path(folder))),
            ("photographs of COCO's size | JPEG", _from_files(pictures(), Path(folder))),
            ("rooms, 256x192 | HDF5", rooms(root)),
        ]
        measured = [cost(what, readers) for what, readers in files if readers]
    table = Table("what", "kB plain", "kB stored", "ratio", "encode ms", "decode ms", "original format ms")
    for row in measured:
        table.add_row(
            row.what,
            f"{row.plain_bytes / 1e3:.0f}",
            f"{row.stored_bytes / 1e3:.0f}",
            f"{row.plain_bytes / row.stored_bytes:.2f}",
            *(f"{seconds * 1e3:.1f}" for seconds in (row.encode_s, row.decode_s, row.reference_s)),
        )
    Console(width=120).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
