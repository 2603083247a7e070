"""Every private name of another package exists in the installed version and does what it is used for."""

import argparse
import atexit
import importlib.metadata
import inspect
import re

import jsonargparse
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from structures import private_names

CONSTANT = private_names.SAVE_ON_TRAIN_EPOCH_END


def owners():
    """An object for each private name, by the name."""
    trainer = Trainer(logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu")
    loop, checkpoint = trainer.fit_loop, ModelCheckpoint()
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--size", type=tuple[int, int])
    hinted = next(action for action in parser._actions if action.dest == "size")
    return {
        "_should_check_val_fx": loop.epoch_loop,
        "_num_ready_batches_reached": loop.epoch_loop,
        "_batches_that_stepped": loop.epoch_loop,
        "_data_fetcher": loop,
        "_can_stop_early": loop,
        "_restarting": loop,
        "_combined_loader": loop,
        "_buffers": torch.nn.Linear(1, 1),
        "_version": torch.zeros(1),
        "_foreach_copy_": torch,
        "_signal_connector": trainer,
        "_broadcast_sigterm_tensor": loop.epoch_loop,
        "_last_global_step_saved": checkpoint,
        "_save_topk_checkpoint": checkpoint,
        "_monitor_candidates": checkpoint,
        CONSTANT: checkpoint,
        "_run_exitfuncs": atexit,
        "_actions": argparse.ArgumentParser(),
        "_option_string_actions": argparse.ArgumentParser(),
        "_SubParsersAction": argparse,
        "_typehint": hinted,
        "_common": jsonargparse,
    }


def missing(name, owner):
    """A sentence if an object lacks a private name, else None."""
    if hasattr(owner, name):
        return None
    kind = owner.__name__ if inspect.ismodule(owner) else f"{type(owner).__module__}.{type(owner).__name__}"
    package = kind.split(".")[0]
    checked, installed = private_names.CHECKED_WITH.get(package), "of this Python"
    if checked is not None:
        installed = importlib.metadata.version(package)
    return (
        f"{kind} of {package} {installed} has no '{name}' (checked with {checked}): mend structures/private_names.py "
        "or install the checked version"
    )


@pytest.mark.parametrize("name", owners())
def test_the_installed_version_has_the_name(name):
    problem = missing(name, owners()[name])
    if problem is not None:
        pytest.fail(problem, pytrace=False)


def test_a_missing_name_is_reported_with_both_versions():
    loop = Trainer(logger=False, accelerator="cpu").fit_loop
    installed = importlib.metadata.version("lightning")
    expected = rf"_FitLoop of lightning {installed} has no '_no_such' \(checked with {installed}\): mend structures/pri"
    assert re.search(expected, missing("_no_such", loop))


def test_every_name_in_the_file_is_checked():
    names = set(re.findall(r"\._([A-Za-z]\w*)|\"_([a-z]\w*)\"", inspect.getsource(private_names)))
    assert {f"_{first or second}" for first, second in names} == owners().keys()


def test_parsers_are_listed():
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--size", type=tuple[int, int])
    assert {"-h", "--help", "--size"} <= set(private_names.option_strings(parser))
    (size,) = (action for action in private_names.parser_actions(parser) if action.dest == "size")
    assert private_names.type_hint(size) == tuple[int, int]
    assert private_names.subcommand_parsers(parser) == {}
    plain = argparse.ArgumentParser()
    fit = plain.add_subparsers().add_parser("fit")
    assert private_names.subcommand_parsers(plain) == {"fit": fit}
