"""Common part of the data modules of rooms: settings, location and rendering of the data file."""

from pathlib import Path
from typing import Any

from datamodules.base import LoaderDataModule
from datamodules.rooms.make_store import DEFAULT_RENDERER, build_store, default_root, store_path
from datamodules.rooms.settings import RoomsSettings
from datamodules.rooms.store import RoomsStore


def open_store(path: Path, settings: RoomsSettings) -> RoomsStore:
    """Return the opened data file of the settings.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is truncated or no rooms file, or was rendered with other settings.
    """
    store = RoomsStore(path)
    if store.fingerprint != settings.fingerprint():
        raise ValueError(f"{path} holds rooms of other settings: move it away and run `make data`.")
    return store


class RoomsFileModule(LoaderDataModule):
    """Base class of the data modules of rooms, combined with the base class of their kind of samples.

    The data file is rendered on first use (``prepare_data``) and keyed by a hash of its settings.

    Args:
        settings: Settings of the rooms; None uses the defaults. Every value is part of the key of the file.
        root: Folder of the file; None uses ``$PLUMBLINE_DATA``, or ``data`` in the working directory.
        processes: Processes that render the data set; None uses one per core, 0 renders in this process.
        renderer: ``module:function`` that renders a sequence.
        base: Arguments of the other base class.
    """

    def __init__(
        self,
        *,
        settings: RoomsSettings | None = None,
        root: str | None = None,
        processes: int | None = None,
        renderer: str = DEFAULT_RENDERER,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.settings = RoomsSettings() if settings is None else settings
        self.root = default_root() if root is None else Path(root)
        self.processes = processes
        self.renderer = renderer
        self._store: RoomsStore | None = None

    @property
    def path(self) -> Path:
        """Path of the data file, which may not exist yet."""
        return store_path(self.settings, self.root)

    @property
    def content_key(self) -> str:
        """Key of the settings."""
        return f"rooms-{self.settings.fingerprint()}"

    @property
    def store(self) -> RoomsStore:
        """The data file, opened on first use.

        Raises:
            FileNotFoundError: If ``prepare_data`` did not run.
            ValueError: If the file is truncated or no rooms file.
        """
        if self._store is None:
            self._store = open_store(self.path, self.settings)
        return self._store

    def prepare_data(self) -> None:
        """Render the data set if it does not exist, with a progress bar; an interrupted run is resumed."""
        build_store(self.settings, self.root, processes=self.processes, renderer=self.renderer)
