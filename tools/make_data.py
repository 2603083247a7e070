"""``make data``: make the embedded data set, or check another one, without training.

``python -m tools.make_data [--data experiments/data/nyuv2_labeled.yaml] [--data.init_args.root /path] [--limit N]``

Every frame that training, validation and test would read is read once: image, depth, mask, camera, labels. Broken ones
are counted and the first named; the cameras are judged, and what the depth looks like is printed with the likely unit
where it cannot be metres.
"""

import sys
import time
from pathlib import Path

from lightning.pytorch import LightningDataModule

from datamodules.base import Split
from datamodules.depth_list import DepthListDataModule
from lightning_modules.command_line.parsers import SettingsParser
from lightning_modules.runs.loading import innermost_reason
from tools.data_survey import report, survey

ROOMS = Path(__file__).parents[1] / "experiments" / "data" / "rooms.yaml"


def main(args: list[str] | None = None) -> int:
    """Prepare the data, open every split, and read its frames.

    Returns:
        0, or 1 with a sentence for each reason why the data cannot be used.
    """
    parser = SettingsParser(description=__doc__)
    parser.add_subclass_arguments(LightningDataModule, "data", required=True)
    parser.add_argument(
        "--limit", type=int | None, help="frames of each split that are read, evenly over it; null: all"
    )
    words = sys.argv[1:] if args is None else args
    if not any(word == "--data" or word.startswith("--data=") for word in words):
        words = ["--data", str(ROOMS), *words]
    config = parser.parse_args(words)
    if config.limit is not None and config.limit < 0:
        sys.stderr.write(f"error: --limit is {config.limit}, but has to be at least 0, or null for all frames\n")
        return 2
    started = time.monotonic()
    try:
        data: LightningDataModule = parser.instantiate(config).data
        data.prepare_data()
        splits: tuple[Split, ...] = ("test",) if isinstance(data, DepthListDataModule) else ("train", "val", "test")
        for stage in ("fit", "test") if "train" in splits else ("test",):
            data.setup(stage)
        found = survey(data, limit=config.limit)
        counts = {split: len(getattr(data, f"{split}_dataloader")().dataset) for split in splits}
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {innermost_reason(error)}\n")
        return 1
    lines, useless = report(found, data)
    sys.stderr.writelines(f"{line}\n" for line in lines)
    summary = ", ".join(f"{count} {split}" for split, count in counts.items())
    seconds = time.monotonic() - started
    state = f"{len(found.broken)} broken" if found.broken else "ready" if not useless else "not usable"
    sys.stdout.write(
        f"{type(data).__name__}: {summary} samples, {found.read} frames read, {state} after {seconds:.0f} s\n"
    )
    return 1 if useless else 0


if __name__ == "__main__":
    sys.exit(main())
