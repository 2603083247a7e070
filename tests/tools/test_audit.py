"""The audit of dependencies says in one line when it cannot be done."""

import subprocess

import pytest

from tools import audit


@pytest.fixture
def answers(monkeypatch):
    """Sets what pip-audit answers."""

    def answer(code, stdout="", stderr=""):
        monkeypatch.setattr(audit.importlib.util, "find_spec", lambda _: object())
        result = subprocess.CompletedProcess([], code, stdout, stderr)
        monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: result)

    return answer


def test_without_the_tool(monkeypatch, capsys):
    monkeypatch.setattr(audit.importlib.util, "find_spec", lambda _: None)
    assert audit.main() == 0
    assert capsys.readouterr().out == (
        "dependencies are not audited: pip-audit is not installed (pip install pip-audit)\n"
    )


def test_without_the_network(answers, capsys):
    answers(1, stderr="requests.exceptions.ConnectionError: Max retries exceeded")
    assert audit.main() == 0
    assert capsys.readouterr().out == (
        "dependencies are not audited: the database of vulnerabilities cannot be reached\n"
    )


def test_a_vulnerability_is_a_failure(answers, capsys):
    answers(1, stdout="pillow 9.0 PYSEC-2022-10\n", stderr="Found 1 known vulnerability in 1 package\n")
    assert audit.main() == 1
    assert "PYSEC-2022-10" in capsys.readouterr().out


def test_nothing_known(answers):
    answers(0, stdout="No known vulnerabilities found\n")
    assert audit.main() == 0
