"""The W&B sweep that belongs to a folder of runs, so that the same command goes on with it."""

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from structures.files import write_atomically
from tools.sweep.definition import Sweep


@dataclass(frozen=True)
class Known:
    """A sweep that was created in W&B.

    Attributes:
        identity: Its id.
        project: ``entity/project``, or the project alone where the entity is that of the login.
    """

    identity: str
    project: str

    @property
    def path(self) -> str:
        """What ``wandb agent`` takes."""
        return f"{self.project}/{self.identity}"


def state_path(runs_dir: Path, name: str) -> Path:
    """File that keeps the id of a sweep."""
    return runs_dir / "sweeps" / f"{name}.json"


def read_state(runs_dir: Path, sweep: Sweep, project: str) -> Known | None:
    """The sweep that was created before with the same grid in the same project, or None.

    A damaged file is named on stderr and counts as none.
    """
    path = state_path(runs_dir, sweep.name)
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        same = (content["project"], content["definition"]) == (project, _digest(sweep))
        return Known(str(content["sweep"]), project) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        sys.stderr.write(f"{path} is damaged, so a new sweep is created\n")
        return None


def write_state(runs_dir: Path, sweep: Sweep, known: Known) -> None:
    """Keep the id of a sweep."""
    path = state_path(runs_dir, sweep.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"sweep": known.identity, "project": known.project, "definition": _digest(sweep)}
    write_atomically(path, [json.dumps(content, indent=1).encode()])


def _digest(sweep: Sweep) -> str:
    text = json.dumps(sweep.settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
