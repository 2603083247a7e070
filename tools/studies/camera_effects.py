"""Magnitudes of the effects of a camera in the frames of a video.

``python -m tools.studies.camera_effects FOLDER [--limit N]``

FOLDER holds the frames of one video as images, in the order of their names. The study prints what
:class:`~datamodules.samples.camera.CameraEffects` takes:

- **Exposure and white balance**: changes over 1 to 16 frames. Exposure is the gain of green, white balance that of red
  and blue relative to green. The changes over 16 frames give the standard deviation inside of a video.
- **Noise**: variance by intensity. A line gives shot noise (slope) and read noise (root of the value at black).
- **Motion blur**: the time for which the shutter is open, as a fraction of the time between frames.
- **JPEG**: the quality whose quantisation tables are those of the files.

``tools/studies/camera_measures.py`` has the methods. Light is decoded by the curve of sRGB, since the file does not
hold that of the camera.
"""

import argparse
import io
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from datamodules.files.natural_order import sort_naturally
from tools.command import plain_parser, run_tool
from tools.studies.camera_measures import (
    LAGS,
    Floats,
    edge_widths,
    fit_noise,
    fit_shutter,
    log_gains,
    match,
    noise_samples,
    rms_changes,
)

SUFFIXES = (".jpg", ".jpeg", ".png")
SAMPLINGS = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}


def jpeg_quality(path: Path) -> tuple[int, str] | None:
    """Return quality and sampling of the colours of a JPEG file; None for another format.

    The quality is the one whose quantisation tables are closest to those of the file.
    """
    with Image.open(path) as image:
        tables = getattr(image, "quantization", None)
        if not tables:
            return None
        layers = getattr(image, "layer", [])
    wanted = np.array(tables[0], dtype=np.float64)
    distances = []
    for quality in range(1, 101):
        buffer = io.BytesIO()
        Image.new("L", (8, 8)).save(buffer, "JPEG", quality=quality)
        with Image.open(buffer) as sample:
            distances.append(float(np.abs(np.array(sample.quantization[0]) - wanted).sum()))  # type: ignore[attr-defined]
    sampling = SAMPLINGS.get(tuple(layers[0][1:3]), "other") if len(layers) > 1 else "none"
    return int(np.argmin(distances)) + 1, sampling


def report(paths: Sequence[Path]) -> str:
    """Return the magnitudes of all effects in the frames of a video.

    Args:
        paths: The frames, in order.

    Raises:
        ValueError: If there are too few frames, pixels or edges.
        OSError: If a file is no image.
    """
    if len(paths) < 3:
        raise ValueError(f"{len(paths)} frames were found, but at least 3 are needed.")
    steps: list[npt.NDArray[np.float64]] = []
    intensities: list[Floats] = []
    deviations: list[Floats] = []
    across: list[Floats] = []
    widths: list[Floats] = []
    motions: list[float] = []
    previous = _read(paths[0])
    for path in paths[1:]:
        image = _read(path)
        if image.shape != previous.shape:
            raise ValueError(f"{path} has another size than the frame before it; a video has one size.")
        pair = match(previous, image)
        gains = log_gains(pair)
        steps.append(np.full(3, np.nan) if gains is None else gains)
        for target, values in zip((intensities, deviations), noise_samples(pair), strict=True):
            target.append(values)
        for target, values in zip((across, widths), edge_widths(pair), strict=True):
            target.append(values)
        motions.append(float(np.median(np.hypot(pair.flow[..., 0], pair.flow[..., 1]))))
        previous = image
    width = previous.shape[1]
    gain = np.stack(steps)
    lines = [f"{len(paths)} frames of {width}x{previous.shape[0]}"]
    named = {"exposure": gain[:, 1:2], "white balance": np.delete(gain - gain[:, 1:2], 1, axis=1)}
    for name, series in named.items():
        found = [
            np.sqrt(np.mean(np.square(column))) for column in zip(*(rms_changes(v) for v in series.T), strict=True)
        ]
        shown = ", ".join(f"{value:.4f} over {lag}" for lag, value in zip(LAGS, found, strict=True))
        lines.append(f"{name}: root mean square change, in stops: {shown} frames")
        largest = float(np.nanpercentile(np.abs(series), 95))
        longest = max((value for value in found if math.isfinite(value)), default=math.nan)
        lines.append(f"  95 % of the steps below {largest:.4f}; inside of a video: {longest / math.sqrt(2):.4f}")
    bins, shot, read = fit_noise(np.concatenate(intensities), np.concatenate(deviations))
    lines.append(f"noise: variance = {read:.5f}^2 + {shot:.6f} * linear light")
    lines += [f"  at {centre:.3f}: standard deviation {sigma:.5f} ({n} values)" for centre, sigma, n in bins]
    shutter, sharp = fit_shutter(np.concatenate(across), np.concatenate(widths))
    motion = float(np.median(motions))
    lines.append(
        f"motion: median {motion:.2f} px a frame ({motion / width:.4f} of the width); blur: shutter {shutter:.3f} of "
        f"the time between frames, {shutter * motion:.2f} px; a resting edge is {sharp:.2f} px wide"
    )
    quality = jpeg_quality(paths[0])
    lines.append("JPEG: none" if quality is None else f"JPEG: quality {quality[0]}, colours {quality[1]}")
    return "\n".join(lines) + "\n"


def _read(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)


def run(options: argparse.Namespace) -> None:
    """Print the magnitudes of the effects.

    Raises:
        ValueError: If the folder has too few images.
        OSError: If it cannot be read.
    """
    if options.limit < 3:
        raise ValueError(f"--limit is {options.limit}, but at least 3 frames are needed.")
    paths = [path for path in options.folder.iterdir() if path.suffix.lower() in SUFFIXES]
    sys.stdout.write(report(sort_naturally(paths)[: options.limit]))


def main(args: list[str] | None = None) -> int:
    """Print the magnitudes of the effects of a camera.

    Returns:
        0, 1 with one sentence if the frames cannot be used, 2 for a wrong call.
    """
    parser = plain_parser("tools.studies.camera_effects", __doc__)
    parser.add_argument("folder", type=Path, help="folder of the frames of one video")
    parser.add_argument("--limit", type=int, default=100_000, help="largest number of frames (default: all)")
    return run_tool(parser, run, args)


if __name__ == "__main__":
    sys.exit(main())
