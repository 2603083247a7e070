"""The script that installs an extra, with a Python that only records what it is called with."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = """#!/bin/sh
case "$1" in
    -c) exit ${MISSING:-0} ;;
    -) shift; exec %s - "$@" ;;
    *) echo "$@" >>"$RECORD"; exit ${FAILS:-0} ;;
esac
"""


@pytest.fixture
def install(tmp_path):
    """Call the script for the extra ``docs``: the finished process, and the installer's arguments."""
    (tmp_path / "env" / "bin").mkdir(parents=True)
    python = tmp_path / "env" / "bin" / "python"
    python.write_text(PYTHON % sys.executable)
    python.chmod(0o755)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "sh", "cat", "env"):
        (tools / name).symlink_to(shutil.which(name))

    def call(**variables):
        record = tmp_path / "record"
        record.write_text("")
        environment = os.environ | {"RECORD": str(record), "PATH": str(tools)} | variables
        command = [str(ROOT / "tools" / "install_extra.sh"), str(tmp_path / "env"), "docs", "mkdocs"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
        return done, record.read_text().split()

    return call


def test_nothing_is_installed_where_the_modules_are_there(install):
    done, installed = install()
    assert (done.returncode, done.stdout, done.stderr, installed) == (0, "", "", [])


def test_the_packages_of_the_extra_are_installed_with_the_known_versions(install):
    done, installed = install(MISSING="1")
    assert done.returncode == 0, done.stderr
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["docs"]
    assert installed[:3] == ["-m", "pip", "install"]
    assert installed[-len(extra) - 2 :] == ["--constraint", "constraints.txt", *extra]


def test_without_a_network_there_is_one_sentence(install):
    done, _ = install(MISSING="1", FAILS="1")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "The packages of the extra 'docs' could not be installed (see above)"
    )
