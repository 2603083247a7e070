"""A W&B project as ``entity/project``, and whether W&B can be used on this machine."""

import argparse
import os
import re
from dataclasses import dataclass

from lightning_modules.runs.wandb_access import wandb_mode, why_unreachable

_NAME = re.compile(r"[\w.-]+")
_LONGEST_PROJECT = 128
NO_LOGIN = "there is no W&B login: run `wandb login` or set WANDB_API_KEY"
"""The reason of :func:`why_offline` where nothing chose to be offline."""


@dataclass(frozen=True)
class Project:
    """A project of W&B.

    Attributes:
        entity: User or team.
        name: Name of the project.
    """

    entity: str
    name: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.name}"


def project(text: str) -> Project:
    """Parse ``entity/project``, as a type of an option.

    Raises:
        ArgumentTypeError: If it is anything else, such as an address.

    >>> project("team/plumbline")
    Project(entity='team', name='plumbline')
    """
    parts = text.split("/")
    if len(parts) != 2 or not all(_NAME.fullmatch(part) for part in parts) or len(parts[1]) > _LONGEST_PROJECT:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no project of W&B: entity/project is needed, the name of a user or a team, a slash, and the "
            "name of the project, such as my-team/plumbline"
        )
    return Project(*parts)


def why_offline() -> str | None:
    """The reason why W&B cannot be used now, or None if it can.

    Raises:
        ValueError: If ``WANDB_MODE`` or ``WANDB_API_KEY`` is not valid.
    """
    mode = wandb_mode()
    if mode == "online":
        return why_unreachable()
    return f"WANDB_MODE is {mode}" if os.environ.get("WANDB_MODE") else NO_LOGIN
