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

from lightning_modules.callbacks.pictures import DepthPictures, chosen_samples
from lightning_modules.tasks.evaluation import DepthEvaluation
from renderers.depth_figure import depth_rows
from renderers.display import colorize, to_uint8
from renderers.figure import draw_figure
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


def rows_of(indices, scale, truth=True):
    samples = [Samples()[index] for index in indices]
    image, depth, mask = (torch.stack([sample[key] for sample in samples]) for key in ("image", "depth", "depth_mask"))
    prediction = scale * torch.linspace(1, 5, WIDTH).expand(len(samples), 1, HEIGHT, WIDTH)
    named = {
        "names": [str(index) for index in indices],
        "scores": [f"AbsRel {abs(scale - 1):.3f}" if truth else ""] * len(samples),
    }
    return depth_rows(image, depth if truth else None, mask if truth else None, prediction, **named)


def expected(indices, scale):
    return draw_figure(rows_of(indices, scale)).pixels


def crop(picture, place):
    top, left, height, width = place
    return picture[top : top + height, left : left + width]


def test_the_test_picture_shows_samples_from_all_over_the_set(tmp_path):
    # 10 samples in batches of 4, 4 and 2; 4 pictures: two from the first batch, one from each other.
    trainer(tmp_path, [DepthPictures(count=4)]).test(Scaled(), loader(), verbose=False)
    assert names(tmp_path) == ["test.png"]
    picture = read(tmp_path / "pictures" / "test.png")
    np.testing.assert_array_equal(picture, expected([0, 2, 4, 8], 1.0))
    assert 900 < picture.shape[1] <= 1200, "16 columns are enlarged"
    places = draw_figure(rows_of([0, 2, 4, 8], 1.0)).places
    for index, (image, truth, prediction, error) in zip([0, 2, 4, 8], places, strict=True):
        assert (crop(picture, image) == round(index / 32 * 255)).all()
        np.testing.assert_array_equal(crop(picture, truth), crop(picture, prediction))
        assert (crop(picture, error) == 255).all(), "white is correct"


def test_a_picture_without_truth_has_no_panels_of_it(tmp_path):
    data = DataLoader(KnownFrom(Samples(), 99), batch_size=4)
    callback = DepthPictures(count=4)
    trainer(tmp_path, [callback]).test(Scaled(), data, verbose=False)
    rows = rows_of([0, 2, 4, 8], 1.0, truth=False)
    assert [[one.title for one in row.pictures] for row in callback.drawn_rows] == [["image", "prediction"]] * 4
    np.testing.assert_array_equal(read(tmp_path / "pictures" / "test.png"), draw_figure(rows).pixels)


def test_one_sample_with_truth_keeps_the_panels_of_all(tmp_path):
    data = DataLoader(KnownFrom(Samples(), 8), batch_size=4)  # the last of the four that are drawn
    callback = DepthPictures(count=4)
    trainer(tmp_path, [callback]).test(Scaled(), data, verbose=False)
    titles = [[one.title for one in row.pictures] for row in callback.drawn_rows]
    assert titles[0] == ["image", "ground truth: none", "prediction", "relative error"]
    assert titles[3] == ["image", "ground truth", "prediction", "relative error"]
    assert [row.score for row in callback.drawn_rows] == ["", "", "", "AbsRel 0.000"]
    last = draw_figure(rows_of([8], 1.0)).pixels[8:]
    np.testing.assert_array_equal(read(tmp_path / "pictures" / "test.png")[-len(last) :], last)


class Measured(Scaled):
    """Depth of an unknown scale, evaluated after median alignment within 1.5 to 4 m."""

    scale_known = False
    evaluation = DepthEvaluation(alignment="median", min_depth_m=1.5, max_depth_m=4.0)

    def evaluated_depth(self, batch):
        return (7 * self(batch["image"])).square()


def test_the_score_is_the_metric_and_depth_is_aligned(tmp_path):
    callback = DepthPictures(count=2)
    trainer(tmp_path, [callback]).test(Measured(), loader(), verbose=False)
    depth = torch.linspace(1, 5, WIDTH).double()
    counted = (depth >= 1.5) & (depth <= 4)
    squares = depth.square()
    aligned = squares * np.median(depth[counted]) / np.median(squares[counted])
    error = ((aligned.clamp(1.5, 4) - depth).abs() / depth)[counted].mean()
    assert callback.drawn_rows[0].score == f"AbsRel {error:.3f}, aligned by medians"
    assert read_samples(tmp_path / "samples" / "depth_test.npz")[0][0].scores["abs_rel"] == pytest.approx(float(error))
    assert callback.drawn_rows[0].pictures[2].title == "prediction, scaled to the median"
    assert callback.drawn_rows[0].pictures[2].bar.unit == "m"


def test_depth_without_a_scale_and_without_truth_is_relative(tmp_path):
    callback = DepthPictures(count=1)
    trainer(tmp_path, [callback]).test(Measured(), DataLoader(KnownFrom(Samples(), 99), batch_size=4), verbose=False)
    (row,) = callback.drawn_rows
    assert row.pictures[-1].title == "prediction"
    assert row.pictures[-1].bar.unit == "relative"


@pytest.mark.parametrize(
    ("value", "title"), [(float("nan"), "no depth"), (float("inf"), "no depth"), (0.0, "no depth")]
)
def test_depth_that_is_not_finite_is_said(tmp_path, value, title):
    class Broken(Scaled):
        def forward(self, image):
            return torch.full((len(image), 1, HEIGHT, WIDTH), value)

    callback = DepthPictures(count=1)
    trainer(tmp_path, [callback]).test(Broken(), loader(), verbose=False)
    (row,) = callback.drawn_rows
    assert row.pictures[2].title == f"prediction: {title}"
    assert row.pictures[2].bar is None
    assert (row.pictures[2].pixels == 51).all()
    assert names(tmp_path) == ["test.png"]


def test_the_colour_bar_of_the_written_picture_has_the_colours_of_depth(tmp_path):
    trainer(tmp_path, [DepthPictures(count=1)]).test(Scaled(), loader(), verbose=False)
    figure = draw_figure(rows_of([0], 1.0))
    bar = crop(read(tmp_path / "pictures" / "test.png"), figure.bars[0][1])
    near, far = np.quantile(np.linspace(1, 5, WIDTH), [0.02, 0.98])
    metres = near * (far / near) ** ((np.arange(bar.shape[1]) + 0.5) / bar.shape[1])
    colours = colorize(torch.from_numpy(metres).view(1, 1, 1, -1), near_m=near, far_m=far)
    np.testing.assert_allclose(bar[3].astype(int), to_uint8(colours[0]).numpy()[0], atol=1)


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

    def log_image(self, key, images, step=None, caption=()):
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
        assert captions == ["0  AbsRel 0.000", "4  AbsRel 0.000"]
        assert len(images) == 2
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
