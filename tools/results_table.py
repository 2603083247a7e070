"""Compare runs without a server: a Markdown table of every finished training below a folder.

A row names the run's folder and its data, since one experiment may run on several (``DATA=``).

``python -m tools.results_table runs --metrics l1_scaled_img abs_rel_img``
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from lightning_modules.command_line.plain_parser import PlainParser
from lightning_modules.command_line.wording import did_you_mean
from structures.errors import plain_reason

DEFAULT_METRICS = (
    "l1_scaled_img",
    "mse_scaled_img",
    "abs_rel_img",
    "rmse_img",
    "delta1_img",
    "edge_f1_img",
)


def read_runs(folder: Path) -> list[dict[str, Any]]:
    """Records of all runs below a folder that were tested, by experiment and seed.

    A test of a checkpoint by itself belongs to a training and has no time of its own, so it is a record only where
    there is no training at all.

    A damaged ``run.json`` is named on stderr and left out.
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
    """What a run was trained and tested on, by its ``config.yaml``: name of the data module and, if given, its root.

    Blank where the file is missing or does not say.
    """
    try:
        data: Any = yaml.safe_load(config.read_text())["data"]
        name = str(data["class_path"]).rsplit(".", 1)[-1].removesuffix("DataModule")
        root = (data.get("init_args") or {}).get("root")
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return ""
    return name if root is None else f"{name} {root}"


def table(records: list[dict[str, Any]], metrics: list[str]) -> str:
    """Markdown table with a row a run; a number that a run does not have stays blank."""
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


def main(args: list[str] | None = None) -> int:
    """Print the table.

    Returns:
        0, 1 if there is no tested run, or 2 if no run has a metric that was asked for.
    """
    parser = PlainParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs"))
    parser.add_argument("--metrics", nargs="+", default=list(DEFAULT_METRICS), help="names without their stage")
    options = parser.parse_args(args)
    try:
        records = read_runs(options.folder)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {plain_reason(error)}\n")
        return 1
    if not records:
        sys.stderr.write(f"no tested run below {options.folder}\n")
        return 1
    measured = {name.removeprefix("test/") for record in records for name in record["test"]}
    unknown = next((metric for metric in options.metrics if metric not in {*measured, *DEFAULT_METRICS}), None)
    if unknown is not None:
        similar = did_you_mean(unknown, measured) or ";"
        known = ", ".join(sorted(measured))
        sys.stderr.write(
            f"error: no run below {options.folder} has the metric {unknown!r}{similar} known are {known}\n"
        )
        return 2
    sys.stdout.write(table(records, options.metrics) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
