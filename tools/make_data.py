"""``make data``: make the embedded data set, or check another one, without training.

``python -m tools.make_data [--data experiments/data/nyuv2_labeled.yaml] [--data.init_args.root /path] [--limit N]``

Reads every frame of training, validation and test once: image, depth, mask, intrinsics, labels. Broken frames are
counted and the first ones listed. The intrinsics are checked. Depth statistics are printed, with the likely unit if the
values cannot be metres.
"""

import sys
import time
from collections.abc import Sized
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import LightningDataModule

from datamodules.base import Split
from datamodules.depth_list import DepthListDataModule
from lightning_modules.runs.loading import innermost_reason
from tools.command import data_parser, run_tool, with_default_data
from tools.data_survey import report, survey

ROOMS = Path(__file__).parents[1] / "experiments" / "data" / "rooms.yaml"


def run(options: Any, data: LightningDataModule) -> int:
    """Prepare the data, read the frames of every split, and print the survey.

    Args:
        options: Parsed options.
        data: The data module.

    Returns:
        0, or 1 if the data cannot be trained on.

    Raises:
        ValueError: If the data module refuses the data.
        OSError: If a file is missing or cannot be read.
    """
    started = time.monotonic()
    data.prepare_data()
    splits: tuple[Split, ...] = ("test",) if isinstance(data, DepthListDataModule) else ("train", "val", "test")
    for stage in ("fit", "test") if "train" in splits else ("test",):
        data.setup(stage)
    found = survey(data, limit=options.limit)
    lines, useless = report(found, data)
    counts: dict[Split, int] = {}
    for split in splits:
        try:
            counts[split] = len(getattr(data, f"{split}_dataloader")().dataset)
        except ValueError as error:  # fewer samples than a batch: the statistics are printed all the same
            lines.append(f"error: {innermost_reason(error)}")
            useless = True
            counts[split] = len(cast(Sized, data.datasets[split])) if hasattr(data, "datasets") else 0
    sys.stderr.writelines(f"{line}\n" for line in lines)
    summary = ", ".join(f"{count} {split}" for split, count in counts.items())
    state = f"{len(found.broken)} broken" if found.broken else "ready" if not useless else "not usable"
    sys.stdout.write(
        f"{type(data).__name__}: {summary} samples, {found.read} frames read, {state} after "
        f"{time.monotonic() - started:.0f} s\n"
    )
    return 1 if useless else 0


def main(args: list[str] | None = None) -> int:
    """Make or check data.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, 1 with a sentence for each reason why the data cannot be trained on, 2 for a wrong call.
    """
    parser = data_parser("tools.make_data", __doc__)
    parser.add_argument("--limit", type=int | None, help="largest number of frames read per split; null reads all")

    def work(options: Any) -> int:
        if options.limit is not None and options.limit < 0:
            sys.stderr.write(f"error: --limit is {options.limit}, but has to be at least 0, or null for all frames\n")
            return 2
        return run(options, parser.instantiate(options).data)

    return run_tool(parser, work, with_default_data(args, ROOMS))


if __name__ == "__main__":
    sys.exit(main())
