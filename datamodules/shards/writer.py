"""Writing of the samples of a split as litdata shards, which goes on where it was interrupted."""

import json
import os
import struct
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from datamodules.base import start_worker
from datamodules.shards.index import INDEX, SAMPLES
from datamodules.shards.stored import StoredSplit
from structures.files import write_atomically
from structures.output_paths import check_output_folder

PROGRESS = "progress.jsonl"
"""One line for each complete shard of a split that is being written."""

SECONDS_BETWEEN_LINES = 10.0

LITDATA_MISSING = "Writing shards needs litdata, which is not installed: pip install -e '.[shards]'."


def write_split(
    folder: Path, split: StoredSplit, *, shard_bytes: int, workers: int = 0, say: Callable[[str], None] | None = None
) -> tuple[int, int]:
    """Write the samples of a split; a split that is complete is left as it is.

    A shard counts as written once a line of the progress file says so, after its content reached the disk. An
    interrupted call continues with the sample after the last complete shard, and the files are the same.

    Args:
        folder: Folder of the split; it holds nothing or what an earlier call left.
        split: The samples.
        shard_bytes: Largest size of a shard, unless one sample is larger; below 4 GiB.
        workers: Processes that read and encode samples; 0 does so in this one.
        say: Takes a line about the progress every ten seconds; None says nothing.

    Returns:
        Number of shards and of their bytes.

    Raises:
        ImportError: If litdata is not installed.
        ValueError: If a shard that counts as written is missing or has another size.
        OSError: If a sample cannot be read or a shard cannot be written.
    """
    try:
        from litdata.streaming.writer import BinaryWriter
    except ImportError as error:
        raise ImportError(LITDATA_MISSING) from error
    check_output_folder(folder)
    if (folder / INDEX).is_file() and (folder / SAMPLES).is_file():
        return _total(json.loads((folder / INDEX).read_text())["chunks"])
    (folder / INDEX).unlink(missing_ok=True)  # litdata writes nothing beside a finished index
    lines = _read_progress(folder)
    start = sum(line["chunk_size"] for line in lines)
    writer = BinaryWriter(str(folder), chunk_bytes=shard_bytes, chunk_index=len(lines))
    writer.serialize(b"")  # so that the type of the samples is known if none is left to write
    loader = DataLoader(
        split.items,
        batch_size=None,
        sampler=range(start, len(split.items)),
        num_workers=workers,
        worker_init_fn=start_worker,
    )
    names: list[str] = []
    began = said = time.monotonic()
    with (folder / PROGRESS).open("a") as progress, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="An item was larger than the target chunk size")
        for index, (name, data) in enumerate(loader):
            names.append(name)
            path = writer.add_item(index, data)
            if path is not None:
                lines.append(_finish(Path(path), names, progress))
            if say is not None and time.monotonic() - said > SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                rate = (index + 1) / (said - began)
                say(f"{folder.name}: {start + index + 1} of {len(split.items)}, {rate:.3g} a second")
        for path in writer.done():
            lines.append(_finish(Path(path), names, progress))
    for rest in folder.glob(f"*.{INDEX}"):  # litdata's list of this call alone
        rest.unlink()
    chunks = [
        {name: line[name] for name in ("filename", "chunk_bytes", "chunk_size")} | {"dim": None} for line in lines
    ]
    samples = {"names": [name for line in lines for name in line["names"]], **split.samples}
    write_atomically(folder / SAMPLES, [json.dumps(samples).encode()])
    write_atomically(folder / INDEX, [json.dumps({"chunks": chunks, "config": writer.get_config()}).encode()])
    (folder / PROGRESS).unlink()
    return _total(chunks)


def _finish(path: Path, names: list[str], progress: Any) -> dict[str, Any]:
    """Flush a shard to the disk and add its line to the progress file; its names are removed from ``names``."""
    with path.open("rb") as file:
        (count,) = struct.unpack("<I", file.read(4))
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
    line = {"filename": path.name, "chunk_bytes": size, "chunk_size": count, "names": names[:count]}
    del names[:count]
    progress.write(json.dumps(line) + "\n")
    progress.flush()
    os.fsync(progress.fileno())
    return line


def _read_progress(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of the complete shards of an interrupted call, and cut off a torn last line."""
    path = folder / PROGRESS
    if not path.is_file():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_atomically(path, [whole.encode()])
    lines: list[dict[str, Any]] = [json.loads(line) for line in whole.splitlines()]
    for line in lines:
        shard = folder / line["filename"]
        size = shard.stat().st_size if shard.is_file() else 0
        if size != line["chunk_bytes"]:
            raise ValueError(
                f"{shard} has {size} bytes, but {line['chunk_bytes']} were written: delete the folder {folder} and "
                "start again."
            )
    return lines


def _total(chunks: list[dict[str, Any]]) -> tuple[int, int]:
    return len(chunks), sum(chunk["chunk_bytes"] for chunk in chunks)
