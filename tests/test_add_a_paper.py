"""The paper of docs/add-a-paper.md trains and passes its tests after the steps of the page, in a copied repository."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "add-a-paper.md").read_text()
BLOCK = re.compile(r"`([\w./-]+\.(?:py|yaml|md|toml))`[^\n]*:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def copy_repository(target: Path) -> None:
    """Copy the sources: no data, runs or environment, and no hidden folder."""
    for path in ROOT.iterdir():
        if path.name in {"data", "runs", "wandb", "build"} or path.name.startswith("."):
            continue
        if path.is_dir():
            shutil.copytree(path, target / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, target)


def follow_the_page(target: Path) -> None:
    """Write the new files of the page and add its rows to the files that exist."""
    for name, content in BLOCK.findall(PAGE):
        file = target / name
        if name == "pyproject.toml":
            file.write_text(file.read_text().replace("\nmodules = [\n", f"\nmodules = [\n{content}"))
        elif file.exists():
            file.write_text(f"{file.read_text()}\n{content}")
        else:
            file.write_text(content)


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_steps_of_the_page_work(tmp_path):
    copy_repository(tmp_path)
    follow_the_page(tmp_path)
    files = ["tests/lightning_modules/test_structdepth.py", "tests/test_experiments.py", "tests/test_papers.py"]
    chosen = pytest_in(tmp_path, *files, "tests/test_docs.py", "-k", "structdepth or test_papers or test_docs")
    assert chosen.returncode == 0, chosen.stdout[-3000:]
    assert "test_structdepth" in pytest_in(tmp_path, files[0], "--collect-only").stdout


def test_a_forgotten_step_is_found(tmp_path):
    """Without its rows and its page, the paper fails the tests that the page lists."""
    copy_repository(tmp_path)
    (tmp_path / "lightning_modules" / "structdepth.py").write_text('"""A paper."""\n')
    done = pytest_in(tmp_path, "tests/test_papers.py")
    assert done.returncode == 1
    for test in ("import_rules_list_every_paper", "a_test_a_page_and_an_experiment", "its_source_and_its_deviations"):
        assert re.search(rf"^FAILED .*{test}", done.stdout, re.MULTILINE)
