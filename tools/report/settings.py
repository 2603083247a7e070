"""Settings of runs as flat tables: what two runs differ in, and which runs differ in their seed alone."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tools.report.runs import ReportedRun

_PLACE = re.compile(
    r"(seed_everything|runs_dir|experiment|tags|config|ckpt_path|verbose|trainer\.logger|trainer\.default_root_dir|"
    r"trainer\.enable_\w+|trainer\.devices|trainer\.accelerator|data\.init_args\.(num_workers|n_workers|workers|root))($|\.)"
)
"""Settings that do not make another variant: names, places, seeds, progress bars."""

_TIME = re.compile(r"[\d-]+$|\d{8}-\d+")
"""Run ids that are times and name no variant."""

_SEED = re.compile(r"[._-]?(s|seed)?_?\d+$")


def flat(settings: Any, prefix: str = "") -> dict[str, str]:
    """Nested settings as ``a.b.c`` with values in JSON; lists of mappings are numbered.

    >>> flat({"model": {"lr": 0.1, "sizes": [1, 2]}, "callbacks": [{"a": None}]})
    {'model.lr': '0.1', 'model.sizes': '[1, 2]', 'callbacks.0.a': 'null'}
    """
    if isinstance(settings, Mapping) and settings:
        items = [(str(key), value) for key, value in settings.items()]
    elif isinstance(settings, list) and any(isinstance(value, Mapping) for value in settings):
        items = [(str(index), value) for index, value in enumerate(settings)]
    else:
        return {prefix: json.dumps(settings, default=str, ensure_ascii=False)}
    found: dict[str, str] = {}
    for key, value in items:
        found |= flat(value, f"{prefix}.{key}" if prefix else key)
    return found


def settings_table(runs: Sequence[ReportedRun]) -> dict[str, Any]:
    """Settings of all runs, each key and each value stored once.

    Returns:
        ``keys``, ``values``, and ``runs``: for each run the position of its value for each key, -1 for none.
    """
    tables = [flat(run.settings) if run.settings else {} for run in runs]
    keys = list(dict.fromkeys(key for table in tables for key in table))
    positions: dict[str, int] = {}
    rows = [
        [positions.setdefault(table[key], len(positions)) if key in table else -1 for key in keys] for table in tables
    ]
    return {"keys": keys, "values": list(positions), "runs": rows}


def variant_of(run: ReportedRun) -> str:
    """A short text that is equal for runs that differ in their seed alone; empty without settings.

    Weights that a run starts from are compared without the seed in their path, as each seed has its own.
    """
    if not run.settings:
        return ""
    kept = {
        key: re.sub(r"_s\d+(?=/|\")", "_s", value) for key, value in flat(run.settings).items() if not _PLACE.match(key)
    }
    content = json.dumps([run.experiment, sorted(kept.items())])
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def name_of_variant(runs: Sequence[ReportedRun]) -> str:
    """Name of runs that differ in their seed: what their run ids share without the seed, else the experiment."""
    stems = {_SEED.sub("", run.folder.name) for run in runs}
    stem = stems.pop() if len(stems) == 1 else ""
    experiment = runs[0].experiment
    return experiment if stem in ("", experiment) or _TIME.match(stem) else f"{experiment}: {stem}"
