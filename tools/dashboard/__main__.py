"""Save a W&B workspace and one report for each paper; offline, write their definition as JSON.

``python -m tools.dashboard --project entity/project`` writes ``workspace.json`` and ``report_<paper>.json`` into
``--out`` and, where W&B is online, saves them in the project. Called again, it replaces what it saved before. Sections:
final table, learning curves, pictures, ablation with seeds grouped, system load.
"""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from structures.files import write_atomically
from tools.command import plain_parser, run_tool
from tools.dashboard.papers import read_papers
from tools.wandb_project import NO_LOGIN, project, why_offline

_PACKAGE = "wandb_workspaces"


def main(words: list[str] | None = None) -> int:
    """Write the definition and save it.

    Args:
        words: Words of the call; None takes ``sys.argv[1:]``.

    Returns:
        0, also where W&B is offline on purpose or cannot be reached; 1 if there is no login, W&B refuses the dashboard
        or the package is missing; 2 if the call is wrong.
    """
    parser = plain_parser("tools.dashboard", __doc__)
    parser.add_argument("--project", type=project, required=True, help="entity/project in W&B")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/dashboard"), help="folder of the JSON files (default: runs/dashboard)"
    )

    def work(options: Any) -> None:
        if importlib.util.find_spec(_PACKAGE) is None:
            raise ImportError("a dashboard needs the package wandb-workspaces: pip install 'plumbline[dashboard]'")
        from tools.dashboard.definition import as_data, report, workspace  # the package is optional
        from tools.dashboard.saving import save

        papers = read_papers()
        views = {paper.slug: report(options.project, paper) for paper in papers}
        overview = workspace(options.project, papers)
        files = {"workspace": overview} | {f"report_{slug}": view for slug, view in views.items()}
        options.out.mkdir(parents=True, exist_ok=True)
        for name, view in files.items():
            text = json.dumps(as_data(view), indent=1)
            write_atomically(options.out / f"{name}.json", [text.encode()])
        sys.stdout.write(f"the definition of a workspace and {len(views)} reports is in {options.out}\n")
        reason = why_offline()
        if reason == NO_LOGIN:
            raise ValueError(f"nothing was saved in W&B: {reason.partition(': ')[0]}; {reason.partition(': ')[2]}")
        if reason is not None:
            sys.stdout.write(f"nothing was saved in W&B: {reason}\n")
            return
        for url in save(options.out, options.project, overview, views):
            sys.stdout.write(f"{url}\n")

    return run_tool(parser, work, words)


if __name__ == "__main__":
    sys.exit(main())
