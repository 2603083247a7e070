"""Sweep files: the committed ones equal the generator's, and wrong ones are refused."""

import pytest
import yaml

from lightning_modules.command_line.experiment_metrics import experiment_metrics
from tools.ablation.file import read_ablation
from tools.ablation.runs import runs_of
from tools.sweep.definition import SWEEPS, ablation_files, main, read_sweep, sweep_text

ABLATIONS = ablation_files()


def test_every_paper_has_a_sweep_and_no_sweep_is_left_over():
    assert sorted(path.stem for path in SWEEPS.glob("*.yaml")) == [path.stem for path in ABLATIONS]
    names = {path.stem for path in ABLATIONS}
    assert names >= {"supervised_depth", "gam_depth", "boxinst_depth", "render_consistency", "monodepth2", "sc_depth"}


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.stem)
def test_the_committed_file_is_the_generated_one(path):
    committed = (SWEEPS / path.name).read_text()
    assert committed == sweep_text(read_ablation(path)), "run `python -m tools.sweep.definition`"


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda path: path.stem)
def test_the_grid_is_that_of_the_ablation(path, tmp_path):
    sweep, ablation = read_sweep(SWEEPS / path.name), read_ablation(path)
    grid = {(variant, seed) for variant in sweep.variants for seed in sweep.seeds}
    assert grid == {(run.variant, run.seed) for run in runs_of(ablation, tmp_path)}
    assert sweep.ablation.name == path.name


def test_the_metric_of_a_sweep_is_logged_by_its_runs(tmp_path):
    ablation = read_ablation(next(path for path in ABLATIONS if path.stem == "supervised_depth"))
    metric = read_sweep(SWEEPS / "supervised_depth.yaml").settings["metric"]
    assert metric == {"name": "test/abs_rel_img", "goal": "minimize"}
    names = experiment_metrics(runs_of(ablation, tmp_path)[0].command[1:])
    assert metric["name"].removeprefix("test/") in names
    assert read_sweep(SWEEPS / "boxinst_depth.yaml").settings["metric"]["goal"] == "maximize"


def test_the_generator_writes_all_and_removes_what_it_made_before(tmp_path, capsys):
    (tmp_path / "old.yaml").write_text("# Generated from experiments/ablations/old.yaml by x\nmethod: grid\n")
    (tmp_path / "mine.yaml").write_text("method: grid\n")
    assert main(["--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"mine.yaml", *(path.name for path in ABLATIONS)}
    assert f"{len(ABLATIONS)} sweeps are in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"method": "bayes"}, "is no sweep of an ablation"),
        ({"command": "python train.py"}, "is no sweep of an ablation"),
        ({"parameters": None}, "parameters.seeds.values has to be a list"),
        ({"parameters": {"seeds": {"values": []}, "variants": {"values": ["a"]}}}, "parameters.seeds.values has"),
        ({"parameters": {"seeds": {"values": ["x"]}, "variants": {"values": ["a"]}}}, "whole numbers are needed"),
        ({"parameters": {"sedes": {"values": [0]}}}, "unknown name 'sedes'; did you mean 'seeds'?"),
    ],
)
def test_other_sweeps_are_refused(tmp_path, change, sentence):
    content = yaml.safe_load((SWEEPS / "gam_depth.yaml").read_text()) | change
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=r"x\.yaml") as error:
        read_sweep(path)
    assert sentence in str(error.value)
