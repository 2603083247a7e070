"""Label files from predictions: what stands in them, what is skipped, what is refused, and that they can be resumed."""

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from lightning_modules.callbacks.label_writer import (
    LabelPredictionWriter,
    label_kind,
    teacher_name,
    weights_fingerprint,
)
from structures.batch import PADDING_INDEX
from structures.label_store import LabelStore
from tests.helpers import quiet_trainer


class Echo(LightningModule):
    """Gives a batch's own entry back."""

    def __init__(self, key: str = "labels", weight: float = 1.0) -> None:
        super().__init__()
        self.key = key
        self.weight = torch.nn.Parameter(torch.tensor(weight))
        self.seen: list[str] = []

    def predict_step(self, batch, batch_idx):
        self.seen += batch["name"]
        if "stop" in batch:
            raise RuntimeError("stopped")
        return batch[self.key]


def make_batch(*names, size=(4, 6)):
    generator = torch.Generator().manual_seed(sum(map(ord, "".join(names))))
    labels = torch.randint(1, 200, (len(names), *size), generator=generator)
    return {"name": list(names), "labels": labels, "depth": labels.unsqueeze(1) / 16}


def predict(module, writer, batches, root=None):
    trainer = quiet_trainer(
        callbacks=[writer],
        default_root_dir=root,
    )
    trainer.predict(module, DataLoader(batches, batch_size=None), return_predictions=False)


@pytest.mark.parametrize(("key", "kind", "dtype"), [("labels", "semantic", "uint8"), ("depth", "depth", "float32")])
def test_predictions_come_back_under_their_names(tmp_path, key, kind, dtype):
    module = Echo(key)
    batches = [make_batch("clip/0", "clip/1"), make_batch("still.7")]
    writer = LabelPredictionWriter(str(tmp_path / "x.h5"), {"image_size": [4, 6]})
    predict(module, writer, batches)
    store = LabelStore(tmp_path / "x.h5")
    assert (store.kind, store.teacher, store.settings) == (kind, teacher_name(module), {"image_size": [4, 6]})
    assert (store.names, writer.n_written) == (["clip/0", "clip/1", "still.7"], 3)
    read = store.read("clip/1")
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, batches[0][key][1].view(4, 6).numpy())


def test_file_lies_in_the_trainers_folder_where_none_is_given(tmp_path):
    predict(Echo(), LabelPredictionWriter(), [make_batch("a")], root=tmp_path)
    assert LabelStore(tmp_path / "labels.h5").names == ["a"]


def test_a_stopped_run_is_continued(tmp_path):
    path = tmp_path / "x.h5"
    first, second, last = make_batch("a", "b"), make_batch("c", "d"), make_batch("e")
    with pytest.raises(RuntimeError, match="stopped"):
        predict(Echo(), LabelPredictionWriter(str(path)), [first, second | {"stop": True}])
    assert not path.exists()
    changed = first | {"labels": first["labels"] + 1}
    writer = LabelPredictionWriter(str(path))
    predict(Echo(), writer, [changed, second, last])
    store = LabelStore(path)
    assert writer.n_written == 3
    np.testing.assert_array_equal(store.read("a"), first["labels"][0].numpy())
    np.testing.assert_array_equal(store.read("e"), last["labels"][0].numpy())


def test_a_finished_file_stays_as_it_is(tmp_path):
    path = tmp_path / "x.h5"
    predict(Echo(), LabelPredictionWriter(str(path)), [make_batch("a")])
    before = path.read_bytes()
    writer = LabelPredictionWriter(str(path))
    predict(Echo(), writer, [make_batch("a")])
    assert (path.read_bytes(), writer.n_written) == (before, 0)


@pytest.mark.parametrize(
    ("module", "settings", "message"),
    [
        (Echo(weight=2.0), None, "was made with .*teacher.*Echo"),
        (Echo("depth"), None, "was made with .*kind.*semantic"),
        (Echo(), {"image_size": [8, 8]}, "was made with .*image_size"),
    ],
)
def test_another_teachers_file_is_left_alone(tmp_path, module, settings, message):
    path = tmp_path / "x.h5"
    predict(Echo(), LabelPredictionWriter(str(path)), [make_batch("a")])
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        predict(module, LabelPredictionWriter(str(path), settings), [make_batch("b")])
    assert path.read_bytes() == before


def test_padding_and_unreadable_images_are_left_out(tmp_path):
    batch = make_batch("a", "b", "c") | {"index": torch.tensor([0, PADDING_INDEX, 2]), "error": ["", "", "no image"]}
    predict(Echo(), LabelPredictionWriter(str(tmp_path / "x.h5")), [batch])
    assert LabelStore(tmp_path / "x.h5").names == ["a"]


def test_padding_of_the_image_is_cut_off(tmp_path):
    batch = make_batch("a") | {"content_size": torch.tensor([[3, 5]])}
    predict(Echo(), LabelPredictionWriter(str(tmp_path / "x.h5")), [batch])
    np.testing.assert_array_equal(LabelStore(tmp_path / "x.h5").read("a"), batch["labels"][0, :3, :5].numpy())


@pytest.mark.parametrize(
    ("value", "message"), [(float("nan"), "'a' is no array of finite"), (-1.0, "'a' goes down to -1 m")]
)
def test_depth_that_is_none_is_named(tmp_path, value, message):
    batch = make_batch("a") | {"depth": torch.full((1, 1, 4, 6), value)}
    with pytest.raises(ValueError, match=message):
        predict(Echo("depth"), LabelPredictionWriter(str(tmp_path / "x.h5")), [batch])


def test_predictions_of_another_sort_are_named():
    assert label_kind(torch.zeros(1, 2, 2, dtype=torch.int64)) == "semantic"
    assert label_kind(torch.zeros(1, 1, 2, 2, dtype=torch.float16)) == "depth"
    with pytest.raises(ValueError, match=r"torch.float32 of shape \(1, 3, 2, 2\)"):
        label_kind(torch.zeros(1, 3, 2, 2))


def test_several_processes_are_refused():
    trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False)
    with pytest.raises(ValueError, match=r"one process, not by 2: trainer\.devices=1"):
        LabelPredictionWriter().on_predict_start(trainer, Echo())


def test_fingerprint_depends_on_the_weights_alone():
    fingerprint = weights_fingerprint(Echo())
    assert fingerprint == weights_fingerprint(torch.nn.ModuleDict({"teacher": Echo()}))
    assert fingerprint != weights_fingerprint(Echo(weight=1.0000001))
    conv = torch.nn.Conv2d(4, 8, 3)
    assert weights_fingerprint(conv) == weights_fingerprint(conv.to(memory_format=torch.channels_last))
    assert weights_fingerprint(torch.nn.BatchNorm2d(2)) != weights_fingerprint(torch.nn.BatchNorm2d(3))
