"""The workspace and the reports as objects of ``wandb-workspaces``, and as plain data."""

import re
from collections.abc import Sequence
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from tools.dashboard.panels import Section, columns, placed, sections
from tools.dashboard.papers import SCORE, Paper
from tools.wandb_project import Project

WORKSPACE = "Plumbline, all papers"
_TRAININGS = "Metric('JobType') == 'fit'"
_SEEDS = "config.variant"
_SHOWN_OF_EACH = 3
"""Metrics of each paper in the workspace, which shows all papers."""
_RANDOM_ID = re.compile(r"[a-z0-9]{6,13}")


def workspace(project: Project, papers: Sequence[Paper]) -> Any:
    """The workspace: the five sections with the first metrics of every paper, for all trainings of the project."""
    short = [
        Paper(each.slug, each.experiment, each.metrics[:_SHOWN_OF_EACH], (), each.pictures, each.has_ablation)
        for each in papers
    ]
    metrics = list(dict.fromkeys(name for paper in short for name in paper.metrics))
    return ws.Workspace(
        entity=project.entity,
        project=project.name,
        name=WORKSPACE,
        sections=[
            ws.Section(name=each.name, panels=placed(each.panels), is_open=index < 2)
            for index, each in enumerate(sections(short, group_by="experiment"))
        ],
        runset_settings=ws.RunsetSettings(
            filters=_TRAININGS,
            groupby=[ws.Metric("Group"), ws.Config("variant")],
            pinned_columns=columns([SCORE, *metrics]),
        ),
    )


def report(project: Project, paper: Paper) -> Any:
    """The report of a paper: the five sections, each with the trainings of the paper."""
    blocks: list[Any] = [
        wr.P(
            text=f"Trainings of {paper.slug}. Names of metrics are those of the experiment {paper.experiment}; "
            "best/val/... are the validation metrics of the checkpoint with the lowest val/score, last/... the last "
            f"ones. docs/papers/{paper.slug}.md describes the paper, docs/wandb.md what a run logs."
        ),
        wr.TableOfContents(),
    ]
    for section in sections([paper], group_by="variant"):
        blocks += [
            wr.H2(text=section.name),
            wr.PanelGrid(runsets=[_runs(paper, section)], panels=placed(section.panels)),
        ]
    return wr.Report(
        entity=project.entity,
        project=project.name,
        title=f"Plumbline: {paper.slug}",
        description=f"Runs of {paper.slug}, with seeds grouped by variant",
        blocks=blocks,
        width="fluid",
    )


def _runs(paper: Paper, section: Section) -> Any:
    # Without entity and project the set is that of the report's project; with them the library asks the server.
    return wr.Runset(
        name=f"{paper.slug}{', seeds grouped' if section.grouped else ''}",
        filters=f"Metric('Group') == '{paper.slug}' and {_TRAININGS}",
        groupby=[_SEEDS] if section.grouped else [],
        pinned_columns=columns([SCORE, *paper.metrics]),
    )


def as_data(view: Any) -> dict[str, Any]:
    """A workspace or a report as the plain data that is sent to W&B, with numbers in place of random ids."""
    model = view._to_model()  # the library has no public name for what it sends
    data: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    numbers: dict[str, str] = {}
    return _numbered(data, numbers)


def _numbered(value: Any, numbers: dict[str, str], key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _numbered(inner, numbers, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_numbered(inner, numbers, key) for inner in value]
    if key in ("id", "__id__") and isinstance(value, str) and _RANDOM_ID.fullmatch(value):
        return numbers.setdefault(value, f"id{len(numbers)}")
    return value
