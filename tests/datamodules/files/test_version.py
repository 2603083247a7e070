"""Versions of files: a function of their content alone."""

from datamodules.coco.datamodule import CocoDataModule
from datamodules.depth_list import DepthListDataModule
from datamodules.files.version import files_version, joined_version
from datamodules.manifest.datamodule import ManifestDataModule
from datamodules.mixed.datamodule import MixedDataModule
from datamodules.mixed.sources import ManifestDomain, RoomsDomain
from datamodules.rooms.settings import RoomsSettings


def test_the_content_counts_and_nothing_else(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"12")
    b.write_bytes(b"3")
    version = files_version("list", [a, b])
    assert version.startswith("list-")
    assert len(version) == len("list-") + 12
    moved = a.rename(tmp_path / "c")
    assert files_version("list", [moved, b]) == version
    assert files_version("list", [b, moved]) != version
    moved.write_bytes(b"1")
    b.write_bytes(b"23")
    assert files_version("list", [moved, b]) != version, "the bytes of one file are not those of the next"
    assert files_version("list", [moved, moved]) == files_version("list", [moved])


def test_a_file_that_cannot_be_read_has_no_version(tmp_path):
    assert files_version("list", [tmp_path / "missing"]) is None
    assert joined_version(["a", None]) is None
    assert joined_version([]) is None


def test_data_modules_give_what_they_have(tmp_path):
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("image,depth\n")
    data = ManifestDataModule(str(tmp_path))
    before = data.data_version
    assert before == files_version("manifest", [manifest])
    manifest.write_text("image,depth,split\n")
    assert data.data_version != before

    rooms = RoomsDomain(name="rooms", settings=RoomsSettings(height=48, width=64))
    mixed = MixedDataModule(
        sources=[ManifestDomain(name="own", manifest="manifest.csv"), rooms], evaluation=rooms, root=str(tmp_path)
    )
    assert mixed.data_version == f"{data.data_version}+rooms-{rooms.settings.fingerprint()}"


def test_annotations_and_lists_count_and_their_images_do_not(tmp_path):
    names = ("train", "val")
    for name in names:
        (tmp_path / f"{name}.json").write_text(name)
    coco = CocoDataModule(root=str(tmp_path), train_json="train.json", val_json="val.json")
    assert coco.data_version == files_version("coco", [tmp_path / f"{name}.json" for name in names])
    (tmp_path / "test.txt").write_text("a.jpg a.png\n")
    listed = DepthListDataModule(str(tmp_path), layout="pairs")
    assert listed.data_version == files_version("list", [tmp_path / "test.txt"])
