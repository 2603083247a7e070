"""Flags that say how a teacher from elsewhere is asked and what its numbers mean, the same in every command."""

import argparse
import math
from typing import Any, Literal, Protocol

from lightning_modules.teachers.teacher import Kind, Teacher


class _Parser(Protocol):
    def add_argument(self, *args: Any, **kwargs: Any) -> Any: ...


def unit_of(text: str) -> float | Literal["relative"]:
    """Units in a metre, or ``relative``.

    Raises:
        ValueError: If it is neither a positive number nor that word.
    """
    if text == "relative":
        return "relative"
    try:
        unit = float(text)
    except ValueError:
        unit = math.nan
    if not 0 < unit < math.inf:
        raise ValueError(
            f"--unit is '{text}', but a positive number of units in a metre (1 for metres, 1000 for millimetres) or "
            "relative is needed"
        )
    return unit


def yes_or_no(text: str | bool) -> bool:
    """Whether a text says yes: ``true`` or ``false``.

    Raises:
        argparse.ArgumentTypeError: If it is neither.
    """
    word = str(text).lower()
    if word not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"'{text}' is neither true nor false")
    return word == "true"


def add_teacher_arguments(parser: _Parser) -> None:
    """Add the flags to a parser of argparse or jsonargparse."""
    parser.add_argument(
        "--unit",
        type=str,
        help="of TorchScript files and depth maps: units in a metre (1: metres, 1000: millimetres), or relative",
    )
    parser.add_argument(
        "--inverse",
        type=yes_or_no,
        nargs="?",
        const=True,
        help="larger is nearer: disparity or inverse depth (false for a Hugging Face model that gives depth)",
    )
    parser.add_argument(
        "--input-size", type=int, nargs=2, metavar=("H", "W"), help="of TorchScript files: what the network sees"
    )
    for name, what in (("mean", "subtracted from RGB in [0, 1]"), ("std", "what it is divided by afterwards")):
        parser.add_argument(
            f"--{name}", type=float, nargs=3, metavar=("R", "G", "B"), help=f"of TorchScript files: {what}"
        )


def make_teacher(options: Any, kind: Kind, *, common_unit: bool = False) -> Teacher:
    """The teacher of a call.

    Args:
        options: Of a parser with ``--teacher`` and the flags of :func:`add_teacher_arguments`.
        kind: What it labels.
        common_unit: See :class:`~lightning_modules.teachers.teacher.Teacher`.

    Raises:
        ValueError: If there is no such teacher, or a flag does not belong to it.
        FileNotFoundError: If there is no such file.
        ImportError: If it needs transformers, which is not installed.
    """

    def numbers(values: Any) -> Any:
        return None if values is None else tuple(values)

    return Teacher(
        options.teacher,
        kind,
        options.inverse,
        common_unit=common_unit,
        unit=None if options.unit is None else unit_of(options.unit),
        input_size=numbers(options.input_size),
        mean=numbers(options.mean),
        std=numbers(options.std),
    )
