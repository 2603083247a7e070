"""Names that a dashboard's definition uses, and names that a run has logged."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.helpers import wandb_records


def used_names(value: Any) -> Iterator[str]:
    """Names in the plain data of a workspace or a report: of metrics as they are, ``config:a`` and ``picture:a``."""
    if isinstance(value, list):
        for inner in value:
            yield from used_names(inner)
    if not isinstance(value, dict):
        return
    yield from value.get("metrics", [])
    yield from (f"picture:{key}" for key in value.get("mediaKeys", []))
    if isinstance(value.get("xAxis"), str):
        yield value["xAxis"]
    if isinstance(value.get("groupBy"), str):
        yield f"config:{value['groupBy'].removesuffix('.value')}"
    for key in value.get("grouping", []):
        if key["section"] == "config":
            yield f"config:{key['name'].removesuffix('.value')}"
    for column in value.get("columnPinned", {}):
        section, _, name = column.partition(":")
        if section == "summary":
            yield name
        elif section == "config":
            yield f"config:{name.removesuffix('.value')}"
    for inner in value.values():
        yield from used_names(inner)


def logged_names(folder: Path) -> set[str]:
    """Names of everything in the folder of an offline W&B run, in the notation of :func:`used_names`."""
    found = {"_runtime"}
    for kind in ("history", "summary"):
        for record in wandb_records(folder, kind):
            found |= set(record.get("item", record.get("update", {})))
    found |= {f"picture:{name.removesuffix('.filenames')}" for name in found if name.endswith(".filenames")}
    for record in wandb_records(folder, "config"):
        found |= {f"config:{name}" for name in record["update"]}
    for record in wandb_records(folder, "stats"):
        found |= {f"system/{name}" for name in record["item"]}
    return found
