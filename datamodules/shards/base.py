"""Common part of the data modules of shards: location, description, and the training order."""

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from datamodules.base import LoaderDataModule, Split
from datamodules.shards.index import DESCRIPTION, Description, Kind, read_description
from datamodules.shards.order import shard_order
from datamodules.shards.storage import Storage
from datamodules.shards.store import ShardStore

Shuffle = Literal["samples", "shards"]
"""Training order: of all samples, as in every other data module, or of one group of shards after another."""


class ShardDataModule(LoaderDataModule):
    """Base class of the data modules of shards, combined with the base class of their kind of samples.

    ``make shards`` writes them. With ``shuffle: samples`` the batches are bit for bit those of the data module that was
    written; every sample is then read at random, for which the shards have to fit on the local disk. With
    ``shuffle: shards`` each process reads few shards at a time, which streams data from object storage. Both orders are
    functions of (seed, epoch): runs resume exactly, and processes share the samples without repeating any.

    Args:
        root: Folder of the shards, or its address in object storage, such as ``s3://bucket/folder``.
        shuffle: ``samples`` or ``shards``, see :data:`Shuffle`.
        lanes: For ``shards``: groups of shards that are read side by side; a multiple of the number of processes.
        block: For ``shards``: number of consecutive samples of a lane that are shuffled together.
        cache_folder: Folder of local copies of remote shards; None uses ``shards`` in the folder of embedded data.
        cache_gb: Size of these copies in 1e9 bytes, beyond which the least recently used are deleted; None keeps all.
        base: Arguments of the other base class.

    Raises:
        ValueError: If ``shuffle`` is unknown, or ``lanes``, ``block`` or ``cache_gb`` is out of range.
    """

    kind: Kind

    def __init__(
        self,
        root: str,
        *,
        shuffle: Shuffle = "samples",
        lanes: int = 8,
        block: int = 1024,
        cache_folder: str | None = None,
        cache_gb: float | None = None,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        if shuffle not in get_args(Shuffle):
            raise ValueError(f"shuffle '{shuffle}' is not known; choose 'samples' or 'shards'.")
        if lanes < 1 or block < 1:
            raise ValueError(f"lanes and block have to be at least 1, got {lanes} and {block}.")
        self.root = root
        self.shuffle: Shuffle = shuffle
        self.lanes = lanes
        self.block = block
        self.storage = Storage(root, cache_folder=cache_folder, cache_gb=cache_gb)
        self._description: Description | None = None
        self._stores: dict[str, ShardStore] = {}

    @property
    def description(self) -> Description:
        """The description of the shards, read on first use.

        Raises:
            FileNotFoundError: If there are no finished shards.
            ValueError: If they are of another kind, or the description is invalid.
        """
        if self._description is None:
            where = self.storage.where(DESCRIPTION)
            found = read_description(self.storage.path(DESCRIPTION, fresh=True), where)
            if found.kind != self.kind:
                raise ValueError(
                    f"{where} describes shards of kind {found.kind}, but {type(self).__name__} reads {self.kind}: use "
                    f"DATA={'shards' if found.kind == 'depth' else f'shards_{found.kind}'}."
                )
            self._description = found
        return self._description

    @property
    def val_is_test(self) -> bool:
        """Whether validation runs on the test split, as in the data that were written."""
        return self.description.val_is_test

    @property
    def content_key(self) -> str | None:
        """Key of the content of the data that were written."""
        return self.description.content_key

    @property
    def data_version(self) -> str:
        """Identity of the shards, drawn when they were written, after the key of what was written."""
        key = self.content_key
        return f"shards-{self.description.identity}" + ("" if key is None else f"+{key}")

    def prepare_data(self) -> None:
        """Check that there are shards of the right kind before training starts."""
        _ = self.description

    def store(self, split: Split) -> ShardStore:
        """Return the samples of a split, opened on first use.

        Raises:
            ValueError: If the split was not written.
        """
        folder = "test" if split == "val" and self.val_is_test else split
        if folder not in self.description.splits:
            raise ValueError(
                f"{self.storage.where(DESCRIPTION)} holds the splits {', '.join(self.description.splits)}, but not "
                f"{split}: write it as well (make shards)."
            )
        if folder not in self._stores:
            self._stores[folder] = ShardStore(self.storage, folder, version=self.description.identity)
        return self._stores[folder]

    def _stored_positions(self) -> npt.NDArray[np.int64]:
        """Return the stored position of each training sample before ``train_subset``: that of a clip's target."""
        return np.arange(len(self.store("train")), dtype=np.int64)

    def _training_order(self, epoch: int) -> npt.NDArray[np.int64]:
        if self.shuffle == "samples":
            return super()._training_order(epoch)
        positions = self._stored_positions()
        chosen = self._subset_positions("train", len(positions))
        shards = self.store("train").shard_of(positions if chosen is None else positions[chosen])
        return shard_order(shards, lanes=self.lanes, block=self.block, seed=self.seed, epoch=epoch)
