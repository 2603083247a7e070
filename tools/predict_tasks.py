"""What ``tools.predict`` does with each kind of network: how images meet it, who writes, which flags make no sense."""

import argparse
from typing import Literal

from lightning.pytorch import LightningModule

from lightning_modules.callbacks.class_map_writer import ClassMapWriter
from lightning_modules.callbacks.instance_writer import InstancePredictionWriter
from lightning_modules.callbacks.prediction_writer import ColourRange, DepthPredictionWriter
from lightning_modules.tasks.instance_segmentation import InstanceSegmentationModule
from lightning_modules.teachers.segmenter import Segmenter

Task = Literal["depth", "instances", "classes"]
Writer = DepthPredictionWriter | InstancePredictionWriter | ClassMapWriter

SCORE_THRESHOLD = 0.3
"""Least score of the instances that are written, where the user names none."""

_A_LITTLE_LESS = 1 - 1e-6
"""So that rounding leaves out no instance whose score is the threshold."""

SUFFIXES: dict[Task, tuple[str, ...]] = {
    "depth": ("_depth.png", "_color.png", "_panel.png", "_side.png", ".ply"),
    "instances": ("_instances.png", "_instances.json", "_masks.png"),
    "classes": ("_labels.png", "_color.png", "_panel.png"),
}
"""What the names of the results end in."""

SUMMARIES: dict[Task, str] = {"depth": "", "instances": "results.json", "classes": "classes.json"}
"""The file that holds something of all images."""

_OWN_FLAGS: dict[Task, tuple[str, ...]] = {
    "depth": ("field_of_view", "k", "calibration", "ply", "range", "flip"),
    "instances": ("score_threshold",),
    "classes": (),
}
"""Flags that only one kind of network can follow."""

_FINDS: dict[Task, str] = {"depth": "depth", "instances": "instances", "classes": "classes of pixels"}


def task_of(module: LightningModule) -> Task:
    """What a network predicts."""
    if isinstance(module, InstanceSegmentationModule):
        return "instances"
    return "classes" if isinstance(module, Segmenter) else "depth"


def refuse_foreign_flags(options: argparse.Namespace, task: Task, source: str) -> None:
    """Make sure that no flag asks for what a network of this kind cannot give.

    Args:
        options: Of the call; a flag that was not given is None or False.
        task: What the network predicts.
        source: Its checkpoint or name, for the message.

    Raises:
        ValueError: If there is such a flag.
    """
    foreign = [
        f"--{flag.replace('_', '-')}"
        for other, flags in _OWN_FLAGS.items()
        if other != task
        for flag in flags
        if getattr(options, flag) not in (None, False)
    ]
    if foreign:
        raise ValueError(
            f"'{source}' predicts {_FINDS[task]}, so there is nothing that {' and '.join(foreign)} could change: leave "
            f"{'it' if len(foreign) == 1 else 'them'} out"
        )


def make_writer(options: argparse.Namespace, module: LightningModule) -> Writer:
    """The callback that writes what a network predicts; one of instances is told which of them are wanted.

    Raises:
        ValueError: If a number is out of its range.
    """
    output = str(options.output)
    if isinstance(module, Segmenter):
        return ClassMapWriter(output, panel=options.panel)
    if isinstance(module, InstanceSegmentationModule):
        threshold = SCORE_THRESHOLD if options.score_threshold is None else options.score_threshold
        writer = InstancePredictionWriter(
            output, draw_score=threshold, pictures=options.panel, score_threshold=threshold, per_image=True
        )
        # Masks of the others need not be computed. The module's threshold is one of probability times quality, of
        # which a score is the square root.
        module.score_threshold = threshold**2 * _A_LITTLE_LESS
        return writer
    return DepthPredictionWriter(output, panel=options.panel, ply=options.ply, colour_range=colour_range(options.range))


def colour_range(words: list[str] | None) -> ColourRange:
    """What ``--range`` asks for: two numbers in metres, or one of ``image``, ``video`` and ``all``.

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


def say_ranges(writer: Writer) -> str:
    """A line for each depth range that several images share; empty where none do."""
    if not isinstance(writer, DepthPredictionWriter):
        return ""
    if not isinstance(writer.colour_range, str):
        near, far = writer.colour_range
        return f"colours from {near:g} m (bright) to {far:g} m (dark), as asked for\n"
    return "".join(
        f"{f'video {name}' if name else 'all images'}: colours from {near:.3g} m (bright) to {far:.3g} m (dark)\n"
        for name, (near, far) in writer.ranges.items()
    )
