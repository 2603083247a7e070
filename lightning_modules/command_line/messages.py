"""Rewrites messages of argparse and jsonargparse as one sentence without names of Python types."""

import re
from collections.abc import Sequence

from lightning_modules.command_line.wording import did_you_mean, shown

_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "NoneType": "null",
    "list": "a list such as [a, b]",
    "tuple": "a list such as [a, b]",
    "dict": "a mapping such as {name: value}",
}


def in_plain_words(message: str, known: Sequence[str] = ()) -> str:
    """A parser's message as one sentence.

    Args:
        message: Message of argparse or jsonargparse, of any number of lines.
        known: Options of the command, to suggest the nearest one.

    >>> in_plain_words("argument --jobs: invalid int value: 'x'")
    "--jobs: 'x' is not a whole number"
    >>> in_plain_words("unrecognized arguments: --jbos 2", ["--jobs"])
    "there is no option '--jbos'; did you mean '--jobs'?"
    """
    line = " ".join(message.split())
    if found := re.fullmatch(r"unrecognized arguments: (\S+).*", line):
        word = found[1].split("=")[0]
        if not word.startswith("-"):
            return f"{shown(word)} is one word too many: options begin with --"
        return f"there is no option '{word}'{did_you_mean(word, known)}"
    if found := re.fullmatch(r"argument (\S+): invalid choice: (.+?) \(choose from (.+)\)", line):
        choices = [choice.strip().strip("'\"") for choice in found[3].split(",")]
        value = found[2].strip("'\"")
        return f"{_option(found[1])}: {shown(value)} is none of {', '.join(choices)}{did_you_mean(value, choices)}"
    if found := re.fullmatch(r"argument (\S+): invalid (\w+) value: (.+)", line):
        return f"{_option(found[1])}: {found[3]} is not {_TYPES.get(found[2], 'a ' + found[2])}"
    if found := re.fullmatch(r"argument (\S+): expected (one|at least one|\d+) arguments?", line):
        count = "a value is" if "one" in found[2] else f"{found[2]} values are"
        return f"{_option(found[1])}: {count} missing"
    if found := re.fullmatch(r"argument (\S+): ignored explicit argument (.+)", line):
        return f"{_option(found[1])} takes no value, {found[2]} was given"
    if found := re.fullmatch(r"the following arguments are required: (.+)", line):
        missing = [name.strip() for name in found[1].split(",")]
        return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    if found := re.search(r"(?:Option|option) '([^']+)' is not accepted", line):
        return f"there is no setting '{found[1]}'"
    return _without_types(line)


def _option(name: str) -> str:
    """The long form of ``-c/--config``."""
    return name.split("/")[-1]


def _without_types(line: str) -> str:
    line = re.sub(r'Parser key "([^"]+)":', r"\1:", line)
    value = re.search(r"Given value: (.+)$", line)
    line = re.sub(r"- Expected a path but .* either not accessible or invalid ", "", line)
    line = re.sub(r"Does not validate against any of the Union subtypes Subtypes: .*? Errors: ", "", line)
    line = re.sub(r"Given value type: .*$", "", line).replace(" - ", "; ").replace(": -", ":")
    line = re.sub(r"Expected an? <class '(?:\w+\.)*(\w+)'>", lambda m: _TYPES.get(m[1], m[1]) + " is needed", line)
    line = re.sub(r"Expected a (?:typing\.)?Literal\[([^]]+)\]", r"one of \1 is needed", line)
    line = re.sub(r"\. Got value: ", ", not ", line).strip(" ;")
    return line + (f", not {shown(value[1])}" if value else "")
