"""Flags for the input and the output of an external teacher, shared by several tools."""

import argparse
import math
from typing import Any, Literal, Protocol

from lightning_modules.teachers.teacher import Kind, Teacher


class _Parser(Protocol):
    def add_argument(self, *args: Any, **kwargs: Any) -> Any: ...


def unit_of(text: str) -> float | Literal["relative"]:
    """Units per metre, or ``relative``.

    Raises:
        ValueError: If the text is neither a positive number nor ``relative``.
    """
    if text == "relative":
        return "relative"
    try:
        unit = float(text)
    except ValueError:
        unit = math.nan
    if not 0 < unit < math.inf:
        raise ValueError(
            f"--unit is '{text}', but a positive number of units per metre (1 for metres, 1000 for millimetres) or "
            "relative is needed"
        )
    return unit


def yes_or_no(text: str | bool) -> bool:
    """Boolean of the text ``true`` or ``false``.

    Raises:
        argparse.ArgumentTypeError: If the text is neither.
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
        help="for TorchScript files and depth maps: units per metre (1: metres, 1000: millimetres), or relative",
    )
    parser.add_argument(
        "--inverse",
        type=yes_or_no,
        nargs="?",
        const=True,
        help="the output is disparity or inverse depth, larger is nearer (false for a Hugging Face model of depth)",
    )
    parser.add_argument(
        "--input-size", type=int, nargs=2, metavar=("H", "W"), help="for TorchScript files: input size of the network"
    )
    for name, what in (("mean", "mean subtracted from RGB in [0, 1]"), ("std", "divisor after the mean")):
        parser.add_argument(
            f"--{name}", type=float, nargs=3, metavar=("R", "G", "B"), help=f"for TorchScript files: {what}"
        )


def make_teacher(options: Any, kind: Kind, *, common_unit: bool = False) -> Teacher:
    """The teacher given on the command line.

    Args:
        options: Parsed options with ``--teacher`` and the flags of :func:`add_teacher_arguments`.
        kind: Kind of labels.
        common_unit: See :class:`~lightning_modules.teachers.teacher.Teacher`.

    Raises:
        ValueError: If the source is no teacher of this kind, or a flag does not apply to it.
        FileNotFoundError: If the file does not exist.
        ImportError: If the teacher needs transformers, which is not installed.
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
