"""Find the vanishing directions of a data set's frames and keep them in a file.

``python -m tools.vanishing --data experiments/data/rooms_video.yaml --out vanishing.h5 --settings.min_length 0.05``

Every frame of the chosen splits is seen once, at its full size and unaugmented. Where no Manhattan frame can be told
from its lines, zeros are kept. A run that was stopped is continued by the same command.
"""

import dataclasses
import sys
import time
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
from jsonargparse import ArgumentError
from lightning.pytorch import LightningDataModule
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from datamodules.base import LoaderDataModule, Split
from datamodules.preprocessing.vanishing import VanishingSettings, vanishing_directions
from datamodules.samples.frame import FrameSource
from lightning_modules.command_line.parsers import SettingsParser
from lightning_modules.runs.loading import innermost_reason
from structures.label_store import LabelStore
from structures.label_writer import LabelWriter
from structures.output_paths import check_output_file

TEACHER = "lines: LSD, two-line search, refined"


def _parser() -> SettingsParser:
    parser = SettingsParser(
        prog="python -m tools.vanishing", description=(__doc__ or "").split("\n\n")[0], exit_on_error=False
    )
    parser.add_subclass_arguments(LightningDataModule, "data", required=True)
    parser.add_argument("--out", type=Path, required=True, help="file to write (.h5)")
    parser.add_argument("--split", nargs="+", choices=get_args(Split), default=["train"], help="whose frames")
    parser.add_class_arguments(VanishingSettings, "settings", help="constants of the search")
    return parser


def write_directions(
    sources: list[FrameSource], out: Path, settings: VanishingSettings, *, content_key: str | None = None
) -> int:
    """Store the directions of the frames that a file lacks.

    Args:
        sources: Frames whose names are all different.
        out: The file; nothing is done where it is finished and holds all of them.
        settings: Constants of the search.
        content_key: What the data module says of its frames.

    Returns:
        How many frames were seen now.

    Raises:
        ValueError: If two frames have one name, or the file was made with other settings or is finished without some
            of the frames.
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
                raise ValueError(f"two frames are called '{frame.name}', but directions are kept by name")
            names.add(frame.name)
            if frame.name not in writer:
                found = vanishing_directions(frame.image, frame.K, settings)
                writer.write(frame.name, np.zeros((3, 3)) if found is None else found)
                new += 1
        writer.finish()
    return new


def main(args: list[str] | None = None) -> int:
    """Find and store vanishing directions.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, 1 with one sentence if something is wrong with data or file, 2 for a wrong call.
    """
    parser = _parser()
    try:
        config = parser.parse_args(args)
    except ArgumentError as error:
        sys.stderr.write(f"error: {innermost_reason(error)}\n")
        return 2
    started = time.perf_counter()
    try:
        check_output_file(config.out)
        init = parser.instantiate(config)
        data: LightningDataModule = init.data
        if not isinstance(data, LoaderDataModule):
            raise ValueError(f"{type(data).__name__} has no splits: choose a data module of images with depth")
        data.prepare_data()
        cv2.setNumThreads(0)
        sources = [data.make_source(split) for split in config.split]
        new = write_directions(sources, config.out, init.settings, content_key=data.content_key)
        store = LabelStore(config.out, kind="vanishing")
        failed = sum(not store.read(name).any() for name in store.names)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {innermost_reason(error)}\n")
        return 1
    sys.stdout.write(
        f"{config.out}: directions of {len(store) - failed} of {len(store)} frames, none in {failed} "
        f"({100 * failed / len(store):.1f} %); {new} frames now, in {time.perf_counter() - started:.1f} s\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
