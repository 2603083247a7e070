"""``make shards``: write the samples of a data module as sharded compressed streams, for clusters and object storage.

``python -m tools.shards --data experiments/data/nyuv2_raw.yaml --data.init_args.root /path --out folder``

Stores frames as they are read, before augmentation, at full size or, with ``--reduced true``, as the data module
downsamples them. An interrupted call continues when it is started again. ``DATA=shards`` (``shards_video``,
``shards_instances``, ``shards_mixed``) reads the folder, or its copy in object storage. docs/scaling.md gives sizes.
"""

import hashlib
import json
import secrets
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule

from datamodules.base import LoaderDataModule, Split
from datamodules.depth_list import DepthListDataModule
from datamodules.shards.base import ShardDataModule
from datamodules.shards.index import DESCRIPTION, Description, read_description
from datamodules.shards.stored import described_values, kind_of, stored_split
from datamodules.shards.writer import write_split
from structures.files import write_atomically
from structures.output_paths import check_output_folder
from tools.command import data_parser, few_messages, run_tool

UNFINISHED = "writing.json"
"""File of a folder that is being written: identity of the data and a hash of the settings."""

OF_READING = ("batch_size", "num_workers", "pin_memory", "cache", "augmentation")
"""Arguments of data modules that do not change what is stored."""

LARGEST_SHARD_MB = 4000.0
"""litdata stores positions in a shard as 32-bit integers."""


def write_shards(
    data: LightningDataModule, out: Path, *, settings: str, reduced: bool, shard_mb: float, workers: int
) -> str:
    """Write every split of a data module.

    Args:
        data: The data module.
        out: Folder of the shards: new, or left by an interrupted call with the same settings.
        settings: Hash of all settings that change what is stored.
        reduced: Whether to store frames as the data module downsamples them.
        shard_mb: Largest size of a shard in 1e6 bytes.
        workers: Processes that read and encode.

    Returns:
        One line for the user.

    Raises:
        ValueError: If the data module has no splits, or the folder holds something else.
        OSError: If a file cannot be read or written.
    """
    if not isinstance(data, LoaderDataModule) or isinstance(data, ShardDataModule):
        raise ValueError(f"{type(data).__name__} cannot be written as shards: it has no samples of its own.")
    if data.train_subset is not None and kind_of(data) != "mixed":
        raise ValueError(f"train_subset is {data.train_subset}, but shards hold all samples: set it to null, and again "
                         "when the shards are read.")  # fmt: skip
    check_output_folder(out)
    if (out / DESCRIPTION).is_file():
        found = read_description(out / DESCRIPTION, str(out / DESCRIPTION))
        if found.values.get("settings") != settings:
            raise ValueError(f"{out} holds shards of other settings: choose another folder, or delete it.")
        return f"{out}: complete already\n"
    identity = _identity(out, settings)
    data.cache = False
    data.prepare_data()
    splits: list[Split] = ["test"] if isinstance(data, DepthListDataModule) else ["train", "val", "test"]
    if data.val_is_test and "val" in splits:
        splits.remove("val")
    for stage in ("fit", "test") if "train" in splits else ("test",):
        data.setup(stage)
    parts, total = [], 0
    for split in splits:
        stored = stored_split(data.datasets[split], reduced=reduced)
        shards, size = write_split(
            out / split,
            stored,
            shard_bytes=int(shard_mb * 1e6),
            workers=workers,
            say=lambda line: print(line, file=sys.stderr),
        )
        parts.append(f"{split} {len(stored.items)} in {shards} shard{'' if shards == 1 else 's'}")
        total += size
    description = Description(
        identity=identity,
        kind=kind_of(data),
        splits=tuple(splits),
        val_is_test=data.val_is_test,
        content_key=data.content_key,
        values=described_values(data) | {"settings": settings},
    )
    write_atomically(out / DESCRIPTION, [json.dumps(description.to_json(), indent=1).encode()])
    (out / UNFINISHED).unlink()
    return f"{out}: {', '.join(parts)}, {total / 1e6:.1f} MB\n"


def _identity(out: Path, settings: str) -> str:
    """Return the identity of the data in a folder that is being written, drawn at the first call.

    Raises:
        ValueError: If the folder holds other files, or was begun with other settings.
    """
    path = out / UNFINISHED
    if path.is_file():
        begun = json.loads(path.read_text())
        if begun["settings"] != settings:
            raise ValueError(
                f"{out} holds the beginning of shards of other settings: repeat the first call, or delete the folder."
            )
        return str(begun["identity"])
    if any(out.iterdir()):
        raise ValueError(f"{out} is not empty: choose a new folder.")
    identity = secrets.token_hex(8)
    write_atomically(path, [json.dumps({"identity": identity, "settings": settings}).encode()])
    return identity


def settings_hash(options: Any) -> str:
    """Return a hash of the options that change what is stored."""
    chosen = options.data.as_dict()
    arguments = {name: value for name, value in chosen.get("init_args", {}).items() if name not in OF_READING}
    text = json.dumps([chosen["class_path"], arguments, options.reduced, options.shard_mb], default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def main(args: list[str] | None = None) -> int:
    """Write shards.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, 1 with a sentence if the data cannot be read or written, 2 for a wrong call.
    """
    parser = data_parser("tools.shards", __doc__)
    parser.add_argument("--out", type=str, required=True, help="folder of the shards, new or left by an interruption")
    parser.add_argument("--shard-mb", type=float, default=64.0, help="largest size of a shard in 1e6 bytes")
    parser.add_argument("--reduced", type=bool, default=False, help="store frames as the data module downsamples them")
    parser.add_argument("--workers", type=int, default=0, help="processes that read and encode samples")

    def work(options: Any) -> int:
        if not 0 < options.shard_mb <= LARGEST_SHARD_MB or options.workers < 0:
            sys.stderr.write(
                f"error: --shard-mb is {options.shard_mb:g} and --workers {options.workers}, but a shard has up to "
                f"{LARGEST_SHARD_MB:g} MB and workers are at least 0\n"
            )
            return 2
        with few_messages():
            line = write_shards(
                parser.instantiate(options).data,
                Path(options.out),
                settings=settings_hash(options),
                reduced=options.reduced,
                shard_mb=options.shard_mb,
                workers=options.workers,
            )
        sys.stdout.write(line)
        return 0

    return run_tool(parser, work, args)


if __name__ == "__main__":
    sys.exit(main())
