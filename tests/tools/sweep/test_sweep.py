"""``make sweep``: an agent where W&B is online, else the same grid here; bad input is one sentence."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.tools.ablation import test_ablation
from tools.ablation import runs
from tools.ablation.file import EXPERIMENTS
from tools.sweep import __main__ as sweep
from tools.sweep.definition import SWEEPS
from tools.sweep.state import state_path

CONTENT = {
    "experiment": "mean_depth",
    "seeds": [0, 1],
    "baseline": "full",
    "metrics": ["abs_rel_img", "delta1_img"],
    "variants": {"full": {}, "less": {"args": ["--model.init_args.x=1"]}},
}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A sweep of four runs whose trainings are faked."""
    training = test_ablation.Training
    monkeypatch.setattr(subprocess, "Popen", training)
    monkeypatch.setattr(runs, "_POLL_S", 0.0)
    training.started, training.orders, training.alive, training.most_alive = [], {}, 0, 0
    shutil.copytree(EXPERIMENTS, tmp_path / "experiments")  # what its inputs are read from
    ablation = tmp_path / "experiments" / "ablations" / "study.yaml"
    ablation.write_text(yaml.safe_dump(CONTENT))
    settings = yaml.safe_load((SWEEPS / "gam_depth.yaml").read_text())
    settings["command"][-2] = str(ablation)
    settings["parameters"] = {"seeds": {"values": [0, 1]}, "variants": {"values": ["full", "less"]}}
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def trained():
    return sorted(each.run_id for each in test_ablation.Training.started)


ALL = ["study_full_s0", "study_full_s1", "study_less_s0", "study_less_s1"]


def test_without_wandb_the_grid_is_trained_here_and_resumed(study, tmp_path, capsys):
    test_ablation.Training.orders = {"study_less_s0": "fail"}
    assert sweep.main([str(study)]) == 1, "one run failed"
    assert trained() == ALL
    said = capsys.readouterr()
    assert said.err.startswith("without W&B (WANDB_MODE is offline): the grid of sweep is trained here\n")
    assert "| full |" in said.out
    test_ablation.Training.started, test_ablation.Training.orders = [], {}
    assert sweep.main([str(study), "--jobs", "2"]) == 0
    assert trained() == ["study_less_s0"], "a sweep that is half done goes on"
    assert (tmp_path / "runs" / "study.md").is_file()


def test_a_part_of_the_grid_is_enough(study):
    settings = yaml.safe_load(study.read_text())
    settings["parameters"]["seeds"]["values"] = [1]
    study.write_text(yaml.safe_dump(settings))
    assert sweep.main([str(study)]) == 0
    assert trained() == ["study_full_s1", "study_less_s1"]


class Server:
    """W&B that creates sweeps, and an agent that trains a number of points of the grid."""

    def __init__(self, monkeypatch, study, points):
        self.created, self.agents, self.study, self.points = [], [], study, points
        monkeypatch.setattr(sweep, "why_offline", lambda: None)
        monkeypatch.setattr(sweep.wandb, "sweep", self.create)
        monkeypatch.setattr(sweep.subprocess, "run", self.agent)

    def create(self, settings, *, entity, project):
        self.created.append((settings, entity, project))
        return f"id{len(self.created)}"

    def agent(self, command, env):
        assert env["PATH"].startswith(str(Path(sys.executable).parent))
        self.agents.append(command[1:])
        words = [word for word in yaml.safe_load(self.study.read_text())["command"] if not word.startswith("${")]
        assert words[:2] == ["-m", "tools.ablation"]
        for variant, seed in self.points:
            assert sweep.ablation([words[2], f"--seeds={seed}", f"--variants={variant}"]) == 0
        return subprocess.CompletedProcess(command, 0)


def test_online_an_agent_trains_it_and_the_same_command_goes_on(study, tmp_path, monkeypatch, capsys):
    server = Server(monkeypatch, study, [("full", 0), ("less", 0)])
    words = [str(study), "--project", "team/x"]
    assert sweep.main([*words, "--count", "2"]) == 0
    ((settings, entity, project),) = server.created
    assert (settings, entity, project) == (yaml.safe_load(study.read_text()), "team", "x")
    assert server.agents == [["-m", "wandb", "agent", "--count", "2", "team/x/id1"]]
    said = capsys.readouterr()
    assert "another machine joins with: make sweep EXP=sweep ARGS='--join team/x/id1'" in said.err
    assert "2 of 4 runs are finished below runs" in said.err
    assert trained() == ["study_full_s0", "study_less_s0"]
    assert json.loads(state_path(tmp_path / "runs", "sweep").read_text())["sweep"] == "id1"

    server.points = [("full", 1), ("less", 1)]
    assert sweep.main(words) == 0
    assert len(server.created) == 1
    assert server.agents[1][-1] == "team/x/id1"
    said = capsys.readouterr()
    assert "the sweep team/x/id1 goes on" in said.err
    assert "runs are finished below" not in said.err
    assert trained() == ALL


def test_local_trains_here_although_wandb_is_online(study, monkeypatch):
    server = Server(monkeypatch, study, [])
    assert sweep.main([str(study), "--local"]) == 0
    assert (server.created, server.agents) == ([], [])
    assert trained() == ALL


def test_another_machine_joins(study, monkeypatch, capsys):
    server = Server(monkeypatch, study, [])
    assert sweep.main([str(study), "--join", "team/x/abc"]) == 0
    assert server.agents == [["-m", "wandb", "agent", "team/x/abc"]]
    assert sweep.main([str(study), "--join", "abc"]) == 1
    assert "--join is 'abc', but entity/project/id is needed" in capsys.readouterr().err


def test_a_refusal_of_wandb_is_one_sentence(study, monkeypatch, capsys):
    server = Server(monkeypatch, study, [])
    monkeypatch.setattr(sweep.wandb, "sweep", lambda *_, **__: 1 / 0)
    assert sweep.main([str(study)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: W&B did not create the sweep (division by zero); check PROJECT=plumbline and")
    assert server.agents == []


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["nothing.yaml"], 1, "nothing.yaml"),
        (["sweep.yaml", "--project", "x"], 2, "'x' is no project of W&B"),
        (["sweep.yaml", "--join", "team/x/abc"], 1, "--join needs W&B, but WANDB_MODE is offline"),
        ([], 2, "file"),
    ],
)
def test_bad_input_is_one_sentence(study, capsys, words, code, sentence):
    assert sweep.main(words) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert sentence in line
    assert trained() == []


def test_trainings_that_initialise_others_are_no_runs_of_a_sweep(tmp_path, monkeypatch):
    training = test_ablation.Training
    monkeypatch.setattr(subprocess, "Popen", training)
    monkeypatch.setattr(runs, "_POLL_S", 0.0)
    training.started, training.orders = [], {"start_motion_s0": "start"}
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.setenv(name, "x")
    start = {"name": "motion", "experiment": "mean_depth"}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(CONTENT | {"start": start, "seeds": [0]}))
    sweep.ablation(["study.yaml", "--variants", "full"])
    for each in training.started:
        has = "WANDB_SWEEP_ID" in each.env, "WANDB_RUN_ID" in each.env
        assert has == (not each.run_id.startswith("start_"), not each.run_id.startswith("start_"))
    assert training.started
