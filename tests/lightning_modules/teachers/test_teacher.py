"""Teachers: our own checkpoints and Hugging Face models behind one predict_step."""

import math

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from lightning_modules.supervised_depth import SupervisedDepth
from lightning_modules.teachers.teacher import Teacher, is_metric
from tests.data.make_huggingface import make_depth_anything, make_segformer
from tests.data.make_teachers import save_depth_checkpoint, save_segmenter_checkpoint

try:
    import transformers
except ImportError:
    transformers = None

needs_transformers = pytest.mark.skipif(transformers is None, reason="the optional package transformers is missing")


def make_image(batch=2):
    return torch.rand(batch, 3, 64, 96, generator=torch.Generator().manual_seed(2))


def test_a_segmenters_checkpoint_labels_as_the_segmenter_does(tmp_path):
    segmenter = save_segmenter_checkpoint(tmp_path / "best.ckpt", n_classes=4)
    teacher = Teacher(str(tmp_path / "best.ckpt"))
    assert teacher.title == "tiny_segmenter"
    assert teacher.n_classes == 4
    assert teacher.class_names is None
    with torch.no_grad():
        expected = segmenter.eval()(make_image())
        assert torch.equal(teacher.predict_step({"image": make_image()}, 0), expected)
        assert torch.equal(teacher(make_image()), expected)
    assert len(expected.unique()) > 1


def test_a_depth_checkpoint_uses_the_intrinsics_of_the_batch(tmp_path):
    save_depth_checkpoint(tmp_path / "best.ckpt", depth_m=2.0, canonical_focal_px=50.0)
    teacher = Teacher(str(tmp_path / "best.ckpt"), kind="depth")
    assert not teacher.relative
    K = torch.tensor([[100.0, 0, 48], [0, 100, 32], [0, 0, 1]]).expand(2, 3, 3)
    depth = teacher.predict_step({"image": make_image(), "K": K}, 0)
    torch.testing.assert_close(depth, torch.full((2, 1, 64, 96), 4.0))
    assumed = 48 / math.tan(math.radians(30)) / 50  # 60 degrees across 96 pixels
    torch.testing.assert_close(teacher(make_image()), torch.full((2, 1, 64, 96), 2.0 * assumed))


@pytest.mark.parametrize(
    ("losses", "scale", "metres"),
    [(["l1"], "10m", True), (["l1", "ssi"], "10m", True), (["ssi"], "10m", False), (["l1"], "image_max", False)],
)
def test_who_knows_metres_is_told_by_losses_and_data(losses, scale, metres):
    module = SupervisedDepth(torch.nn.Conv2d(3, 1, 1), loss_weights=dict.fromkeys(losses, 1.0))
    assert is_metric(module, {"depth_scale": scale}) == metres


@needs_transformers
def test_a_folder_of_hugging_face_labels_at_the_batchs_size(tmp_path):
    make_segformer(tmp_path / "segformer-tiny")
    teacher = Teacher(str(tmp_path / "segformer-tiny"))
    labels = teacher.predict_step({"image": make_image()}, 0)
    assert labels.shape == (2, 64, 96)
    assert labels.dtype == torch.int64
    assert labels.min() >= 1
    assert (teacher.title, teacher.n_classes) == ("segformer-tiny", 5)
    assert teacher.class_names[1] == "label 0"


@needs_transformers
@pytest.mark.parametrize(("inverse", "relative"), [(None, True), (False, False)])
def test_relative_depth_says_so(tmp_path, inverse, relative):
    make_depth_anything(tmp_path)
    teacher = Teacher(str(tmp_path), kind="depth", inverse=inverse)
    assert teacher.relative == relative
    assert teacher.predict_step({"image": make_image()}, 0).shape == (2, 1, 64, 96)


def test_it_runs_under_a_trainer_without_gradients_or_training_mode(tmp_path):
    save_segmenter_checkpoint(tmp_path / "best.ckpt", n_classes=4)
    teacher = Teacher(str(tmp_path / "best.ckpt"))
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    batches = trainer.predict(teacher, DataLoader([{"image": make_image()}], batch_size=None))
    assert torch.equal(batches[0], teacher.predict_step({"image": make_image()}, 0))
    assert not any(module.training for module in teacher.modules())


def test_teachers_of_the_wrong_sort_are_named(tmp_path):
    save_segmenter_checkpoint(tmp_path / "segmenter.ckpt", n_classes=4)
    save_depth_checkpoint(tmp_path / "depth.ckpt", depth_m=2.0)
    with pytest.raises(ValueError, match="holds a Segmenter, but a teacher of kind 'depth' is a DepthModule"):
        Teacher(str(tmp_path / "segmenter.ckpt"), kind="depth")
    with pytest.raises(ValueError, match="holds a SupervisedDepth, but a teacher of kind 'semantic' is a Segmenter"):
        Teacher(str(tmp_path / "depth.ckpt"))
    with pytest.raises(ValueError, match="kind is 'planes', but must be one of semantic, depth"):
        Teacher(str(tmp_path / "depth.ckpt"), kind="planes")
    with pytest.raises(FileNotFoundError, match=r"missing\.ckpt"):
        Teacher(str(tmp_path / "missing.ckpt"))
