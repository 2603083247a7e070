"""The validation samples of a run as coloured pictures with their ranges, and its other pictures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from renderers.display import colorize, depth_range, error_map, to_uint8
from structures.sample_file import SampleRecord, read_samples
from tools.report.assets import Assets
from tools.report.clouds import cloud_of
from tools.report.runs import ReportedRun

MAX_RELATIVE = 0.5
"""Relative error of the full colour of an error map."""
_PICTURE_WIDTH = 1000
_STAGES = ("val", "test")


def samples_of(run: ReportedRun, assets: Assets) -> list[dict[str, Any]]:
    """The kept samples of a run, their pictures stored in ``assets``; a damaged file is a problem of the run."""
    merged: dict[str, tuple[SampleRecord, dict[str, Any]]] = {}
    folder = run.folder / "samples"
    stage = next((stage for stage in _STAGES if list(folder.glob(f"*_{stage}.npz"))), None)
    for path in sorted(folder.glob(f"*_{stage}.npz")) if stage else []:
        try:
            found, about = read_samples(path)
        except (ValueError, OSError) as error:
            run.problems.append(" ".join(str(error).split()).replace(str(run.folder) + "/", ""))
            continue
        for sample in found:
            earlier = merged.get(sample.name)
            if earlier is None or sample.before is not None:
                merged[sample.name] = (sample, about)
            elif sample.panels:  # boxes and masks beside the depth of the same image
                merged[sample.name] = (replace(earlier[0], panels={**earlier[0].panels, **sample.panels}), earlier[1])
    return [_drawn(sample, about, assets) | {"stage": stage} for sample, about in merged.values()]


def _drawn(sample: SampleRecord, about: dict[str, Any], assets: Assets) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": sample.name,
        "scores": {name: _short(value) for name, value in sample.scores.items()},
        "step": about["step"],
        "unit": about["unit"],
        "image": assets.add_picture(sample.image),
        "size": list(sample.image.shape[:2]),
        "panels": [[title, assets.add_picture(panel)] for title, panel in sample.panels.items()],
    }
    if sample.prediction is None:
        return entry
    prediction, truth = _tensor(sample.prediction), None if sample.truth is None else _tensor(sample.truth)
    near, far = depth_range(prediction if truth is None else truth)

    def picture(depth: torch.Tensor) -> str:
        return assets.add_picture(to_uint8(colorize(depth, near_m=near, far_m=far)[0]).numpy())

    entry["range"] = [_short(float(near)), _short(float(far))]
    entry["prediction"] = picture(prediction)
    if truth is not None:
        entry["truth"] = picture(truth)
        errors = error_map(prediction, target=truth, mask=truth > 0, max_relative=MAX_RELATIVE)
        entry["error"] = assets.add_picture(to_uint8(errors[0]).numpy())
    if sample.before is not None:
        entry["before"] = picture(_tensor(sample.before))
    entry["cloud"] = cloud_of(sample, assets)
    return entry


def pictures_of(run: ReportedRun, assets: Assets) -> list[dict[str, str]]:
    """The last picture of each kind in ``pictures/``, reduced; used for runs without kept samples."""
    newest: dict[str, Path] = {}
    for path in sorted((run.folder / "pictures").glob("*.png"), key=lambda path: (path.stat().st_mtime, path.name)):
        kind = path.stem.partition("step_")[0].removesuffix("test").removesuffix("validate")
        newest[kind] = path
    entries = []
    for path in newest.values():
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if pixels is None:
            run.problems.append(f"pictures/{path.name} is no picture")
            continue
        entries.append({"name": path.name, "picture": assets.add_picture(_fitted(pixels[..., ::-1]), quality=70)})
    return entries


def _fitted(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    factor = min(1.0, _PICTURE_WIDTH / max(pixels.shape[:2]))
    size = (max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


def _tensor(depth: npt.NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.asarray(depth, dtype=np.float32))[None, None]


def _short(value: float) -> float:
    return float(f"{value:.4g}")
