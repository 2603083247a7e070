"""Number of classes of a network, taken from the data or a checkpoint if the configuration has null."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule

from lightning_modules.command_line.checked_parser import CheckedParser
from lightning_modules.runs.loading import RECIPE_KEY, read_checkpoint
from lightning_modules.tasks.batch_needs import OBJECTS

_KEY = "n_classes"


def fill_class_count(config: Namespace, checkpoint: Path | None = None) -> None:
    """Replace ``n_classes: null`` of the network in a configuration by the number of classes of the data.

    The record of the run and the hyper-parameters in its checkpoints then have the number, so that a module can be
    built without its data. A number that is set is kept.

    Args:
        config: Configuration of a subcommand with ``model`` and ``data``; only ``n_classes`` is changed.
        checkpoint: The checkpoint that the run loads, if any; used if the data have no classes (photos).

    Raises:
        FileNotFoundError: If the checkpoint, or a file that the data take their classes from, does not exist.
        CheckpointError: If the checkpoint cannot be used.
        ValueError: If neither has a number of classes, or the data are wrong.
    """
    network = _network(config.model.get("init_args"))
    if network is None or network.get(_KEY, 0) is not None:
        return
    data = config.get("data")
    count = _of_data(data)
    if count is None and checkpoint is not None:
        trained = _network(read_checkpoint(checkpoint)[RECIPE_KEY]["model"])
        count = None if trained is None else trained.get(_KEY)
    if count is None:
        reason = "the run has no data" if data is None else f"the data of {data.class_path} have no classes"
        raise ValueError(
            f"{reason}, so the number of classes of the network is not known: {OBJECTS.source}, give the file of a "
            "trained checkpoint as ckpt_path, or set model.init_args.network.init_args.n_classes"
        )
    network[_KEY] = int(count)


def _network(model: Mapping[str, Any] | Namespace | None) -> Any:
    """Arguments of the network among the arguments of a model, as plain values or as a namespace."""
    network = None if model is None else model.get("network")
    return network.get("init_args") if isinstance(network, dict | Namespace) else None


def _of_data(data: Namespace | None) -> int | None:
    """Number of classes of a data module, which is built only to read it."""
    if data is None:
        return None
    parser = CheckedParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data", required=True)
    # Building it must not change the random state of the run.
    with torch.random.fork_rng(devices=[]):
        count: int | None = getattr(parser.instantiate(Namespace(data=data)).data, _KEY, None)
    return count
