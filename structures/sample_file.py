"""Files with the few validation samples that a run keeps, so that runs can be compared on the same images.

A file is an ``.npz`` without pickled objects: an entry ``about`` with names and scores in JSON, and the arrays of each
sample. Images are at most :data:`LARGEST_SIDE` pixels wide and high, so that a file stays below a megabyte.
"""

import io
import json
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from structures.files import write_atomically

LARGEST_SIDE = 256
"""Longest side of a stored image, pixels."""

_MAPS = ("truth", "prediction", "before")
_LARGEST_DEPTH_M = 60000.0  # float16 ends at 65504


@dataclass(frozen=True)
class SampleRecord:
    """One validation sample with what a run predicted for it.

    Attributes:
        name: Name of the sample in its data set.
        image: uint8 ``(H, W, 3)``, RGB.
        truth: float ``(H, W)``, metres, 0 where there is no ground truth; None without any.
        prediction: float ``(H, W)``, metres (scaled to the ground truth where the scale is unknown), 0 = no value; None
            where the task has no depth.
        before: As ``prediction``, of an earlier step of the training that it is compared with; None without one.
        K: float ``(3, 3)``, intrinsics in pixels of ``image``; None where they are unknown.
        scores: Numbers of this sample, by name.
        panels: Other pictures by title, uint8 ``(h, w, 3)``, RGB.
    """

    name: str
    image: npt.NDArray[np.uint8]
    truth: npt.NDArray[Any] | None = None
    prediction: npt.NDArray[Any] | None = None
    before: npt.NDArray[Any] | None = None
    K: npt.NDArray[Any] | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    panels: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)


def write_samples(path: str | os.PathLike[str], samples: Sequence[SampleRecord], *, step: int, unit: str) -> None:
    """Write a file of samples atomically, reduced to :data:`LARGEST_SIDE`.

    Args:
        path: Target, ending in ``.npz``.
        samples: The samples.
        step: Step of the training whose weights predicted.
        unit: Unit of depth, for captions.

    Raises:
        OSError: If the file cannot be written.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    entries = []
    for index, sample in enumerate(samples):
        image = _reduced(sample.image)
        arrays[f"{index}.image"] = image
        for key in _MAPS:
            depth = getattr(sample, key)
            if depth is not None:
                arrays[f"{index}.{key}"] = _reduced_depth(depth, image.shape[:2])
        if sample.K is not None:
            factors = np.array([image.shape[1] / sample.image.shape[1], image.shape[0] / sample.image.shape[0], 1.0])
            arrays[f"{index}.K"] = (np.asarray(sample.K) * factors[:, None]).astype(np.float32)
        for position, panel in enumerate(sample.panels.values()):
            arrays[f"{index}.panel.{position}"] = _reduced(panel)
        scores = {name: float(value) for name, value in sample.scores.items() if math.isfinite(value)}
        entries.append({"name": sample.name, "scores": scores, "panels": list(sample.panels)})
    about = json.dumps({"step": step, "unit": unit, "samples": entries})
    content = io.BytesIO()
    np.savez_compressed(content, about=np.frombuffer(about.encode(), dtype=np.uint8), **arrays)  # type: ignore[arg-type]
    write_atomically(path, [content.getvalue()])


def read_samples(path: str | os.PathLike[str]) -> tuple[list[SampleRecord], dict[str, Any]]:
    """Read a file of samples.

    Returns:
        The samples, and ``step`` and ``unit`` as they were given to :func:`write_samples`.

    Raises:
        ValueError: If the file is damaged or something else.
        OSError: If it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            about = json.loads(bytes(stored["about"]))
            samples = []
            for index, entry in enumerate(about["samples"]):
                maps = {key: stored[f"{index}.{key}"] for key in (*_MAPS, "K") if f"{index}.{key}" in stored}
                panels = {title: stored[f"{index}.panel.{k}"] for k, title in enumerate(entry["panels"])}
                image = stored[f"{index}.image"]
                samples.append(
                    SampleRecord(name=entry["name"], image=image, scores=entry["scores"], panels=panels, **maps)
                )
            return samples, {"step": about["step"], "unit": about["unit"]}
    except (KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no file of validation samples, or damaged ({type(error).__name__})") from None


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    factor = min(1.0, LARGEST_SIDE / max(shape[:2]))
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def _reduced(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    height, width = _size(picture.shape)
    if (height, width) == picture.shape[:2]:
        return picture
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _reduced_depth(depth: npt.NDArray[Any], size: tuple[int, ...]) -> npt.NDArray[np.float16]:
    """Depth at the size of the image: the nearest pixel, as a mean across an edge is a depth that nothing has."""
    plain = np.nan_to_num(np.asarray(depth, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    plain = np.where(plain > _LARGEST_DEPTH_M, 0.0, plain).astype(np.float32)
    if plain.shape != tuple(size):
        plain = cv2.resize(plain, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT).astype(np.float32)
    return plain.astype(np.float16)
