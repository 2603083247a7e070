"""The gate fails if tests leave files behind, also in ignored folders."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "run"
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="the gate compares git's listings")


def gate(folder, tests):
    """Run the gate in a small repository whose ``make test`` runs the given shell commands."""
    (folder / ".ci").mkdir()
    shutil.copy(SCRIPT, folder / ".ci" / "run")
    (folder / ".gitignore").write_text("__pycache__/\n.venv*/\nruns/\ndata/\n.ruff_cache/\n*.egg-info/\n")
    (folder / "code.py").write_text("pass\n")
    setup = "mkdir -p .venv p.egg-info; touch .venv/setup p.egg-info/a"
    lint = "mkdir -p .ruff_cache data; touch .ruff_cache/a data/before"
    recipes = {"setup": setup, "lint": lint, "test": tests}
    (folder / "Makefile").write_text("".join(f"{name}:\n\t@echo {name}; {what}\n" for name, what in recipes.items()))
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "MAKE", "MFLAGS")) and k != "VENV"}
    subprocess.run(["git", "init", "--quiet"], cwd=folder, env=variables, check=True)
    subprocess.run(["git", "add", "-A"], cwd=folder, env=variables, check=True)
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *author, "commit", "--quiet", "-m", "all"], cwd=folder, env=variables, check=True)
    return subprocess.run([folder / ".ci" / "run"], env=variables, capture_output=True, text=True, timeout=60)


def test_caches_and_the_environment_may_grow(tmp_path):
    done = gate(tmp_path, "mkdir -p a/__pycache__ .venv/b; touch a/__pycache__/c .venv/b/c .ruff_cache/d p.egg-info/b")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["setup", "lint", "test"]


@pytest.mark.parametrize(
    ("tests", "seen"),
    [
        ("touch left.txt", "> ?? left.txt"),
        ("mkdir runs; touch runs/left", "> !! runs/left"),
        ("touch data/more", "> !! data/more"),  # in a folder that was there before
        ("rm data/before", "< !! data/before"),
        ("rm code.py", ">  D code.py"),
        ("echo 1 >>code.py", ">  M code.py"),
    ],
)
def test_other_leftovers_fail_the_gate_and_are_named(tmp_path, tests, seen):
    done = gate(tmp_path, tests)
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [seen]


def test_tests_that_fail_fail_the_gate(tmp_path):
    assert gate(tmp_path, "exit 3").returncode != 0
