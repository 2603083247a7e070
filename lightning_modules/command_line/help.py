"""Short help: the most used settings, the classes of this project, and ``--trainer.help`` for the rest."""

import inspect
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser

from lightning_modules.command_line.classes import ClassPathError, find_class, group_of, own_subclasses, parameters_of
from lightning_modules.command_line.diagnosis import parser_types
from lightning_modules.command_line.wording import expected, returned_classes, shown, takes_a_class

_WIDTH = 110
_INDENT = 30
_TRAINER_FIRST = {
    "max_steps": "length of the training in steps",
    "max_epochs": "length of the training in epochs",
    "max_time": "length of the training in time, DD:HH:MM:SS",
    "val_check_interval": "steps (or part of an epoch) between validations",
    "check_val_every_n_epoch": "epochs between validations; null counts val_check_interval in steps",
    "limit_train_batches": "batches an epoch, or part of them, for a short try",
    "limit_val_batches": "batches a validation, or part of them",
    "accumulate_grad_batches": "batches summed for one step",
    "gradient_clip_val": "largest norm of the gradient",
    "precision": "numbers of the computation",
    "accelerator": "auto, cpu or gpu",
    "devices": "how many devices, or which",
    "strategy": "auto, or ddp for several devices",
    "log_every_n_steps": "steps between logged values",
    "fast_dev_run": "one batch of everything, nothing is written",
}
_TITLES = {
    "fit": "Train an experiment and test its best checkpoint.",
    "validate": "Validate a checkpoint.",
    "test": "Test a checkpoint.",
    "predict": "Predict with a checkpoint.",
}


def own_help(parser: ArgumentParser, words: Sequence[str]) -> bool:
    """Print the help that the command line requests.

    Args:
        parser: Parser of a command with settings of a model.
        words: The words of the command line.

    Returns:
        Whether one is requested: ``--help``, ``--trainer.help``, ``--model.help [CLASS]`` or ``--data.help [CLASS]``.
    """
    types = parser_types(parser)
    prog = parser.prog.replace(" [options]", "")
    for position, word in enumerate(words):
        name, _, value = word.partition("=")
        following = words[position + 1 : position + 2]
        path = value or (following[0] if following and not following[0].startswith("-") else "")
        if name in ("-h", "--help") and "model" in types:
            sys.stdout.write(command_help(prog, types, parser.get_defaults()))
        elif name == "--trainer.help" and "trainer.max_steps" in types:
            sys.stdout.write(trainer_help(prog, types, parser.get_defaults()))
        elif name in ("--model.help", "--data.help") and name[2:-5] in types:
            sys.stdout.write(class_help(prog, name[2:-5], types[name[2:-5]], path))
        else:
            continue
        return True
    return False


def command_help(prog: str, types: dict[str, Any], defaults: Any) -> str:
    """Help of one command: its settings in the order of their use."""
    command = prog.rpartition(" ")[2]
    lines = [
        f"usage: {prog} --config experiments/NAME.yaml [--config MORE.yaml ...] [--SETTING VALUE ...]",
        "",
        _TITLES.get(command, ""),
        "",
        "Files and options are merged in their order; later ones override earlier ones.",
        "",
        "experiment:",
        _row("--config FILE", "settings; experiments/*.yaml are complete, further files change them"),
        _row("--data FILE", "other data: experiments/data/*.yaml, or a class path"),
        _row("--model.init_args.X VALUE", "a setting of the paper, such as loss_weights.l1; --model.help"),
        _row("--data.init_args.X VALUE", "a setting of the data, such as batch_size or root; --data.help"),
        _row("--seed_everything N", "seed of weights, order and augmentation (default: 0)"),
    ]
    lines += _run_rows(types, defaults)
    lines += ["", "training (all options of the trainer: --trainer.help):"]
    for name, what in _TRAINER_FIRST.items():
        if f"trainer.{name}" in types:
            lines.append(_row(f"--trainer.{name}", f"{what} (default: {shown(defaults.get(f'trainer.{name}'))})"))
    lines += [
        "",
        "help:",
        _row("--print_config", "print all settings after merging, and leave"),
        _row("--trainer.help", "all options of the trainer"),
        _row("--model.help [CLASS]", "the papers, or the settings of one"),
        _row("--data.help [CLASS]", "the kinds of data, or the settings of one"),
        "",
        "PLUMBLINE_TRACEBACK=1 shows where an error comes from; RUN_ID names the run,",
        "by which the same command finds it again and goes on.",
        "",
    ]
    return "\n".join(lines)


def _run_rows(types: dict[str, Any], defaults: Any) -> list[str]:
    words = {
        "experiment": "name of the run's folder (default: the first file's)",
        "runs_dir": f"folder of all runs (default: {defaults.get('runs_dir')})",
        "tags": "further tags of the W&B run, [a, b]",
        "test_after_fit": "whether to test the best checkpoint after training (default: true)",
        "task_callbacks": "pictures and files of the task: true, false, or class names, [A, B] (default: true)",
        "ckpt_path": "checkpoint to begin from, or to test; last: the run's own, also with other settings",
        "weights_only": "whether a checkpoint may hold tensors and plain values alone",
        "verbose": "whether to print the scores",
        "return_predictions": "whether to keep predictions in memory",
    }
    rows = [_row(f"--{name}", words[name]) for name in words if name in types]
    return ["", "run:", *rows]


def trainer_help(prog: str, types: dict[str, Any], defaults: Any) -> str:
    """Every option of the trainer with its type and default."""
    lines = [f"usage: {prog} ... --trainer.OPTION VALUE (Lightning's manual describes them)", ""]
    for name, hint in types.items():
        if name.startswith("trainer."):
            default = defaults.get(name)
            text = "the experiment's or _defaults.yaml's" if isinstance(default, list) else shown(default)
            kinds = textwrap.shorten(expected(hint), 2 * _WIDTH, placeholder=" ...")
            lines.append(_row(f"--{name}", f"{kinds} (default: {text})"))
    return "\n".join([*lines, ""])


def class_help(prog: str, key: str, base: Any, path: str) -> str:
    """The classes that a setting accepts, or the settings of one of them."""
    bases = tuple(c for c in (base, *getattr(base, "__args__", ())) if inspect.isclass(c) and takes_a_class(c))
    if not path:
        package = {"model": "lightning_modules", "data": "datamodules"}[key]
        lines = [f"usage: {prog} ... --{key} CLASS (--{key}.help CLASS lists its settings)", ""]
        lines += [_row(name, _first_line(found)) for name, found in own_subclasses(bases, (package,)).items()]
        return "\n".join([*lines, ""])
    try:
        found = find_class(path, bases)
    except ClassPathError as error:
        sys.stderr.write(f"error: --{key}.help: {error}\n")
        raise SystemExit(2) from None
    lines = [f"{path}: {_first_line(found)}", "", f"settings (--{key}.init_args.NAME VALUE):", *_setting_rows(found)]
    return "\n".join([*lines, ""])


def _setting_rows(found: Any, prefix: str = "", defaults: Any = None) -> list[str]:
    """One row for every setting of a class; those of a group of settings below it, with the defaults of the class."""
    described = _described(found)
    rows = []
    for name, parameter in parameters_of(found).items():
        value = getattr(defaults, name, parameter.default)
        if group_of(parameter.annotation) is not None:
            rows += _setting_rows(parameter.annotation, f"{prefix}{name}.", value)
            continue
        default = "needed" if value is parameter.empty else f"default: {_default(value)}"
        kinds = "" if parameter.annotation is parameter.empty else f"{_kinds(parameter.annotation)}, "
        rows.append(_row(f"{prefix}{name}", f"{described.get(name, '')} ({kinds}{default})".strip()))
    return rows


def _kinds(hint: Any) -> str:
    return "a class" if takes_a_class(hint) and not returned_classes(hint) else expected(hint)


def _default(value: Any) -> str:
    return getattr(value, "__name__", None) or shown(value)


def _row(name: str, text: str) -> str:
    head = f"  {name}"
    indent = " " * _INDENT
    wrapped = textwrap.wrap(" ".join(text.split()), _WIDTH - _INDENT) or [""]
    if len(head) < _INDENT - 1:
        wrapped[0] = f"{head:<{_INDENT}}{wrapped[0]}"
        return "\n".join([wrapped[0], *(indent + line for line in wrapped[1:])])
    return "\n".join([head, *(indent + line for line in wrapped)])


def _first_line(found: Any) -> str:
    return (inspect.getdoc(found) or "").strip().split("\n")[0]


def _described(found: Any) -> dict[str, str]:
    """Description of every argument, from the ``Args`` of the docstrings of a class and its bases."""
    from docstring_parser import parse  # comes with jsonargparse

    described: dict[str, str] = {}
    for owner in found.__mro__ if inspect.isclass(found) else (found,):
        for parameter in parse(owner.__doc__ or "").params:
            text = " ".join((parameter.description or "").split())
            if not text.startswith("See :class:") or parameter.arg_name not in described:
                previous = described.get(parameter.arg_name, "See")
                described[parameter.arg_name] = text if previous.startswith("See") else previous
    return described
