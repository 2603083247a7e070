"""Files of experiments/data, parsed by the command line parser."""

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import ArgumentParser
from lightning import LightningDataModule

import cli
from datamodules.base import LoaderDataModule
from datamodules.instances import InstanceDataModule
from datamodules.rooms.datamodule import RoomsDataModule
from datamodules.rooms.settings import RoomsSettings
from datamodules.samples.clips import ClipAugmentation
from datamodules.samples.instance_transforms import InstanceAugmentation
from datamodules.samples.transforms import DepthAugmentation
from datamodules.video import VideoDataModule
from lightning_modules.command_line.extends import read_settings

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FOLDER = EXPERIMENTS / "data"
FILES = sorted(FOLDER.glob("[!_]*.yaml"))


pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")


def load(path: Path, *arguments: str) -> LoaderDataModule:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    config = parser.parse_args([f"--data={path}", *arguments])
    return parser.instantiate_classes(config).data  # the name that every supported jsonargparse knows


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_makes_a_data_module(path: Path) -> None:
    data = load(path)
    assert isinstance(data, LoaderDataModule)
    augmentation = data.clip_augmentation if isinstance(data, VideoDataModule) else data.augmentation
    assert (augmentation is None) == path.stem.endswith("_eval")  # on which nothing is trained
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


def resolved(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    with pytest.raises(SystemExit) as left:
        cli.main(["fit", *arguments, "--print_config"])
    assert left.value.code == 0
    data: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)["data"]
    return data


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("experiment", ["resnet_unet", "resnet_unet_nyuv2"])
def test_data_swapped_into_an_experiment_are_what_they_are_alone(
    capsys: pytest.CaptureFixture[str], experiment: str, path: Path
) -> None:
    alone = resolved(capsys, "--model=lightning_modules.supervised_depth.SupervisedDepth",
                     "--model.network=networks.fcn.FCN", f"--data={path}")  # fmt: skip
    swapped = resolved(capsys, "--config", str(EXPERIMENTS / f"{experiment}.yaml"), "--data", str(path))
    assert swapped == alone


def arguments_of(data_module: type) -> set[str]:
    """Return the arguments of a class, including those that it forwards to its bases as ``**base``."""
    own: set[str] = set()
    for owner in data_module.__mro__:
        if "__init__" in vars(owner):
            parameters = inspect.signature(owner.__init__).parameters.values()
            own |= {p.name for p in parameters if p.name != "self" and p.kind is not p.VAR_KEYWORD}
            if all(p.kind is not p.VAR_KEYWORD for p in parameters):
                break
    return own


def test_every_file_spells_out_every_key_that_the_data_sets_share() -> None:
    arguments: dict[bool, list[tuple[set[str], set[str]]]] = {False: [], True: []}  # by whether data have instances
    augmentations: list[tuple[str, set[str]]] = []
    for path in FILES:
        content = read_settings(path)
        module, _, name = content["class_path"].rpartition(".")
        data_module = getattr(importlib.import_module(module), name)
        accepted = arguments_of(data_module)
        arguments[issubclass(data_module, InstanceDataModule)].append((accepted, set(content["init_args"])))
        augmentation = content["init_args"]["augmentation"]
        if augmentation is not None:
            augmentations.append((augmentation["class_path"], set(augmentation["init_args"])))
    for group in arguments.values():
        shared = set.intersection(*(accepted for accepted, _ in group))
        assert {"root", "seed", "cache", "train_subset", "augmentation"} <= shared
        assert all(shared <= written for _, written in group)
    classes = (DepthAugmentation, ClipAugmentation, InstanceAugmentation)
    known = {f"{c.__module__}.{c.__name__}": inspect.signature(c).parameters for c in classes}
    assert all(written == set(known[name]) for name, written in augmentations)


@pytest.mark.parametrize("name", ["coco_instances", "own_instances_depth", "rooms_instances"])
@pytest.mark.parametrize("setting", ["aspect=crop", "depth_scale=image_max"])
def test_settings_of_depth_are_refused_where_they_would_have_no_effect(name: str, setting: str) -> None:
    with pytest.raises(Exception, match=setting.split("=", maxsplit=1)[0]):
        load(FOLDER / f"{name}.yaml", f"--data.init_args.{setting}")
