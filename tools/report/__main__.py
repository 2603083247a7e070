"""Write one HTML file that compares runs: table, curves, samples, point clouds, settings and seeds.

The file needs no network and no server. A run that is damaged, running or without results is listed with a note.
"""

import argparse
import os
import sys
from pathlib import Path

from structures.output_paths import check_output_file
from tools.command import plain_parser, run_tool
from tools.report.assets import Assets
from tools.report.content import content_of
from tools.report.page import plotly_library, write_page
from tools.report.runs import find_runs, read_run, with_unique_names

_PREDICTION = "-predict"
_PAGE_BYTES = 200_000  # template, styles, scripts


def main(args: list[str] | None = None) -> int:
    """Write a report.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, 1 if there is no run or the file cannot be written, 2 for a wrong call.
    """
    parser = plain_parser("tools.report", __doc__)
    parser.add_argument("runs", nargs="*", default=["runs"], help="folders or globs of runs (default: runs)")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the file (default: report.html)")
    parser.add_argument(
        "--max-mb", type=float, default=14.0, help="size above which runs have no samples and pictures (default: 14)"
    )
    return run_tool(parser, run, args)


def run(options: argparse.Namespace) -> int:
    """Write the report of parsed options; the exit code is that of :func:`main`.

    Raises:
        ValueError: If there is no run, or an option is out of its range.
        OSError: If the file cannot be written.
    """
    if not options.max_mb > 0:
        raise ValueError(f"--max-mb is {options.max_mb}, but has to be positive")
    if options.out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--out is {options.out}, but the report is a web page: give a name that ends in .html")
    check_output_file(options.out)
    library = len(plotly_library())
    folders = find_runs(options.runs)
    predictions = [folder for folder in folders if folder.name.endswith(_PREDICTION)]
    runs = with_unique_names([read_run(folder) for folder in folders if folder not in predictions])
    if not runs:
        places = " ".join(options.runs)
        raise ValueError(
            f"there is no run that matches {places}: a run is a folder with run.json or metrics.csv, as `make train` "
            "leaves it; give its folder or a folder above it"
        )
    runs.sort(key=lambda each: (each.paper, each.experiment, each.name))
    notes = [f"{len(predictions)} folders of predictions are left out"] if predictions else []
    assets = Assets()
    most = int(options.max_mb * 1e6) - library - _PAGE_BYTES
    content = content_of(runs, assets, notes=notes, most_bytes=most)
    size = write_page(options.out, content, assets.texts)
    for note in content["notes"]:
        sys.stderr.write(f"note: {note}\n")
    sys.stdout.write(
        f"{os.path.relpath(options.out)}: {len(runs)} {'run' if len(runs) == 1 else 'runs'}, {size / 1e6:.1f} MB\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
