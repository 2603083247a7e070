"""``make dashboard``: the files of the definition, whatever W&B does, and bad input."""

import json

import pytest

pytest.importorskip("wandb_workspaces", reason="the package is missing: pip install 'plumbline[dashboard]'")

from tests.tools.dashboard.test_definition import PAPER
from tools.dashboard import __main__ as dashboard
from tools.dashboard import saving
from tools.wandb_project import NO_LOGIN


@pytest.fixture(autouse=True)
def _one_paper(monkeypatch):
    monkeypatch.setattr(dashboard, "read_papers", lambda: [PAPER])


FILES = {"workspace.json", "report_a_paper.json"}


def written(folder):
    assert all(json.loads(path.read_text()) for path in folder.iterdir())
    return {path.name for path in folder.iterdir()}


def test_offline_the_definition_is_written(tmp_path, capsys):
    assert dashboard.main(["--project", "team/x"]) == 0
    assert written(tmp_path / "runs" / "dashboard") == FILES
    assert capsys.readouterr().out.splitlines() == [
        "the definition of a workspace and 1 reports is in runs/dashboard",
        "nothing was saved in W&B: WANDB_MODE is offline",
    ]


def test_without_a_login_it_is_written_and_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(dashboard, "why_offline", lambda: NO_LOGIN)
    assert dashboard.main(["--project", "team/x", "--out", "out"]) == 1
    assert written(tmp_path / "out") == FILES
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: nothing was saved in W&B: there is no W&B login; run `wandb login`")


def test_online_it_is_saved(tmp_path, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(dashboard, "why_offline", lambda: None)
    monkeypatch.setattr(saving, "save", lambda *given: calls.append(given) or ["https://wandb.test/a"])
    assert dashboard.main(["--project", "team/x", "--out", "out"]) == 0
    assert written(tmp_path / "out") == FILES
    assert capsys.readouterr().out.endswith("https://wandb.test/a\n")
    ((_, project, overview, reports),) = calls
    assert (str(project), overview.entity, reports["a_paper"].project) == ("team/x", "team", "x")


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ([], 2, "--project"),
        (["--project", ""], 2, "'' is no project of W&B: entity/project is needed"),
        (["--project", "plumbline"], 2, "'plumbline' is no project of W&B: entity/project is needed"),
        (["--project", "a/b", "--aut", "x"], 2, "--out"),
        (["--project", "a/b", "--out", "file/x"], 1, "file"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, capsys, words, code, sentence):
    (tmp_path / "file").write_text("")
    assert dashboard.main(words) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert sentence in line


def test_a_missing_package_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(dashboard, "_PACKAGE", "no_such_package")
    assert dashboard.main(["--project", "team/x"]) == 1
    assert "pip install 'plumbline[dashboard]'" in capsys.readouterr().err
