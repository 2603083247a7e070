"""The JSON files of a folder of shards: reading with checks, because they may come from strangers.

- ``shards.json`` describes the data set. It is written last, so a folder without it is incomplete.
- ``<split>/index.json`` is litdata's list of the shards of a split.
- ``<split>/samples.json`` holds what is known of each sample without reading it: its name, the frames of a clip, the
  kind of its ground truth.

litdata's index may name serializers, ``pickle`` among them, and types to import. None of that is followed: every sample
is one string of bytes, and an index that says otherwise is refused before litdata sees it.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

Kind = Literal["depth", "video", "instances", "mixed"]
"""Kind of the samples of a folder of shards."""

DESCRIPTION, INDEX, SAMPLES = "shards.json", "index.json", "samples.json"

FORMAT = "plumbline shards 1"

LEAF = '[1, {"type": null, "context": null, "children_spec": []}]'
"""litdata's notation for samples that are no container."""

_FILE_NAME = re.compile(r"chunk-\d+-\d+\.bin")
_IDENTITY = re.compile(r"[0-9a-f]{16}")
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Shard:
    """One file of samples.

    Attributes:
        name: File name in the folder of the split.
        size: Bytes of the file.
        samples: Number of samples.
    """

    name: str
    size: int
    samples: int


@dataclass(frozen=True)
class Description:
    """Content of ``shards.json``.

    Attributes:
        identity: 16 hexadecimal digits, drawn when writing began.
        kind: Kind of the samples.
        splits: Splits that were written.
        val_is_test: Whether validation runs on the test split, which is then stored once.
        content_key: Key of the content of the data that were written, or None.
        values: What one kind adds: the window of clips, the class names of instances, and so on.
    """

    identity: str
    kind: Kind
    splits: tuple[str, ...]
    val_is_test: bool = False
    content_key: str | None = None
    values: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        return {
            "format": FORMAT,
            "identity": self.identity,
            "kind": self.kind,
            "splits": list(self.splits),
            "val_is_test": self.val_is_test,
            "content_key": self.content_key,
            "values": self.values,
        }


def read_json(path: Path, where: str) -> dict[str, Any]:
    """Return the object of a JSON file.

    Args:
        path: The file.
        where: Name of the file in messages: its path or address.

    Raises:
        ValueError: If the file holds something else, or is torn.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is torn or no JSON ({error}): copy or write the shards again.") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{where} holds a {type(content).__name__}, but an object is expected: write the shards again."
        )
    return content


def read_description(path: Path, where: str) -> Description:
    """Return the checked description of a folder of shards.

    Args:
        path: A local copy of ``shards.json``.
        where: Its name in messages.

    Raises:
        ValueError: If it is of another format, or a value has another type.
    """
    content = read_json(path, where)
    if content.get("format") != FORMAT:
        raise ValueError(f"{where} has the format {content.get('format')!r}, but '{FORMAT}' is read: write it again.")
    identity, kind, splits = content.get("identity"), content.get("kind"), content.get("splits")
    key, values = content.get("content_key"), content.get("values")
    valid = (
        isinstance(identity, str)
        and _IDENTITY.fullmatch(identity) is not None
        and kind in get_args(Kind)
        and isinstance(splits, list)
        and all(split in SPLITS for split in splits)
        and isinstance(content.get("val_is_test"), bool)
        and (key is None or isinstance(key, str))
        and isinstance(values, dict)
    )
    if not valid:
        raise ValueError(f"{where} lacks a value or holds one of a wrong type: write the shards again (make shards).")
    return Description(
        identity=cast(str, identity),
        kind=cast(Kind, kind),
        splits=tuple(cast("list[str]", splits)),
        val_is_test=bool(content["val_is_test"]),
        content_key=key,
        values=cast("dict[str, Any]", values),
    )


def read_index(path: Path, where: str) -> list[Shard]:
    """Return the checked list of the shards of a split.

    Args:
        path: A local copy of ``index.json``.
        where: Its name in messages.

    Raises:
        ValueError: If samples are stored as anything but bytes (a pickle runs code when it is read), if a file name
            leads out of the folder, or if a number is invalid.
    """
    content = read_json(path, where)
    config, chunks = content.get("config"), content.get("chunks")
    if not isinstance(config, dict) or not isinstance(chunks, list) or not chunks:
        raise ValueError(f"{where} lists no shards: write them again (make shards).")
    if config.get("data_format") != ["bytes"] or config.get("data_spec") != LEAF:
        raise ValueError(
            f"{where} declares samples of the type {config.get('data_format')!r}, but only plain bytes are read, "
            "because other types may run code when they are read: write the shards with make shards."
        )
    for name in ("compression", "encryption"):
        if config.get(name) is not None:
            raise ValueError(f"{where} declares the {name} {config[name]!r}, which is not read: use make shards.")
    shards = [_shard(chunk, where) for chunk in chunks]
    if len({shard.name for shard in shards}) != len(shards):
        raise ValueError(f"{where} lists a shard twice: write the shards again (make shards).")
    return shards


def _shard(chunk: object, where: str) -> Shard:
    entry = chunk if isinstance(chunk, dict) else {}
    name, size, samples = entry.get("filename"), entry.get("chunk_bytes"), entry.get("chunk_size")
    if not isinstance(name, str) or _FILE_NAME.fullmatch(name) is None:
        raise ValueError(f"{where} names the file {name!r}, but shards are called chunk-0-0.bin and lie beside it.")
    if not (isinstance(size, int) and isinstance(samples, int) and 0 < samples < size < 2**32):
        raise ValueError(f"{where} gives {name} {samples!r} samples in {size!r} bytes, which cannot be.")
    return Shard(name=name, size=size, samples=samples)
