"""The part of ``tools.predict`` that depends on the task of the network: its writer, its files and its flags."""

import argparse
from functools import partial
from typing import Literal

from lightning.pytorch import LightningModule

from lightning_modules.callbacks.class_map_writer import ClassMapWriter
from lightning_modules.callbacks.instance_writer import InstancePredictionWriter
from lightning_modules.callbacks.prediction_writer import ColourRange, DepthPredictionWriter
from lightning_modules.tasks.instance_segmentation import InstanceSegmentationModule
from lightning_modules.teachers.segmenter import Segmenter
from renderers.depth_figure import RELATIVE

Task = Literal["depth", "instances", "classes"]
Writer = DepthPredictionWriter | InstancePredictionWriter | ClassMapWriter

SCORE_THRESHOLD = 0.3
"""Default of the smallest score of written instances."""

_TOLERANCE = 1 - 1e-6
"""Factor on the threshold, so that rounding leaves out no instance whose score equals it."""

SUFFIXES: dict[Task, tuple[str, ...]] = {
    "depth": ("_depth.png", "_color.png", "_panel.png", "_side.png", ".ply", "_cloud.html", "_panel.mp4"),
    "instances": ("_instances.png", "_instances.json", "_masks.png", "_instances.mp4"),
    "classes": ("_labels.png", "_color.png", "_panel.png"),
}
"""Suffixes of the result files."""

SUMMARIES: dict[Task, str] = {"depth": "", "instances": "results.json", "classes": "classes.json"}
"""File with the results of all images; empty if there is none."""

_OWN_FLAGS: dict[Task, tuple[str, ...]] = {
    "depth": ("field_of_view", "k", "calibration", "ply", "html", "video", "smooth_range", "range", "flip"),
    "instances": ("score_threshold", "video"),
    "classes": (),
}
"""Flags that do not apply to every task, by the tasks to which they do."""

_PREDICTED: dict[Task, str] = {"depth": "depth", "instances": "instances", "classes": "classes of pixels"}


def task_of(module: LightningModule) -> Task:
    """Task of a network."""
    if isinstance(module, InstanceSegmentationModule):
        return "instances"
    return "classes" if isinstance(module, Segmenter) else "depth"


def refuse_foreign_flags(options: argparse.Namespace, task: Task, source: str) -> None:
    """Refuse flags that do not apply to a task.

    Args:
        options: Parsed options; a flag that was not given is None or False.
        task: Task of the network.
        source: Checkpoint or name of the network, for the message.

    Raises:
        ValueError: If a flag of another task is given.
    """
    of_others = [flag for other, flags in _OWN_FLAGS.items() if other != task for flag in flags]
    foreign = [
        f"--{flag.replace('_', '-')}"
        for flag in dict.fromkeys(of_others)
        if flag not in _OWN_FLAGS[task] and getattr(options, flag) not in (None, False)
    ]
    if foreign:
        raise ValueError(
            f"'{source}' predicts {_PREDICTED[task]}, to which {' and '.join(foreign)} "
            f"{'does' if len(foreign) == 1 else 'do'} not apply: leave {'it' if len(foreign) == 1 else 'them'} out"
        )


def make_writer(
    module: LightningModule,
    output: str,
    *,
    panel: bool = True,
    ply: bool = False,
    html: bool = False,
    shared_range: ColourRange = "video",
    video: bool = False,
    smooth_frames: float = 0,
    metric: bool | None = None,
    score_threshold: float = SCORE_THRESHOLD,
) -> Writer:
    """The callback that writes the predictions of a network.

    Args:
        module: The network.
        output: Folder of the results.
        panel: Whether to draw pictures.
        ply: Whether to write point clouds of depth.
        html: Whether to write interactive pages of them.
        shared_range: Range of the colours of depth.
        video: Whether to write a video for each video.
        smooth_frames: See :class:`DepthPredictionWriter`.
        metric: Whether depth is in metres; None takes it from the network.
        score_threshold: Smallest score of written instances.

    Raises:
        ValueError: If a number is out of range.
        ImportError: If a page needs the package plotly, and it is missing.
    """
    if isinstance(module, Segmenter):
        return ClassMapWriter(output, panel=panel)
    if isinstance(module, InstanceSegmentationModule):
        return InstancePredictionWriter(
            output,
            draw_score=score_threshold,
            pictures=panel,
            score_threshold=score_threshold,
            per_image=True,
            video=video,
        )
    writer = DepthPredictionWriter(
        output,
        panel=panel,
        ply=ply,
        colour_range=shared_range,
        video=video,
        smooth_frames=smooth_frames,
        metric=metric,
    )
    if html:
        from tools.report.cloud_page import write_cloud_page  # plotly is optional
        from tools.report.page import plotly_library

        plotly_library()  # refused before the prediction if it is missing
        known = getattr(module, "scale_known", True) if metric is None else metric
        writer.cloud_page = partial(write_cloud_page, unit="m" if known else RELATIVE)
    return writer


def set_score_threshold(module: LightningModule, threshold: float) -> None:
    """Let a network predict instances of at least this score; other networks are left as they are.

    Raises:
        ValueError: If the threshold is outside of [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"score_threshold is {threshold}, but must lie in [0, 1]")
    if isinstance(module, InstanceSegmentationModule):
        # Masks of lower scores need not be computed. The module's threshold applies to probability times quality, and
        # the score is the square root of this product.
        module.score_threshold = threshold**2 * _TOLERANCE


def colour_range(words: list[str] | None) -> ColourRange:
    """Value of ``--range``: near and far in metres, or one of ``image``, ``video`` and ``all``.

    Raises:
        ValueError: If it is neither.
    """
    if words is None:
        return "video"
    if len(words) == 1 and words[0] in ("image", "video", "all"):
        return words[0]  # type: ignore[return-value]  # it is one of the literals
    try:
        near, far = map(float, words)  # another number of words fails here too
    except ValueError as error:
        raise ValueError(
            f"--range is '{' '.join(words)}', but two depths in metres (--range 0.5 8), or one of image, video and all "
            "is needed"
        ) from error
    return near, far


def range_lines(writer: Writer) -> str:
    """A line for each depth range that several images share; empty without any."""
    if not isinstance(writer, DepthPredictionWriter):
        return ""
    if not isinstance(writer.colour_range, str):
        near, far = writer.colour_range
        return f"colours from {near:g} m (bright) to {far:g} m (dark), as given\n"
    return "".join(
        f"{f'video {name}' if name else 'all images'}: colours from {near:.3g} m (bright) to {far:.3g} m (dark)\n"
        for name, (near, far) in writer.ranges.items()
    )
