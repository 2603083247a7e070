"""Frames, images with instances and their ground truth as encoded bytes, and back."""

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, cast

import numpy as np
import torch

from datamodules.samples.frame import Frame
from datamodules.samples.instance_frame import InstanceFrame
from datamodules.shards.encoding import Array, DamagedSampleError, decode, encode
from structures.instances import RunLengths, Truth

OPTIONAL_MAPS = ("boxes", "normals", "T_world_camera", "keypoints", "vanishing")
"""Optional arrays of a frame."""

LABEL, FLAG, TRUTH = "label:", "flag:", "truth:"
"""Prefixes of the names of label maps, flags and ground truth."""

RUN_SIZES, RUN_LENGTHS, RUN_BYTES = "truth masks:sizes", "truth masks:lengths", "truth masks:counts"


def encode_frame(frame: Frame) -> bytes:
    """Return a frame with all its maps as bytes."""
    arrays: dict[str, Array] = {"image": frame.image, "depth": frame.depth, "K": frame.K}
    arrays |= {LABEL + name: values for name, values in frame.labels.items()}
    arrays |= {FLAG + name: values for name, values in frame.flags.items()}
    arrays |= {name: getattr(frame, name) for name in OPTIONAL_MAPS if getattr(frame, name) is not None}
    return encode(arrays, {"kind": "frame", "name": frame.name, "K_known": bool(frame.K_known)})


def decode_frame(data: bytes) -> Frame:
    """Return the frame of encoded bytes.

    Raises:
        DamagedSampleError: If the bytes are no frame, or its arrays do not belong together.
    """
    arrays, meta = decode(data)
    _check_kind(meta, "frame")
    _check(arrays, "image", (None, None, 3), (np.uint8, np.float32))
    size = arrays["image"].shape[:2]
    _check(arrays, "depth", size, (np.float32,))
    _check(arrays, "K", (3, 3), (np.float64,))
    maps = {name: values for name, values in arrays.items() if name.startswith((LABEL, FLAG))}
    if any(values.shape != size for values in maps.values()):
        raise DamagedSampleError("holds maps of another size than its image")
    return Frame(
        image=arrays["image"],
        depth=cast(Any, arrays["depth"]),
        K=cast(Any, arrays["K"]),
        name=_safe_name(meta),
        K_known=meta.get("K_known") is True,
        labels=_with_prefix(maps, LABEL),
        flags=cast(Any, _with_prefix(maps, FLAG)),
        **{name: cast(Any, arrays[name]) for name in OPTIONAL_MAPS if name in arrays},
    )


def encode_instances(frame: InstanceFrame, truth: Truth) -> bytes:
    """Return an image with instances, and the ground truth that its predictions are scored against, as bytes."""
    arrays: dict[str, Array] = {"image": frame.image, "boxes": frame.boxes, "labels": frame.labels}
    for name in ("masks", "pseudo_depth", "depth_mask"):
        if getattr(frame, name) is not None:
            arrays[name] = getattr(frame, name)
    arrays |= {FLAG + name: values for name, values in frame.flags.items()}
    arrays |= {TRUTH + name: value.numpy() for name, value in truth.items() if isinstance(value, torch.Tensor)}
    meta = {
        "kind": "instances",
        "name": frame.name,
        "image_id": int(frame.image_id),
        "original_size": [int(length) for length in frame.original_size],
    }
    if truth["masks"] is not None:
        run_arrays, meta["text"] = _encode_runs(truth["masks"])
        arrays |= run_arrays
    return encode(arrays, meta)


def decode_instances(data: bytes, *, masks: bool) -> InstanceFrame:
    """Return the image with instances of encoded bytes.

    Args:
        data: Result of :func:`encode_instances`.
        masks: Whether to read the masks.

    Raises:
        DamagedSampleError: If the bytes are no image with instances, or its arrays do not belong together.
    """
    arrays, meta = decode(data, skip=frozenset() if masks else frozenset({"masks"}))
    _check_kind(meta, "instances")
    _check(arrays, "image", (None, None, 3), (np.uint8,))
    _check(arrays, "boxes", (None, 4), (np.float32,))
    count = len(arrays["boxes"])
    _check(arrays, "labels", (count,), (np.int64,))
    if "masks" in arrays:
        _check(arrays, "masks", (count, *arrays["image"].shape[:2]), (np.bool_,))
    flags = _with_prefix(arrays, FLAG)
    if any(values.shape != (count,) for values in flags.values()):
        raise DamagedSampleError("holds flags of another number of objects than it has boxes")
    size = meta.get("original_size")
    if not (isinstance(size, list) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size)):
        raise DamagedSampleError(f"declares the original size {size!r}")
    return InstanceFrame(
        image=cast(Any, arrays["image"]),
        boxes=cast(Any, arrays["boxes"]),
        labels=cast(Any, arrays["labels"]),
        name=_safe_name(meta),
        image_id=int(meta["image_id"]),
        original_size=(size[0], size[1]),
        masks=cast(Any, arrays.get("masks")),
        flags=cast(Any, flags),
        pseudo_depth=cast(Any, arrays.get("pseudo_depth")),
        depth_mask=cast(Any, arrays.get("depth_mask")),
    )


def decode_truth(data: bytes) -> Truth:
    """Return the ground truth of encoded bytes.

    Raises:
        DamagedSampleError: If the bytes are no image with instances.
    """
    arrays, meta = decode(data, skip=frozenset({"image", "masks", "pseudo_depth", "depth_mask"}))
    _check_kind(meta, "instances")
    truth: dict[str, Any] = {name: torch.from_numpy(values) for name, values in _with_prefix(arrays, TRUTH).items()}
    missing = {"boxes", "labels", "crowd", "ignored", "area"} - set(truth)
    if missing:
        raise DamagedSampleError(f"lacks {', '.join(sorted(missing))} in its ground truth")
    truth["masks"] = _decode_runs(arrays, meta["text"]) if RUN_SIZES in arrays else None
    return cast(Truth, truth)


def _encode_runs(masks: list[RunLengths]) -> tuple[dict[str, Array], list[bool]]:
    """Return the run lengths of masks as arrays, and for each mask whether its counts are text."""
    text = [isinstance(mask["counts"], str) for mask in masks]
    counts = [
        mask["counts"].encode("ascii") if is_text else mask["counts"] for mask, is_text in zip(masks, text, strict=True)
    ]
    sizes = [[int(length) for length in mask["size"]] for mask in masks]
    joined = b"".join(counts)
    return {
        RUN_SIZES: np.array(sizes, dtype=np.int64).reshape(-1, 2),
        RUN_LENGTHS: np.array([len(part) for part in counts], dtype=np.int64),
        RUN_BYTES: np.frombuffer(joined, dtype=np.uint8) if joined else np.zeros(0, dtype=np.uint8),
    }, text


def _decode_runs(arrays: Mapping[str, Array], text: list[bool]) -> list[RunLengths]:
    sizes, lengths = arrays[RUN_SIZES].tolist(), arrays[RUN_LENGTHS].tolist()
    data, position, masks = arrays[RUN_BYTES].tobytes(), 0, []
    if not len(sizes) == len(lengths) == len(text):
        raise DamagedSampleError("holds masks whose numbers differ")
    for size, length, is_text in zip(sizes, lengths, text, strict=True):
        counts = data[position : position + length]
        position += length
        masks.append({"size": size, "counts": counts.decode("ascii") if is_text else counts})
    return masks


def _check_kind(meta: Mapping[str, Any], kind: str) -> None:
    if meta.get("kind") != kind:
        raise DamagedSampleError(f"holds {json.dumps(meta.get('kind'))[:40]}, but {kind} is expected")


def _check(arrays: Mapping[str, Array], name: str, shape: tuple[int | None, ...], dtypes: tuple[type, ...]) -> None:
    """Raise DamagedSampleError if an array is missing or has another shape (None: any length) or type."""
    array = arrays.get(name)
    fits = (
        array is not None
        and array.ndim == len(shape)
        and all(wanted in (None, length) for wanted, length in zip(shape, array.shape, strict=True))
        and array.dtype in [np.dtype(dtype) for dtype in dtypes]
    )
    if not fits:
        found = "nothing" if array is None else f"{array.dtype} {array.shape}"
        raise DamagedSampleError(f"holds {found} as '{name}', but {dtypes[0].__name__} {shape} is expected")


def _safe_name(meta: Mapping[str, Any]) -> str:
    """Return the name, which becomes the stem of files of predictions, after checking that it stays in a folder."""
    name = meta.get("name")
    if not isinstance(name, str) or not name or "\\" in name or "\0" in name:
        raise DamagedSampleError(f"has the name {name!r}, which is no file stem")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise DamagedSampleError(f"has the name {name!r}, which leads out of the folder of predictions")
    return name


def _with_prefix(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name[len(prefix) :]: values for name, values in arrays.items() if name.startswith(prefix)}
