"""Detect the vanishing directions of the frames of a data set and store them in a file.

``python -m tools.vanishing --data experiments/data/rooms_video.yaml --out vanishing.h5 --settings.min_length 0.05``

Every frame of the chosen splits is read once, at full size and unaugmented. If its lines determine no Manhattan frame,
zeros are stored. The same command continues an interrupted run.
"""

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
from lightning.pytorch import LightningDataModule
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from datamodules.base import LoaderDataModule, Split
from datamodules.preprocessing.vanishing import VanishingSettings, vanishing_directions
from datamodules.samples.frame import FrameSource
from lightning_modules.command_line.parsers import SettingsParser
from structures.label_store import LabelStore
from structures.label_writer import LabelWriter
from structures.output_paths import check_output_file
from tools.command import data_parser, run_tool

TEACHER = "lines: LSD, two-line search, refined"


def _parser() -> SettingsParser:
    parser = data_parser("tools.vanishing", __doc__)
    parser.add_argument("--out", type=Path, required=True, help="file to write (.h5)")
    parser.add_argument("--split", nargs="+", choices=get_args(Split), default=["train"], help="splits of the frames")
    parser.add_class_arguments(VanishingSettings, "settings", help="constants of the search")
    return parser


def write_directions(
    sources: list[FrameSource], out: Path, settings: VanishingSettings, *, content_key: str | None = None
) -> int:
    """Store the directions of the frames that are missing in a file.

    Args:
        sources: Frames with unique names.
        out: The file; it is not changed if it is finished and complete.
        settings: Constants of the search.
        content_key: Key of the frames' content, see :class:`datamodules.base.LoaderDataModule`.

    Returns:
        Number of new frames.

    Raises:
        ValueError: If two frames have the same name, the file was made with other settings, or a finished file lacks
            some of the frames.
    """
    frames = [(source, index) for source in sources for index in range(len(source))]
    columns = (TextColumn("vanishing directions"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    new = 0
    names: set[str] = set()
    kept = dataclasses.asdict(settings) | ({} if content_key is None else {"data": content_key})
    with (
        LabelWriter(out, kind="vanishing", teacher=TEACHER, settings=kept) as writer,
        Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress,
    ):
        for source, index in progress.track(frames):
            frame = source.read(index)
            if frame.name in names:
                raise ValueError(f"two frames are called '{frame.name}', but directions are stored by name")
            names.add(frame.name)
            if frame.name not in writer:
                found = vanishing_directions(frame.image, frame.K, settings)
                writer.write(frame.name, np.zeros((3, 3)) if found is None else found)
                new += 1
        writer.finish()
    return new


def main(args: list[str] | None = None) -> int:
    """Detect and store vanishing directions.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, 1 with one sentence if data or file cannot be used, 2 for a wrong call.
    """
    parser = _parser()

    def work(config: Any) -> None:
        check_output_file(config.out)
        init = parser.instantiate(config)
        run(init.data, config.out, splits=config.split, settings=init.settings)

    return run_tool(parser, work, args)


def run(data: LightningDataModule, out: Path, *, splits: list[Split], settings: VanishingSettings) -> None:
    """Store the directions of the chosen splits and print a summary.

    Raises:
        ValueError: If data or file cannot be used.
        OSError: If a file cannot be read or written.
    """
    started = time.perf_counter()
    if not isinstance(data, LoaderDataModule):
        raise ValueError(f"{type(data).__name__} has no splits: choose a data module of images with depth")
    data.prepare_data()
    cv2.setNumThreads(0)
    new = write_directions([data.make_source(split) for split in splits], out, settings, content_key=data.content_key)
    store = LabelStore(out, kind="vanishing")
    failed = sum(not store.read(name).any() for name in store.names)
    sys.stdout.write(
        f"{out}: directions of {len(store) - failed} of {len(store)} frames, none in {failed} "
        f"({100 * failed / len(store):.1f} %); {new} new frames in {time.perf_counter() - started:.1f} s\n"
    )


if __name__ == "__main__":
    sys.exit(main())
