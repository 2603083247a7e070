"""The files of experiments/data through the parser of the command line."""

from pathlib import Path

import pytest
from jsonargparse import ArgumentParser
from lightning import LightningDataModule

from datamodules.base import DepthDataModule
from datamodules.rooms.datamodule import RoomsDataModule
from datamodules.rooms.settings import RoomsSettings

FOLDER = Path(__file__).parents[2] / "experiments" / "data"


pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")


def load(path: Path, *arguments: str) -> DepthDataModule:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    config = parser.parse_args([f"--data={path}", *arguments])
    return parser.instantiate_classes(config).data  # the name that every supported jsonargparse knows


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_file_makes_a_data_module(path: Path) -> None:
    data = load(path)
    assert isinstance(data, DepthDataModule)
    assert data.augmentation is not None
    assert isinstance(data.image_size, tuple)


def test_rooms_file_spells_out_the_default_settings() -> None:
    data = load(FOLDER / "rooms.yaml")
    assert isinstance(data, RoomsDataModule)
    assert data.settings == RoomsSettings()
    assert data.settings.fingerprint() == RoomsSettings().fingerprint()


def test_settings_are_overridden_one_by_one() -> None:
    data = load(FOLDER / "rooms.yaml", "--data.init_args.settings.plain_wall_fraction=0.9", "--data.init_args.root=x")
    assert data.settings == RoomsSettings(plain_wall_fraction=0.9)
    assert str(data.path) == f"x/rooms-{data.settings.fingerprint()}.h5"


def test_misspelt_setting_is_refused() -> None:
    with pytest.raises(Exception, match="plane_wall_fraction"):
        load(FOLDER / "rooms.yaml", "--data.init_args.settings.plane_wall_fraction=0.9")
