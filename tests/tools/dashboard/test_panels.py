"""Layout of the panels of a section."""

import pytest

pytest.importorskip("wandb_workspaces", reason="the package is missing: pip install 'plumbline[dashboard]'")

import wandb_workspaces.reports.v2 as wr

from tools.dashboard.panels import columns, placed


def test_panels_fill_rows_of_three_and_none_lies_on_another():
    small = [wr.LinePlot(y=[f"m{index}"]) for index in range(4)]
    panels = placed([*small, wr.MediaBrowser(media_keys=["a"]), wr.BarPlot(metrics=["b"])])
    boxes = [(each.layout.x, each.layout.y, each.layout.w, each.layout.h) for each in panels]
    assert boxes[:4] == [(0, 0, 8, 6), (8, 0, 8, 6), (16, 0, 8, 6), (0, 6, 8, 6)]
    cells = [(x + i, y + j) for x, y, w, h in boxes for i in range(w) for j in range(h)]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23


def test_columns_begin_with_the_name_and_the_metrics():
    assert columns(["score", "a"])[:3] == ["run:displayName", "summary:test/score", "summary:test/a"]
