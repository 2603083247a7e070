"""The definition of dashboards: built for every paper, every name in it logged by a real run, the same each time."""

import json

import pytest
import wandb

pytest.importorskip("wandb_workspaces", reason="the package is missing: pip install 'plumbline[dashboard]'")

from cli import main as command_line
from tests.test_experiments import ROOT, overlay
from tests.tools.dashboard.names import logged_names, used_names
from tools.dashboard.definition import as_data, report, workspace
from tools.dashboard.panels import ABLATION, CURVES, LOAD, PICTURES, TABLE
from tools.dashboard.papers import Paper, experiments_of_papers, read_paper
from tools.wandb_project import Project

PROJECT = Project("team", "plumbline")
PAPER = Paper("a_paper", "an_experiment", ("one", "two"), ("l1", "loss"), ("pictures",), has_ablation=True)


HOSTS = ("monodepth2", "sc_depth")
"""Papers that log what gam_depth does; their trainings are left to `make test-all`."""


@pytest.mark.parametrize(
    ("slug", "experiment"),
    [
        pytest.param(*pair, id=pair[0], marks=[pytest.mark.slow] if pair[0] in HOSTS else [])
        for pair in sorted(experiments_of_papers().items())
    ],
)
def test_every_name_is_one_that_a_run_of_the_paper_logs(slug, experiment, rooms_root, tmp_path, monkeypatch):
    paper = read_paper(slug, experiment)
    wandb.teardown()  # it has the settings of earlier tests of this process
    monkeypatch.setenv("WANDB_X_STATS_SAMPLING_INTERVAL", "0.5")
    path = ROOT / "experiments" / f"{experiment}.yaml"
    words = ["--config", str(path), "--config", str(overlay(path)), "--data.init_args.root", str(rooms_root)]
    steps = ["--trainer.max_steps=10", "--trainer.val_check_interval=10"]  # the speed is logged every ten steps
    command_line(["fit", *words, *steps])
    (folder,) = tmp_path.glob(f"runs/{experiment}/*/wandb/offline-run-*")
    logged = logged_names(folder)
    for view in (report(PROJECT, paper), workspace(PROJECT, [paper])):
        used = set(used_names(as_data(view)))
        assert not used - logged
        assert used >= {"val/score", "train/samples_per_s", "system/cpu", "config:variant", "parameters", "best/step"}
        assert used >= {f"test/{name}" for name in paper.metrics[:3]}
    assert used_pictures(paper) <= logged
    assert set(used_names(as_data(report(PROJECT, paper)))) >= {f"train/{term}" for term in paper.terms}


def used_pictures(paper):
    assert paper.pictures
    assert paper.metrics
    return {f"picture:{stage}/{name}" for name in paper.pictures for stage in ("val", "test")}


def test_a_report_has_the_five_sections_with_the_trainings_of_its_paper():
    data = as_data(report(PROJECT, PAPER))
    blocks = data["spec"]["blocks"]
    headings = [block["children"][0]["text"] for block in blocks if block["type"] == "heading"]
    assert headings == [TABLE, CURVES, PICTURES, ABLATION, LOAD]
    grids = [block["metadata"] for block in blocks if block["type"] == "panel-grid"]
    assert len(grids) == 5
    for grid in grids:
        (runs,) = grid["runSets"]
        assert [(each["key"]["name"], each["value"]) for each in runs["filters"]["filters"]] == [
            ("group", "a_paper"),
            ("jobType", "fit"),
        ]
        assert "project" not in runs
    assert [grid["runSets"][0]["grouping"] != [] for grid in grids] == [False, False, False, True, False]
    bars = grids[3]["panelBankSectionConfig"]["panels"][0]["config"]
    assert (bars["metrics"], bars["groupAgg"], bars["groupArea"]) == (["test/one"], "mean", "stddev")
    media = grids[2]["panelBankSectionConfig"]["panels"][0]["config"]
    assert media["gallerySettings"] == {"axis": "step"}, "a slider over the steps"
    curves = [each["config"]["metrics"] for each in grids[1]["panelBankSectionConfig"]["panels"]]
    assert [names for (names,) in map(tuple, curves)].count("train/loss") == 1


def test_the_workspace_has_the_five_sections_of_all_papers():
    other = Paper("other", "other", ("two", "three"), (), ("clips",), has_ablation=False)
    data = as_data(workspace(PROJECT, [PAPER, other]))
    assert (data["entity"], data["project"]) == ("team", "plumbline")
    bank = data["spec"]["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in bank] == [TABLE, CURVES, PICTURES, ABLATION, LOAD]
    names = [panel["config"].get("metrics") for panel in bank[0]["panels"]]
    assert names[:3] == [["test/one"], ["test/two"], ["test/three"]], "each name once"


def test_the_definition_is_the_same_each_time():
    texts = {json.dumps(as_data(build)) for build in (report(PROJECT, PAPER), report(PROJECT, PAPER))}
    assert len(texts) == 1
    texts = {json.dumps(as_data(build)) for build in (workspace(PROJECT, [PAPER]), workspace(PROJECT, [PAPER]))}
    assert len(texts) == 1
