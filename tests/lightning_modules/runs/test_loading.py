import os

import pytest
import torch
from jsonargparse import Namespace
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch.utils.data import DataLoader

from lightning_modules.runs.loading import CheckpointError, check_checkpoint, load_module, without_pretrained
from losses.planar_structure import PixelConstants
from tests.data.make_constant_depth import ConstantDepth, write_checkpoint
from tests.helpers import quiet_trainer


@pytest.fixture
def checkpoint(tmp_path):
    return write_checkpoint(tmp_path / "x.ckpt", ConstantDepth(3.5, None), depth_m=1.0)


def change(path, edit):
    content = torch.load(path, weights_only=True)
    edit(content)
    torch.save(content, path)
    return path


def test_a_module_comes_back_with_its_weights_and_no_download(checkpoint):
    module = load_module(checkpoint)
    assert isinstance(module, ConstantDepth)
    assert not module.training
    assert module.depth_m.item() == 3.5  # the state, not the init arg


def test_averaged_weights_are_the_ones_loaded(tmp_path):
    class Moving(ConstantDepth):
        def training_step(self, batch, batch_idx):
            return self.depth_m - 0 * self.bias.weight.sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1.0)

    module = Moving(10.0, None)
    trainer = quiet_trainer(max_steps=4, callbacks=[EMAWeightAveraging(decay=0.5)])
    during = {}

    def save(*_):
        if trainer.global_step == 3:
            during["raw"] = module.depth_m.item()
            trainer.save_checkpoint(tmp_path / "x.ckpt")

    module.on_train_batch_start = save
    trainer.fit(module, DataLoader(torch.zeros(4, 1)))
    recipe = {"class_path": "tests.data.make_constant_depth.ConstantDepth", "model": {}}
    change(tmp_path / "x.ckpt", lambda content: content.update(plumbline=recipe))
    # Steps of -1 from 10: 9, 8, 7. The average starts as the first value and takes half of each later one.
    assert during["raw"] == 7.0
    assert load_module(tmp_path / "x.ckpt").depth_m.item() == pytest.approx((9 / 2 + 8 / 2) / 2 + 7 / 2)


def test_files_that_are_no_checkpoints_get_a_sentence(tmp_path, checkpoint):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_module(tmp_path / "nowhere.ckpt")
    (tmp_path / "text.ckpt").write_text("hello")
    (tmp_path / "empty.ckpt").touch()
    content = checkpoint.read_bytes()
    (tmp_path / "half.ckpt").write_bytes(content[: len(content) // 2])
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    torch.save({"a": torch.nn.Linear(1, 1)}, tmp_path / "objects.ckpt")
    expected = {
        "text": "not a checkpoint",
        "empty": "not a checkpoint",
        "half": "damaged or truncated",
        "foreign": "not written by this project",
        "list": "not written by this project",
        "objects": "more than tensors and plain values",
    }
    for name, message in expected.items():
        with pytest.raises(CheckpointError, match=message) as caught:
            load_module(tmp_path / f"{name}.ckpt")
        assert "\n" not in str(caught.value)


def test_weights_of_another_model_name_the_keys(checkpoint):
    def edit(content):
        state = content["state_dict"]
        state["stranger"] = state.pop("depth_m")
        state["bias.weight"] = torch.zeros(3, 2)

    change(checkpoint, edit)
    with pytest.raises(CheckpointError, match="another model") as caught:
        load_module(checkpoint)
    for part in ("1 missing (depth_m)", "1 unknown (stranger)", "bias.weight (3, 2) instead of (1, 2)"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "recipe",
    [
        {"class_path": "nowhere.Nothing", "model": {}},
        {"class_path": "torch.nn.Linear", "model": {}},
        {"class_path": "tests.data.make_constant_depth.ConstantDepth", "model": {"unheard_of": 1}},
    ],
)
def test_a_recipe_that_cannot_be_built_is_one_sentence(checkpoint, recipe):
    change(checkpoint, lambda content: content.update(plumbline=recipe))
    with pytest.raises(CheckpointError, match="cannot build") as caught:
        load_module(checkpoint)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("class_path", "name", "place"),
    [
        ("lightning_modules.gam_depth.GAMDepth", "alignment", "evaluation.alignment"),
        ("lightning_modules.supervised_depth.SupervisedDepth", "max_depth_m", "evaluation.max_depth_m"),
        ("lightning_modules.boxinst_depth.BoxInstDepth", "optimizer", "optimisation.optimizer"),
        ("lightning_modules.boxinst_depth.BoxInstDepth", "lr_scheduler_interval", "optimisation.interval"),
        ("lightning_modules.teachers.segmenter.Segmenter", "lr_monitor", "optimisation.monitor"),
    ],
)
def test_a_checkpoint_of_an_earlier_version_is_refused_in_one_sentence(checkpoint, class_path, name, place):
    recipe = {"class_path": class_path, "model": {"network": None, name: None}}
    change(checkpoint, lambda content: content.update(plumbline=recipe))
    with pytest.raises(CheckpointError) as caught:
        load_module(checkpoint)
    assert str(caught.value) == (
        f"checkpoint '{checkpoint}' was written by an earlier version, whose setting model.init_args.{name} is "
        f"model.init_args.{place} now: train it again"
    )


def test_a_checkpoint_is_held_against_a_configuration(checkpoint):
    fits = Namespace(
        class_path="tests.data.make_constant_depth.ConstantDepth",
        init_args=Namespace(depth_m=1.0, encoder_weights="imagenet"),
    )
    state = torch.get_rng_state()
    check_checkpoint(checkpoint, fits)
    assert torch.equal(torch.get_rng_state(), state)
    other = Namespace(class_path="lightning.pytorch.demos.boring_classes.BoringModel", init_args=Namespace())
    with pytest.raises(
        CheckpointError, match=r"another model than this lightning.*2 missing \(layer.weight, layer.bias\)"
    ):
        check_checkpoint(checkpoint, other)


def test_pretrained_weights_are_dropped_at_any_depth_from_a_copy():
    inner = Namespace(class_path="a.B", init_args=Namespace(encoder_weights="imagenet", depth=5))
    config = Namespace(class_path="c.D", init_args=Namespace(network=inner, more=[{"encoder_weights": "bundled"}]))
    stripped = without_pretrained(config)
    assert stripped.init_args.network.init_args == Namespace(encoder_weights=None, depth=5)
    assert stripped.init_args.more == [{"encoder_weights": None}]
    assert config.init_args.network.init_args.encoder_weights == "imagenet"


def test_a_named_tuple_among_the_arguments_stays_one():
    pixels = PixelConstants(normal_radius=1)
    assert without_pretrained(Namespace(pixels=pixels, pair=(1, 2))) == Namespace(pixels=pixels, pair=(1, 2))


def test_a_file_that_ends_anywhere_is_damaged(tmp_path, checkpoint):
    content = checkpoint.read_bytes()
    torn = tmp_path / "torn.ckpt"
    for size in range(1, len(content), max(1, len(content) // 50)):
        torn.write_bytes(content[:size])
        with pytest.raises(
            CheckpointError, match=r"torn.ckpt' is (damaged or truncated|not a checkpoint).*holds x.ckpt$"
        ):
            load_module(torn)
    checkpoint.chmod(0)
    if not os.access(checkpoint, os.R_OK):  # root may read everything
        with pytest.raises(PermissionError):
            load_module(checkpoint)
