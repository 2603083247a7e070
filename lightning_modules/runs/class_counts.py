"""Number of classes of a network, read from the data or a checkpoint where the configuration has null."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import LightningDataModule

from lightning_modules.runs.loading import RECIPE_KEY, read_checkpoint
from lightning_modules.tasks.batch_needs import OBJECTS

_KEY = "n_classes"


def fill_class_count(config: Namespace, checkpoint: Path | None = None) -> None:
    """Write the number of classes of the data into a configuration whose network has ``n_classes: null``.

    Everything that is made from the configuration afterwards (its record, the hyper-parameters in a checkpoint) then
    holds the number, so that a module is built again without its data. A number that the user has set stays.

    Args:
        config: Configuration of a subcommand with ``model`` and ``data``; only ``n_classes`` is written.
        checkpoint: What the run loads, if anything; asked where the data have no classes, such as a folder of photos.

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
        asked = "the run has no data" if data is None else f"the data of {data.class_path} have no classes"
        raise ValueError(
            f"{asked} from which the network could take how many it tells apart: {OBJECTS.source}, give the file of a "
            "trained checkpoint as ckpt_path, or set model.init_args.network.init_args.n_classes"
        )
    network[_KEY] = int(count)


def _network(model: Mapping[str, Any] | Namespace | None) -> Any:
    """Arguments of a model's network, out of those of the model: plain values or a namespace, as the model's are."""
    network = None if model is None else model.get("network")
    return network.get("init_args") if isinstance(network, dict | Namespace) else None


def _of_data(data: Namespace | None) -> int | None:
    """Number of classes of a data module that is built for this alone."""
    if data is None:
        return None
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data", required=True)
    # A throw-away module must not shift the draws of the run that is about to start.
    with torch.random.fork_rng(devices=[]):
        count: int | None = getattr(parser.instantiate(Namespace(data=data)).data, _KEY, None)
    return count
