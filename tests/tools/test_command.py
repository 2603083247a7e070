"""The frame of the tools: exit codes, one sentence for bad input, default data."""

import logging
from pathlib import Path

import pytest

from tools.command import few_messages, plain_parser, run_tool, settings_parser, with_default_data

DOC = "First paragraph.\n\nSecond paragraph."


def parser(make):
    parser = make("tools.example", DOC)
    parser.add_argument("--count", type=int, default=1)
    return parser


both = pytest.mark.parametrize("make", [plain_parser, settings_parser])


@both
@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3)])
def test_the_exit_code_is_that_of_the_work(make, returned, code):
    seen = []
    assert run_tool(parser(make), lambda options: seen.append(options.count) or returned, ["--count", "5"]) == code
    assert seen == [5]


@both
@pytest.mark.parametrize("error", [ValueError("too small"), ImportError("too small"), OSError("too small")])
def test_an_expected_error_is_one_sentence(make, error, capsys, monkeypatch):
    def work(options):
        raise error

    assert run_tool(parser(make), work, []) == 1
    assert capsys.readouterr().err == "error: too small\n"
    monkeypatch.setenv("PLUMBLINE_TRACEBACK", "1")
    with pytest.raises(type(error)):
        run_tool(parser(make), work, [])


@both
def test_a_bug_is_not_hidden(make):
    def work(options):
        raise KeyError("bug")

    with pytest.raises(KeyError):
        run_tool(parser(make), work, [])


@both
def test_a_wrong_call_is_one_sentence_and_returns_two(make, capsys):
    for words in (["--count", "many"], ["--cuont", "1"]):
        assert run_tool(parser(make), lambda options: 0, words) == 2
        printed = capsys.readouterr().err
        assert printed.startswith("error: ")
        assert printed.count("\n") == 1


@both
def test_help_describes_the_tool_and_returns_zero(make, capsys):
    assert run_tool(parser(make), lambda options: 1, ["--help"]) == 0
    printed = capsys.readouterr().out
    assert "python -m tools.example" in printed
    assert "First paragraph." in printed
    assert "Second" not in printed


def test_data_are_the_default_unless_given():
    default = Path("rooms.yaml")
    assert with_default_data(["--x", "1"], default, "--data.a=2") == ["--data", "rooms.yaml", "--data.a=2", "--x", "1"]
    for given in (["--data", "own.yaml"], ["--data=own.yaml", "--x", "1"]):
        assert with_default_data(given, default, "--data.a=2") == given


def test_the_level_of_the_logger_is_restored():
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    levels = []

    def work(options):
        with few_messages():
            levels.append(logger.level)
            raise ValueError("stop")

    assert run_tool(parser(plain_parser), work, []) == 1
    assert levels == [logging.WARNING]
    assert logger.level == level
