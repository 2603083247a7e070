"""Saving a workspace and reports in W&B, the same ones when it is done again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from structures.errors import one_line
from structures.files import write_atomically
from tools.wandb_project import Project

SAVED = "saved.json"
"""File with the ids of what was saved, beside the definitions."""


def save(folder: Path, project: Project, workspace: Any, reports: Mapping[str, Any]) -> list[str]:
    """Save a workspace and reports; those that were saved before from the same folder are replaced.

    Args:
        folder: Folder of the definitions; it gets the ids.
        project: The project.
        workspace: The workspace.
        reports: Reports by paper.

    Returns:
        Their addresses.

    Raises:
        ValueError: If W&B does not take one of them.
    """
    path = folder / SAVED
    known = _read(path, project)
    kept: dict[str, Any] = {
        "project": str(project),
        "workspace": known.get("workspace", ["", ""]),
        "reports": dict(known.get("reports", {})),
    }
    # The library finds a view again by these two names; it has no public ones.
    workspace._internal_name, workspace._internal_id = kept["workspace"]
    urls = []
    try:
        workspace.save()
        kept["workspace"] = [workspace._internal_name, workspace._internal_id]
        urls.append(str(workspace.url))
        for slug, report in reports.items():
            report.id = kept["reports"].get(slug, "")
            report.save()
            kept["reports"][slug] = report.id
            urls.append(str(report.url))
    except Exception as error:  # W&B raises errors of many kinds
        raise ValueError(
            f"W&B did not take the dashboard ({one_line(error)}): check PROJECT={project} and "
            f"`wandb login`, and remove {path} if a view was deleted in W&B; the definition is in {folder}"
        ) from error
    finally:
        write_atomically(path, [json.dumps(kept, indent=1).encode()])
    return urls


def _read(path: Path, project: Project) -> dict[str, Any]:
    """Ids of the views that were saved in the same project; empty if there are none or the file is damaged."""
    try:
        content = json.loads(path.read_text())
        same = content["project"] == str(project) and isinstance(content["reports"], dict)
        return content if same and len(content.get("workspace", ["", ""])) == 2 else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
