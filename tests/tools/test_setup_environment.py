"""The setup script with fake Pythons and a fake uv; nothing is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "setup_environment.sh"
SYSTEM_TOOLS = ("bash", "basename", "cat", "cp", "dirname", "ls", "mkdir", "rm", "sha256sum", "touch")
# A fake Python: it prints a version, creates environments with copies of itself, and logs the arguments of pip.
PYTHON = r"""#!/bin/bash
case "$*" in
    *version_info*) exit {unsuitable} ;;
    "-c import venv, ensurepip") exit {no_venv} ;;
    "-c import pip" | "-m ensurepip") exit 0 ;;
    --version) echo "Python {version}" ;;
    "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; echo "made by {version}" >"$3/origin"; {after_venv} ;;
    "-m pip "*) echo "pip $*" >>"{log}"; {after_pip} ;;
    *) echo "unexpected: $*" >&2; exit 9 ;;
esac
"""
UV = r"""#!/bin/bash
echo "uv $*" >>"{log}"
if [ "$1" = venv ]; then mkdir -p "${{@: -1}}/bin"; cp "{python}" "${{@: -1}}/bin/python"; fi
"""


class Machine:
    """A folder in place of PATH, with the system's tools and the Pythons that a test puts there."""

    def __init__(self, folder):
        self.bin = folder / "bin"
        self.cwd = folder / "project"
        self.log = folder / "log"
        self.bin.mkdir()
        self.cwd.mkdir()
        for name in ("pyproject.toml", "constraints.txt"):
            (self.cwd / name).write_text(f"of {name}\n")
        for tool in SYSTEM_TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))

    def put(self, name, text):
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def python(self, name, version, *, venv=True, after_venv="true", after_pip="true"):
        suitable = version.startswith(("3.11.", "3.12."))
        values = {"unsuitable": int(not suitable), "no_venv": int(not venv), "version": version, "log": self.log}
        self.put(name, PYTHON.format(**values, after_venv=after_venv, after_pip=after_pip))

    def installs(self):
        """Number of installations."""
        return self.log.read_text().count("--editable") if self.log.exists() else 0

    def setup(self, venv=".venv", *python):
        command = [shutil.which("bash"), str(SCRIPT), str(venv), *python]
        return subprocess.run(
            command, cwd=self.cwd, env={"PATH": str(self.bin)}, capture_output=True, text=True, timeout=60
        )

    def refused(self, *words):
        """The line that a refused call prints."""
        done = self.setup(*words)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_the_newest_suitable_python_is_used(machine):
    machine.python("python3", "3.11.2")
    machine.python("python3.11", "3.11.9")
    machine.python("python3.12", "3.13.0")  # a wrong link
    assert machine.setup().returncode == 0
    assert (machine.cwd / ".venv" / "origin").read_text() == "made by 3.11.9\n"
    assert "--constraint constraints.txt --editable .[dev]" in machine.log.read_text()
    assert not (machine.cwd / ".venv.partial").exists()


def test_a_given_python_is_the_only_candidate(machine):
    machine.python("python3", "3.11.2")
    machine.python("python3.12", "3.12.1")
    assert machine.setup(".venv", "python3").returncode == 0
    assert (machine.cwd / ".venv" / "origin").read_text() == "made by 3.11.2\n"
    shutil.rmtree(machine.cwd / ".venv")
    machine.python("python3.9", "3.9.1")
    assert "but python3.9 is Python 3.9.1:" in machine.refused(".venv", "python3.9")
    assert "but pythonX is not there:" in machine.refused(".venv", "pythonX")


def test_no_suitable_python_is_one_sentence(machine):
    assert "none of python3.12 python3.11 python3 is one" in machine.refused()
    machine.python("python3", "3.10.1")
    assert "needs Python 3.11 or 3.12" in machine.refused()
    assert sorted(path.name for path in machine.cwd.iterdir()) == ["constraints.txt", "pyproject.toml"]


def test_a_python_without_venv_is_passed_over_or_named(machine):
    machine.python("python3.12", "3.12.3", venv=False)
    assert "python3.12-venv" in machine.refused()
    assert sorted(path.name for path in machine.cwd.iterdir()) == ["constraints.txt", "pyproject.toml"]
    machine.python("python3.11", "3.11.9")
    assert machine.setup().returncode == 0
    assert (machine.cwd / ".venv" / "origin").read_text() == "made by 3.11.9\n"


@pytest.mark.parametrize("venv", [".venv", "{tmp}/deep/env"])
def test_a_failure_leaves_nothing_behind(machine, tmp_path, venv):
    venv = machine.cwd / venv.format(tmp=tmp_path)
    machine.python("python3", "3.11.2", after_venv="exit 1")
    assert "and was removed" in machine.refused(venv)
    assert not venv.exists()
    machine.python("python3", "3.11.2", after_venv='touch "$3/half"; kill -9 $PPID')
    assert machine.setup(venv).returncode != 0
    assert (venv / "half").exists()  # kill -9 leaves the folder ...
    machine.python("python3", "3.11.2")
    assert machine.setup(venv).returncode == 0
    assert not (venv / "half").exists()  # ... and the next run removes it


def test_packages_that_cannot_be_installed_are_reported_and_tried_again(machine):
    machine.python("python3", "3.11.2", after_pip="exit 1")
    assert "run make setup again to continue" in machine.refused()
    shutil.rmtree(machine.cwd / ".venv")
    machine.python("python3", "3.11.2")
    for _ in range(2):
        assert machine.setup().returncode == 0


def test_uv_creates_the_given_folder(machine, tmp_path):
    machine.python("python3.11", "3.11.9", venv=False)  # uv needs no venv module
    machine.put("uv", UV.format(log=machine.log, python=machine.bin / "python3.11"))
    venv = tmp_path / "elsewhere" / "env"
    for _ in range(2):
        assert machine.setup(venv).returncode == 0
    made, filled = machine.log.read_text().splitlines()
    assert made == f"uv venv --quiet --python {machine.bin}/python3.11 {venv}"
    assert filled.startswith(f"uv pip install --python {venv}/bin/python --quiet")


def test_a_folder_of_something_else_is_not_touched(machine):
    machine.python("python3", "3.11.2")
    (machine.cwd / "data").mkdir()
    (machine.cwd / "data" / "mine.txt").touch()
    assert "is no Python environment" in machine.refused("data")
    assert [path.name for path in (machine.cwd / "data").iterdir()] == ["mine.txt"]


def test_an_environment_of_another_python_is_named(machine):
    machine.python("python3", "3.11.2")
    assert machine.setup().returncode == 0
    machine.python("python3.9", "3.9.1")
    shutil.copy(machine.bin / "python3.9", machine.cwd / ".venv" / "bin" / "python")
    assert "The Python in .venv is not 3.11 or 3.12" in machine.refused()


def test_nothing_is_installed_twice_for_the_same_requirements(machine, tmp_path):
    machine.python("python3", "3.11.2")
    venv = tmp_path / "shared"
    assert machine.setup(venv).stdout == f"environment ready in {venv}\n"
    assert machine.installs() == 1
    for name in ("pyproject.toml", "constraints.txt"):
        (machine.cwd / name).touch()  # new time stamps, as after a checkout
    assert machine.setup(venv).stdout == ""
    # A second clone has other paths and time stamps.
    first, machine.cwd = machine.cwd, tmp_path / "second clone"
    shutil.copytree(first, machine.cwd)
    assert machine.setup(venv).stdout == ""
    assert machine.installs() == 1
    (machine.cwd / "constraints.txt").write_text("numpy==3\n")
    assert machine.setup(venv).returncode == 0
    assert machine.installs() == 2


def test_an_installation_that_failed_is_not_remembered(machine):
    machine.python("python3", "3.11.2", after_pip="exit 1")
    for _ in range(2):
        assert machine.setup().returncode == 2
    assert machine.installs() == 2
    assert not (machine.cwd / ".venv" / ".plumbline").exists()


def test_an_environment_whose_python_is_gone_is_not_ready(machine):
    machine.python("python3", "3.11.2")
    assert machine.setup().returncode == 0
    (machine.cwd / ".venv" / "bin" / "python").unlink()
    assert "is no Python environment: choose another folder" in machine.refused()
