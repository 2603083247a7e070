"""Parsers that report a wrong command line in one sentence with exit code 2, without the usage text."""

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from lightning_modules.command_line.checked_parser import CheckedParser, take_allowed
from lightning_modules.command_line.config_files import check_config_file, check_extends
from lightning_modules.command_line.explain import explain
from lightning_modules.command_line.extends import LOADER
from lightning_modules.command_line.help import own_help
from lightning_modules.command_line.plain_parser import exit_with
from lightning_modules.command_line.settings_tree import options
from lightning_modules.command_line.yaml_file import ConfigFileError
from structures.private_names import parser_actions, subcommand_parsers

TRACEBACK_VARIABLE = "PLUMBLINE_TRACEBACK"
_YAML = {"None": "null", "nan": ".nan", "inf": ".inf"}
# Quoted text is matched, too, so that it is not changed.
_PYTHON = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|(?<![\w.])(?:None|nan|inf)\b""")


def in_yaml_notation(word: str) -> str:
    """Rewrite a command-line argument whose value is null or a collection from Python to YAML notation.

    jsonargparse passes the value of a nested class's argument on in Python notation: null becomes the text ``None`` and
    ``{a: null}`` becomes ``{'a': None}``. A typed ``None`` is read as null, too.

    >>> in_yaml_notation("--network.encoder_weights=None")
    '--network.encoder_weights=null'
    >>> in_yaml_notation("--weights={'a': None, 'b': [-inf, 'None']}")
    "--weights={'a': null, 'b': [-.inf, 'None']}"
    """
    name, equals, value = word.partition("=")
    if not equals or not name.startswith("-"):
        name, equals, value = "", "", word
    if value == "None":
        value = "null"
    elif value[:1] in ("{", "["):
        value = _PYTHON.sub(lambda found: _YAML.get(found[0], found[0]), value)
    return name + equals + value


class _OneSentence(CheckedParser):
    """Common base of the two parsers below; jsonargparse also uses it for the classes that a setting names."""

    _words: Sequence[str] = ()
    _folder = Path()

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **settings})  # max_depth does not stand for max_depth_m

    def parse_args(  # type: ignore[override]  # as jsonargparse's own
        self, args: Sequence[str] | None = None, *rest: Any, **settings: Any
    ) -> Any:
        """Parse words; null is accepted at any depth, and files of another kind are refused with a message."""
        words = [in_yaml_notation(word) for word in (sys.argv[1:] if args is None else args)]
        if not self._is_inner:
            self._words, self._folder = words, Path.cwd()
            LOADER.failure = None
            try:
                self._words = words = take_allowed(words)
            except ValueError as error:
                self._refuse(str(error), error)
            if own_help(self, words):
                raise SystemExit(0)
            first = {action.dest.split(".")[0] for action in parser_actions(self) if action.option_strings}
            known = sorted(first - {"help", "print_config"})
            try:
                for name, text in options(words):
                    if name == "config" and text is not None and {"config", "model"} <= {*known}:
                        check_config_file(text, known)
                    elif name in ("model", "data"):
                        check_extends(text)
            except ConfigFileError as error:
                self._refuse(str(error), error)
        return super().parse_args(words, *rest, **settings)

    @property
    def _is_inner(self) -> bool:
        """Whether jsonargparse made the parser for one class; its errors are raised to the parser of the command."""
        return getattr(self, "_inner_parser", False)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with 2, or raise if ``exit_on_error`` is False."""
        if self._is_inner:
            super().error(message, ex)
        if LOADER.failure is not None:  # the parser takes a file that it cannot load for plain text
            self._refuse(str(LOADER.failure), ex)
        with contextlib.chdir(self._folder):  # jsonargparse changes into the folder of the file that it reads
            sentence = explain(self, self._words, message)
        self._refuse(sentence, ex)

    def _refuse(self, sentence: str, ex: Exception | None) -> NoReturn:
        if not self.exit_on_error:
            raise argparse.ArgumentError(None, sentence) from ex
        if os.environ.get(TRACEBACK_VARIABLE) and ex is not None:
            raise ex
        commands = subcommand_parsers(self)
        prog = self.prog.replace(" [options]", "")
        exit_with(sentence, f"{prog} {self._words[0]}" if self._words and self._words[0] in commands else prog)


class SettingsParser(_OneSentence):
    """Parser of a tool that takes classes with their arguments, such as ``--data``."""


class CommandParser(_OneSentence, LightningArgumentParser):
    """Parser of ``fit``, ``validate``, ``test`` and ``predict``."""
