"""Markdown table of all finished trainings below a folder.

``python -m tools.results_table runs --metrics l1_scaled_img abs_rel_img``

A row gives the run's folder and its data, as one experiment may run on several data sets (``DATA=``). Without
``--metrics`` the columns are the main metrics of the tasks that were tested, with every alignment in use
(``abs_rel_img``, ``abs_rel_img_median``).
"""

import argparse
import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from lightning_modules.command_line.wording import did_you_mean
from structures.errors import plain_reason
from tools.command import plain_parser, run_tool

_DEPTH_ERRORS = ("l1_scaled", "mse_scaled", "abs_rel", "rmse", "delta1", "edge_f1")
_PROTOCOLS = ("_img", "_img_median", "_img_lsq", "", "_median", "_lsq")
"""Suffixes of depth metrics: averaged over images or pixels, with each alignment (``metrics/protocol.py``)."""

MAIN_METRICS = (
    *(error + protocol for error in _DEPTH_ERRORS for protocol in _PROTOCOLS),
    *("mask_ap", "mask_ap50", "box_ap", "miou", "pixel_accuracy"),
)
"""Main metrics of depth, instances and classes, in the order of the columns."""


def read_runs(folder: Path) -> list[dict[str, Any]]:
    """Records of all tested runs below a folder, sorted by experiment and seed.

    Separate tests of a checkpoint are listed only if there is no training, as a training has the same test in its own
    record. A damaged ``run.json`` is reported on stderr and left out.
    """
    records = []
    for path in sorted(folder.rglob("run.json")):
        try:
            record = json.loads(path.read_text())
        except (OSError, ValueError) as error:  # torn, or not even text
            sys.stderr.write(f"{path} is damaged ({plain_reason(error)}): that run is left out\n")
            continue
        if not isinstance(record, dict):
            sys.stderr.write(f"{path} is no record of a run, but {str(record)[:40]!r}: it is left out\n")
        elif isinstance(record.get("test"), dict):
            records.append({**record, "run": path.parent.name, "data": data_of(path.with_name("config.yaml"))})
    trainings = [record for record in records if "fit_minutes" in record]
    return sorted(
        trainings if trainings else records, key=lambda r: (str(r.get("experiment")), str(r.get("seed")), r["run"])
    )


def data_of(config: Path) -> str:
    """Data of a run, from its ``config.yaml``: name of the data module and, if given, its root.

    Empty if the file or the setting is missing.
    """
    try:
        return data_name(yaml.safe_load(config.read_text()))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return ""


def data_name(settings: Any) -> str:
    """Data of a run, from its settings: name of the data module and, if given, its root; empty without either."""
    try:
        data = settings["data"]
        name = str(data["class_path"]).rsplit(".", 1)[-1].removesuffix("DataModule")
        root = (data.get("init_args") or {}).get("root")
    except (KeyError, TypeError, AttributeError):
        return ""
    return name if root is None else f"{name} {root}"


def table(records: list[dict[str, Any]], metrics: list[str]) -> str:
    """Markdown table with a row per run; a metric that a run does not have stays blank."""
    head = ["experiment", "run", "data", "seed", *metrics, "parameters", "minutes", "GB", "commit"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for record in records:
        values = [record["test"].get(f"test/{metric}") for metric in metrics]
        cells = [
            str(record.get("experiment")),
            str(record.get("run", "")),
            str(record.get("data", "")).replace("|", "\\|"),
            str(record.get("seed")),
            *("" if value is None else f"{value:.4f}" for value in values),
            f"{record['parameters']:,}" if "parameters" in record else "",
            f"{record['fit_minutes']:.1f}" if "fit_minutes" in record else "",
            f"{record['peak_memory_gb']:.1f}" if "peak_memory_gb" in record else "",
            str(record.get("commit", ""))[:8],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main_metrics(measured: Collection[str]) -> list[str]:
    """The main metrics that were measured; all measured ones if none of them is a main metric."""
    return [name for name in MAIN_METRICS if name in measured] or sorted(measured)


def main(args: list[str] | None = None) -> int:
    """Print the table.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, 1 if there is no tested run, 2 if no run has a chosen metric or for a wrong call.
    """
    parser = plain_parser("tools.results_table", __doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs"), help="folder of all runs (default: runs)")
    parser.add_argument("--metrics", nargs="+", help="names without the stage (default: main metrics of the task)")
    return run_tool(parser, run, args)


def run(options: argparse.Namespace) -> int:
    """Print the table of a folder; the exit code is that of :func:`main`."""
    records = read_runs(options.folder)
    if not records:
        sys.stderr.write(f"no tested run below {options.folder}\n")
        return 1
    measured = {name.removeprefix("test/") for record in records for name in record["test"]}
    metrics = main_metrics(measured) if options.metrics is None else options.metrics
    unknown = next((metric for metric in metrics if metric not in {*measured, *MAIN_METRICS}), None)
    if unknown is not None:
        similar = did_you_mean(unknown, measured) or ";"
        known = ", ".join(sorted(measured))
        sys.stderr.write(
            f"error: no run below {options.folder} has the metric {unknown!r}{similar} known are {known}\n"
        )
        return 2
    sys.stdout.write(table(records, metrics) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
