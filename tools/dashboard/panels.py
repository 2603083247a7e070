"""Panels of the five sections of a dashboard: final table, learning curves, pictures, ablation, system load."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import wandb_workspaces.reports.v2 as wr

from lightning_modules.tasks.base import LEARNING_RATE
from tools.dashboard.papers import SCORE, Paper

TABLE, CURVES, PICTURES, ABLATION, LOAD = (
    "Final table",
    "Learning curves",
    "Qualitative panels",
    "Ablation, seeds grouped",
    "System load",
)
"""Names of the sections."""
STEP = "trainer/global_step"
_RUN_COLUMNS = ("summary:parameters", "summary:fit_minutes", "summary:peak_memory_gb", "summary:best/step")
_CONFIG_COLUMNS = ("config:variant.value", "config:seed_everything.value", "config:data_version.value")
_WIDTH, _HEIGHT, _COLUMNS = 8, 6, 3


@dataclass(frozen=True)
class Section:
    """One section.

    Attributes:
        name: Its name.
        panels: Its panels.
        grouped: Whether the runs that differ in their seed alone are one line with a band.
    """

    name: str
    panels: list[Any] = field(default_factory=list)
    grouped: bool = False


def columns(metrics: Sequence[str]) -> list[str]:
    """Columns of the table of runs: the test metrics, what a run costs, and what tells it from the others."""
    scores = [f"summary:test/{name}" for name in metrics]
    return ["run:displayName", *scores, *_RUN_COLUMNS, *_CONFIG_COLUMNS, "config:commit.value", "tags:__ALL__"]


def sections(papers: Sequence[Paper], *, group_by: str) -> list[Section]:
    """The five sections of one paper or of several.

    Args:
        papers: The papers whose names are shown.
        group_by: What bars of the final table stand for: ``variant`` or ``experiment``.
    """
    metrics = list(dict.fromkeys(name for paper in papers for name in paper.metrics))
    terms = list(dict.fromkeys(name for paper in papers for name in paper.terms))
    pictures = list(dict.fromkeys(name for paper in papers for name in paper.pictures))
    return [
        Section(TABLE, [*(_bars(f"test/{name}", group_by) for name in metrics), wr.RunComparer(diff_only=True)]),
        Section(
            CURVES,
            [
                *(_curve(f"val/{name}") for name in (SCORE, *metrics)),
                _curve("train/loss", smooth=True),
                *(_curve(f"train/{name}", smooth=True) for name in terms if name != "loss"),
                _curve(LEARNING_RATE),
            ],
        ),
        Section(PICTURES, [_media(f"{stage}/{name}") for name in pictures for stage in ("val", "test")]),
        Section(
            ABLATION,
            [
                *(_bars(f"test/{name}", "variant") for name in metrics),
                *(_curve(f"val/{name}", grouped=True) for name in (SCORE, *metrics[:2])),
            ],
            grouped=True,
        ),
        Section(
            LOAD,
            [
                _curve("train/samples_per_s"),
                *(_load(name) for name in ("cpu", "memory_percent", "proc.memory.rssMB")),
                wr.LinePlot(title="GPU", x="RelativeTime(Process)", metric_regex=r"system/gpu\.\d+\.(gpu|memory)$"),
            ],
        ),
    ]


def placed(panels: Sequence[Any]) -> list[Any]:
    """The panels in rows of three; pictures and the comparison of runs take a whole row."""
    x = y = 0
    for panel in panels:
        wide = isinstance(panel, wr.MediaBrowser | wr.RunComparer)
        if wide and x:
            x, y = 0, y + _HEIGHT
        width, height = (_WIDTH * _COLUMNS, 2 * _HEIGHT) if wide else (_WIDTH, _HEIGHT)
        panel.layout = wr.Layout(x=x, y=y, w=width, h=height)
        x += width
        if x >= _WIDTH * _COLUMNS:
            x, y = 0, y + height
    return list(panels)


def _bars(metric: str, group_by: str) -> Any:
    return wr.BarPlot(
        title=metric,
        metrics=[metric],
        groupby=wr.Config(group_by),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        orientation="h",
    )


def _curve(metric: str, *, smooth: bool = False, grouped: bool = False) -> Any:
    settings: dict[str, Any] = {}
    if smooth:
        settings |= {"smoothing_type": "exponential", "smoothing_factor": 0.6, "smoothing_show_original": True}
    if grouped:
        settings |= {"groupby": wr.Config("variant"), "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    return wr.LinePlot(title=metric, x=STEP, y=[metric], **settings)


def _load(name: str) -> Any:
    return wr.LinePlot(title=f"system/{name}", x="RelativeTime(Process)", y=[f"system/{name}"])


def _media(key: str) -> Any:
    """Pictures of a key with a slider over the steps."""
    return wr.MediaBrowser(title=key, media_keys=[key], mode="gallery", gallery_axis="step", num_columns=2)
