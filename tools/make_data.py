"""``make data``: make the embedded data set, or check another one, without training.

``python -m tools.make_data [--data experiments/data/nyuv2_labeled.yaml] [--data.init_args.root /path]``
"""

import sys
import time
from pathlib import Path

from lightning.pytorch import LightningDataModule

from lightning_modules.command_line.parsers import SettingsParser
from lightning_modules.loading import innermost_reason

ROOMS = Path(__file__).parents[1] / "experiments" / "data" / "rooms.yaml"


def main(args: list[str] | None = None) -> int:
    """Prepare the data, open every split and count its samples.

    Returns:
        0, or 1 with one sentence if the data cannot be used.
    """
    parser = SettingsParser(description=__doc__)
    parser.add_subclass_arguments(LightningDataModule, "data", required=True)
    words = sys.argv[1:] if args is None else args
    if not any(word == "--data" or word.startswith("--data=") for word in words):
        words = ["--data", str(ROOMS), *words]
    config = parser.parse_args(words)
    started = time.monotonic()
    try:
        data: LightningDataModule = parser.instantiate(config).data
        data.prepare_data()
        for stage in ("fit", "test"):
            data.setup(stage)
        counts = {split: len(getattr(data, f"{split}_dataloader")().dataset) for split in ("train", "val", "test")}
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {innermost_reason(error)}\n")
        return 1
    summary = ", ".join(f"{count} {split}" for split, count in counts.items())
    sys.stdout.write(f"{type(data).__name__}: {summary} samples, ready after {time.monotonic() - started:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
