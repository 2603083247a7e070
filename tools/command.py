"""The frame that the tools share: one parser for data, one way to end.

A tool is a parser and a function of the parsed options. :func:`run_tool` parses, calls the function, and turns an
expected error into one sentence on stderr and an exit code.
"""

import contextlib
import logging
import os
import sys
from argparse import ArgumentError
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule

from lightning_modules.command_line.parsers import TRACEBACK_VARIABLE, SettingsParser
from lightning_modules.command_line.plain_parser import PlainParser
from lightning_modules.runs.loading import innermost_reason
from lightning_modules.runs.warning_filters import ignore_harmless_warnings

EXPECTED_ERRORS = (ValueError, OSError, ImportError)
"""Errors whose message is written for the user: a wrong value, a file that cannot be read, a missing package."""


def plain_parser(module: str, doc: str | None) -> PlainParser:
    """A parser of plain options.

    Args:
        module: Module of the tool, as in ``tools.coco_split``.
        doc: Docstring of the module; its first paragraph describes the tool.
    """
    return PlainParser(prog=f"python -m {module}", description=(doc or "").split("\n\n")[0])


def settings_parser(module: str, doc: str | None) -> SettingsParser:
    """A parser of options that may name classes with their arguments; arguments as for :func:`plain_parser`."""
    return SettingsParser(prog=f"python -m {module}", description=(doc or "").split("\n\n")[0], exit_on_error=False)


def data_parser(module: str, doc: str | None, kind: type[LightningDataModule] = LightningDataModule) -> SettingsParser:
    """A parser with ``--data``: a data module of a kind, as a YAML file or a class path with arguments."""
    parser = settings_parser(module, doc)
    parser.add_subclass_arguments(kind, "data", required=True)
    return parser


def with_default_data(words: Sequence[str] | None, default: Path, *changes: str) -> list[str]:
    """The words of a call, preceded by ``--data`` with a default file where they name no data.

    Args:
        words: Words of the call; None takes ``sys.argv[1:]``.
        default: YAML file of the default data.
        changes: Arguments of the default data.
    """
    given = list(sys.argv[1:] if words is None else words)
    if any(word == "--data" or word.startswith("--data=") for word in given):
        return given
    return ["--data", str(default), *changes, *given]


@contextlib.contextmanager
def few_messages() -> Iterator[None]:
    """Leave out Lightning's messages about devices and harmless warnings inside of the block."""
    ignore_harmless_warnings()
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def run_data_tool(parser: SettingsParser, report: Callable[[Any, Any], str], words: Sequence[str] | None = None) -> int:
    """Parse a call, make the data module, and print a tool's report with few other messages.

    Args:
        parser: A parser with ``--data``.
        report: Returns the text from the parsed options and the data module.
        words: Words of the call; None takes ``sys.argv[1:]``.

    Returns:
        The exit code of :func:`run_tool`.
    """

    def work(options: Any) -> None:
        with few_messages():
            sys.stdout.write(report(options, parser.instantiate(options).data))

    return run_tool(parser, work, words)


def run_tool(
    parser: SettingsParser | PlainParser, work: Callable[[Any], int | None], words: Sequence[str] | None = None
) -> int:
    """Parse a call and do a tool's work.

    Args:
        parser: The parser.
        work: Takes the parsed options and returns an exit code, or None for 0.
        words: Words of the call; None takes ``sys.argv[1:]``.

    Returns:
        What ``work`` returns; 1 with one sentence on stderr if it raises one of :data:`EXPECTED_ERRORS`; 2 with one
        sentence if the call cannot be parsed.
    """
    try:
        options = parser.parse_args(None if words is None else list(words))
    except ArgumentError as error:
        sys.stderr.write(f"error: {innermost_reason(error)}\n")
        return 2
    except SystemExit as stop:  # after --help, or after a sentence of the parser's own
        return stop.code if isinstance(stop.code, int) else 2
    try:
        return work(options) or 0
    except EXPECTED_ERRORS as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        sys.stderr.write(f"error: {innermost_reason(error)}\n")
        return 1
