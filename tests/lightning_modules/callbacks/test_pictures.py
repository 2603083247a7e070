import random

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.loggers import WandbLogger
from torch import nn
from torch.utils.data import DataLoader

from lightning_modules.callbacks.pictures import DepthPictures, chosen_samples, without_columns
from renderers.display import GAP_GREY, depth_panels, stack_rows, to_uint8
from structures.sample_file import read_samples
from tests.helpers import KnownFrom, quiet_trainer

HEIGHT, WIDTH = 8, 16


class Samples(torch.utils.data.Dataset):
    """Samples whose number is readable from the image: sample i has the grey level i / 32."""

    def __init__(self, count=10):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        depth = torch.linspace(1, 5, WIDTH).expand(1, HEIGHT, WIDTH)
        image = torch.full((3, HEIGHT, WIDTH), index / 32)
        return {"image": image, "depth": depth, "depth_mask": depth > 0, "name": str(index), "index": index}


class Scaled(LightningModule):
    """Depth = scale * ramp; has a dropout that must be off, and draws a random number at each call."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.dropout = nn.Dropout(0.5)

    def forward(self, image):
        torch.rand(1)  # a part that draws even in eval mode
        ramp = torch.linspace(1, 5, WIDTH).expand(len(image), 1, HEIGHT, WIDTH)
        return self.dropout(self.scale * ramp)

    def training_step(self, batch, batch_idx):
        return (self(batch["image"]) - 3 * batch["depth"]).abs().mean()

    def validation_step(self, batch, batch_idx):
        self.log("val/scale", self.scale, batch_size=len(batch["image"]))

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def loader(count=10, batch_size=4):
    return DataLoader(Samples(count), batch_size=batch_size)


def trainer(root, callbacks, **settings):
    return quiet_trainer(**({"max_epochs": 2} | settings), default_root_dir=root, callbacks=callbacks)


def read(path):
    return cv2.imread(str(path))[..., ::-1]


def names(root):
    return sorted(path.name for path in (root / "pictures").glob("*")) if (root / "pictures").exists() else []


def expected(indices, scale):
    rows = [Samples()[index] for index in indices]
    image, depth, mask = (torch.stack([row[key] for row in rows]) for key in ("image", "depth", "depth_mask"))
    ramp = torch.linspace(1, 5, WIDTH).expand(len(rows), 1, HEIGHT, WIDTH)
    return to_uint8(stack_rows(depth_panels(image, depth, mask, scale * ramp))).numpy()


def test_the_test_picture_shows_samples_from_all_over_the_set(tmp_path):
    # 10 samples in batches of 4, 4 and 2; 4 pictures: two from the first batch, one from each other.
    trainer(tmp_path, [DepthPictures(count=4)]).test(Scaled(), loader(), verbose=False)
    assert names(tmp_path) == ["test.png"]
    np.testing.assert_array_equal(read(tmp_path / "pictures" / "test.png"), expected([0, 2, 4, 8], 1.0))


def test_a_picture_without_truth_has_no_panels_of_it(tmp_path):
    data = DataLoader(KnownFrom(Samples(), 99), batch_size=4)
    trainer(tmp_path, [DepthPictures(count=4)]).test(Scaled(), data, verbose=False)
    image = torch.stack([Samples()[index]["image"] for index in (0, 2, 4, 8)])
    ramp = torch.linspace(1, 5, WIDTH).expand(4, 1, HEIGHT, WIDTH)
    rows = to_uint8(stack_rows(depth_panels(image, None, None, ramp))).numpy()
    assert rows.shape[1] == 2 * WIDTH + 2
    np.testing.assert_array_equal(read(tmp_path / "pictures" / "test.png"), rows)


def test_one_sample_with_truth_keeps_the_panels_of_all(tmp_path):
    data = DataLoader(KnownFrom(Samples(), 8), batch_size=4)  # the last of the four that are drawn
    trainer(tmp_path, [DepthPictures(count=4)]).test(Scaled(), data, verbose=False)
    picture = read(tmp_path / "pictures" / "test.png")
    assert picture.shape[1] == 4 * WIDTH + 3 * 2
    np.testing.assert_array_equal(picture[-HEIGHT:], expected([8], 1.0))


def test_columns_are_left_out_with_their_gaps():
    width, gap = 130, 2
    row = torch.cat([torch.full((3, 2, width + gap), float(k)) for k in range(4)], dim=-1)[..., :-gap]
    left = without_columns(row, {0, 2}, width=width)
    assert left.shape == (3, 2, 2 * width + gap)
    assert (left[..., width : width + gap] == GAP_GREY).all()
    assert (left[..., :width] == 1).all()
    assert (left[..., width + gap :] == 3).all()
    assert torch.equal(without_columns(row, set(), width=width)[..., :width], row[..., :width])


@pytest.mark.parametrize(
    ("count", "n_batches", "batch_size"), [(4, 3, 4), (1, 7, 1), (5, 5, 2), (6, 100, 8), (8, 2, 4)]
)
def test_as_many_samples_as_asked_for_are_chosen(count, n_batches, batch_size):
    chosen = [chosen_samples(count, batch_idx=i, n_batches=n_batches, batch_size=batch_size) for i in range(n_batches)]
    assert sum(map(len, chosen)) == count
    assert chosen[0][0] == 0
    assert all(len(set(c)) == len(c) and max(c, default=0) < batch_size for c in chosen)
    filled = [i for i, c in enumerate(chosen) if c]
    assert max(np.diff([*filled, n_batches])) <= -(-n_batches // count)


def test_a_short_set_gives_what_it_has():
    assert chosen_samples(9, batch_idx=0, n_batches=1, batch_size=3) == [0, 1, 2]


def test_training_draws_each_epoch_and_nothing_else_changes(tmp_path):
    def run(callbacks, root):
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        module = Scaled()
        fit = trainer(root, callbacks)
        fit.fit(module, loader(), loader())
        draws = torch.rand(1).item(), float(np.random.rand()), random.random()
        return module.scale.item(), dict(fit.callback_metrics), draws

    plain = run([], tmp_path / "plain")
    drawn = run([DepthPictures(count=2)], tmp_path / "drawn")
    assert plain == drawn
    assert names(tmp_path / "plain") == []
    assert names(tmp_path / "drawn") == ["step_000003.png", "step_000006.png"]


def test_every_other_epoch(tmp_path):
    fit = trainer(tmp_path, [DepthPictures(every_n_epochs=2, count=1)], max_epochs=4)
    fit.fit(Scaled(), loader(), loader())
    assert names(tmp_path) == ["step_000003.png", "step_000009.png"]


def test_modes_of_all_parts_are_as_before(tmp_path):
    module = Scaled()
    module.train()
    module.dropout.eval()
    callback = DepthPictures(count=1)
    batch = next(iter(loader()))
    callback._draw(module, batch, 0, 1)
    assert module.training
    assert not module.dropout.training
    assert module.scale.grad is None


def test_averaged_weights_are_drawn_while_they_are_validated(tmp_path):
    module = Scaled()
    validated, raw = [], []
    module.validation_step = lambda batch, batch_idx: validated.append(module.scale.item())
    module.on_train_batch_end = lambda *_: raw.append(module.scale.item())
    callbacks = [EMAWeightAveraging(decay=0.9), DepthPictures(count=1)]
    trainer(tmp_path, callbacks, max_epochs=1, num_sanity_val_steps=0).fit(module, loader(), loader())
    assert abs(validated[0] - raw[-1]) > 0.01
    np.testing.assert_array_equal(read(tmp_path / "pictures" / "step_000003.png"), expected([0], validated[0]))


def test_fast_dev_run_draws_nothing(tmp_path):
    trainer(tmp_path, [DepthPictures()], fast_dev_run=True).fit(Scaled(), loader(), loader())
    assert names(tmp_path) == []


def test_the_sanity_check_draws_nothing(tmp_path):
    module = Scaled()
    sanity = {"num_sanity_val_steps": 2, "max_epochs": 1, "check_val_every_n_epoch": 5}
    seen = []
    module.on_validation_start = lambda: seen.append(module.trainer.sanity_checking)
    trainer(tmp_path, [DepthPictures()], **sanity).fit(module, loader(), loader())
    assert seen == [True]
    assert names(tmp_path) == []


def test_validate_has_its_own_name(tmp_path):
    trainer(tmp_path, [DepthPictures()]).validate(Scaled(), loader(), verbose=False)
    assert names(tmp_path) == ["validate.png"]


class RecordingRun:
    disabled = False


class RecordingLogger(WandbLogger):
    """A W&B logger that writes nothing and remembers its pictures."""

    def __init__(self, disabled):
        super().__init__(offline=True)
        self.run = RecordingRun()
        self.run.disabled = disabled
        self.logged = []

    @property
    def experiment(self):
        return self.run

    def log_metrics(self, metrics, step=None):
        pass

    def log_image(self, key, images, step=None, caption=None):
        self.logged.append((key, images, caption))


@pytest.mark.parametrize("disabled", [False, True])
def test_wandb_gets_one_picture_a_sample_unless_it_is_disabled(tmp_path, disabled):
    logger = RecordingLogger(disabled)
    trainer(tmp_path, [DepthPictures(count=2)], logger=logger).test(Scaled(), loader(), verbose=False)
    assert names(tmp_path) == ["test.png"]
    if disabled:
        assert logger.logged == []
    else:
        ((key, images, captions),) = logger.logged
        assert key == "test/pictures"
        assert captions == ["0", "4"], "the names of the samples"
        assert [image.shape for image in images] == [(HEIGHT, 4 * WIDTH + 3 * 2, 3)] * 2
        np.testing.assert_array_equal(images[0], expected([0], 1.0))


@pytest.mark.parametrize("settings", [{"every_n_epochs": 0}, {"count": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        DepthPictures(**settings)


def test_the_last_drawn_samples_are_kept_as_numbers(tmp_path):
    trainer(tmp_path, [DepthPictures(count=3)]).fit(Scaled(), loader(), loader())
    found, about = read_samples(tmp_path / "samples" / "depth_val.npz")
    assert about == {"step": 6, "unit": "m"}
    assert [sample.name for sample in found] == ["0", "4", "8"]
    ramp = np.linspace(1, 5, WIDTH)
    scale = float(found[0].prediction[0, 0])
    assert scale > 1, "the weights are those after the training"
    np.testing.assert_allclose(found[1].prediction, np.tile(scale * ramp, (HEIGHT, 1)), rtol=2e-3)
    assert found[0].scores["abs_rel"] == pytest.approx(scale - 1, rel=1e-2)
    trainer(tmp_path, [DepthPictures(count=2)]).test(Scaled(), loader(), verbose=False)
    assert len(read_samples(tmp_path / "samples" / "depth_test.npz")[0]) == 2


def test_a_quick_run_keeps_no_samples(tmp_path):
    trainer(tmp_path, [DepthPictures()], fast_dev_run=True).fit(Scaled(), loader(), loader())
    assert not (tmp_path / "samples").exists()
