"""A parser of plain options that reports a wrong command line in one sentence, without the usage text."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from lightning_modules.command_line.checked_parser import take_allowed
from lightning_modules.command_line.messages import in_plain_words
from structures.private_names import option_strings


def exit_with(sentence: str, prog: str) -> NoReturn:
    """Print a sentence with a hint to ``--help`` and exit with 2.

    Raises:
        SystemExit: Always.
    """
    sys.stderr.write(f"error: {sentence} (`{prog} --help` lists the settings)\n")
    raise SystemExit(2)


class PlainParser(argparse.ArgumentParser):
    """``argparse.ArgumentParser`` whose errors are one sentence that suggests the nearest option."""

    def parse_known_args(  # type: ignore[override]  # as argparse's own
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Parse words, after ``--allow-class`` and ``--allow-any-class``, which every tool takes."""
        try:
            words = take_allowed(list(sys.argv[1:] if args is None else args))
        except ValueError as error:
            self.error(str(error))
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """Exit with 2."""
        exit_with(in_plain_words(message, option_strings(self)), self.prog)
