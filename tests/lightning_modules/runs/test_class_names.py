"""Names of classes in a checkpoint, from the data, for photos that have none."""

from types import SimpleNamespace

import pytest
import torch

from datamodules.rooms.categories import CATEGORY_ID
from datamodules.rooms.datamodule import RoomsDataModule
from lightning_modules.runs.class_names import check_classes, class_table
from lightning_modules.runs.record import RunRecord
from lightning_modules.teachers.segmenter import Segmenter
from networks.segmenter import SegmentationNet
from tests.data.make_constant_depth import ConstantDepth


def make_segmenter(n_classes):
    return Segmenter(SegmentationNet(n_classes, encoder_weights=None, decoder_widths=(4, 4, 4, 4, 4)))


def test_the_names_of_the_data_go_into_the_checkpoint_and_come_back(tmp_path):
    record = object.__new__(RunRecord)
    record.plain_config = {"model": {"class_path": "a.B"}}
    record.record = {}
    data = SimpleNamespace(class_names=["wall", "floor"], category_ids=[3, 8])
    checkpoint = {}
    record.on_save_checkpoint(SimpleNamespace(datamodule=data), make_segmenter(2), checkpoint)
    torch.save(checkpoint, tmp_path / "x.ckpt")
    loaded = torch.load(tmp_path / "x.ckpt", weights_only=True)
    module = make_segmenter(2)
    module.on_load_checkpoint(loaded)
    assert (module.class_names, module.category_ids) == (["wall", "floor"], [3, 8])


def test_names_of_another_number_of_classes_are_not_taken():
    module = make_segmenter(2)
    assert class_table(SimpleNamespace(class_names=["wall"]), module) == {}
    module.class_names = ["a", "b"]
    assert class_table(SimpleNamespace(class_names=["wall"]), module) == {"class_names": ["a", "b"]}
    assert class_table(None, module) == {"class_names": ["a", "b"]}


def trained_on(*names):
    module = make_segmenter(len(names))
    module.class_names = list(names)
    return module


def test_the_same_classes_are_evaluated_without_a_word(recwarn):
    check_classes(SimpleNamespace(class_names=["wall", "floor"], n_classes=2), trained_on("wall", "floor"))
    check_classes(SimpleNamespace(class_names=["wall", "floor"]), make_segmenter(2))  # names are not known
    check_classes(None, trained_on("wall", "floor"))
    assert not recwarn.list


def test_another_order_or_number_of_classes_is_refused():
    with pytest.raises(ValueError, match=r"class 1 is 'wall' for the network, but 'floor' in the data .*another order"):
        check_classes(SimpleNamespace(class_names=["floor", "wall"]), trained_on("wall", "floor"))
    with pytest.raises(ValueError, match="predicts 2 classes, but the data have 3"):
        check_classes(SimpleNamespace(n_classes=3), trained_on("wall", "floor"))


def test_other_names_are_said():
    with pytest.warns(UserWarning, match=r"class 2 is 'floor' for the network, but 'ground' in the data"):
        check_classes(SimpleNamespace(class_names=["wall", "ground"]), trained_on("wall", "floor"))


@pytest.mark.parametrize("hook", ["on_validation_start", "on_test_start"])
def test_validation_and_test_compare_the_classes(hook):
    module = trained_on("wall", "floor")
    module._trainer = SimpleNamespace(datamodule=SimpleNamespace(class_names=["floor", "wall"]))
    with pytest.raises(ValueError, match="another order"):
        getattr(module, hook)()


def test_depth_networks_have_no_classes():
    check_classes(SimpleNamespace(n_classes=3), ConstantDepth(1.0, None))
    assert class_table(SimpleNamespace(class_names=["wall"]), ConstantDepth(1.0, None)) == {}


def test_checkpoints_from_before_have_no_names():
    module = make_segmenter(2)
    module.on_load_checkpoint({"plumbline": {"class_path": "a.B", "model": {}}})
    module.on_load_checkpoint({})
    assert module.class_names is None


def test_the_classes_of_rooms_have_their_names(tmp_path):
    names = RoomsDataModule(root=str(tmp_path)).class_names
    assert {name: number for number, name in enumerate(names, start=1)} == CATEGORY_ID
