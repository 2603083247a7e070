"""Sections before and now beside a module's own pictures, across checkpoints, and clouds for W&B."""

from functools import partial

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import WandbLogger
from torch.utils.data import DataLoader

from lightning_modules.callbacks.clip_pictures import gap_width, title_strip
from lightning_modules.callbacks.view_pictures import ViewPictures
from lightning_modules.tasks.depth import DepthModule
from lightning_modules.tasks.optimisation import Optimisation
from renderers.cloud_sections import cloud_sections
from structures.sample_file import read_samples
from tests.data.make_box_room import box_room
from tests.helpers import quiet_trainer

HEIGHT, WIDTH = 48, 64
TITLES = ["image", "from above, before", "from above, now", "from the side, before", "from the side, now"]


class Rooms(torch.utils.data.Dataset):
    """Box rooms, each seen under another angle."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        depth, _, K = box_room(HEIGHT, WIDTH, yaw=0.2 * index)
        image = torch.full((3, HEIGHT, WIDTH), 0.1 * index)
        sample = {"image": image, "depth": depth[0].float(), "depth_mask": depth[0] > 0, "K": K[0].float()}
        return sample | {"name": f"room/{index}", "index": index, "depth_scale_m": torch.tensor(10.0)}


class Shifted(DepthModule):
    """Predicts the truth plus a shift, which is learned away."""

    def __init__(self):
        super().__init__(loss_weights={"shift": 1.0}, optimisation=Optimisation(partial(torch.optim.SGD, lr=0.1)))
        self.shift = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, image):
        raise AssertionError("depth that is held against the truth may need the batch")

    def predict_depth(self, batch):
        return batch["depth"] + self.shift

    def pictures(self, batch):
        return {"image": batch["image"]}

    def loss_terms(self, batch):
        return {"shift": self.shift.square()}


class Recording(WandbLogger):
    """A W&B logger that keeps what it is given."""

    def __init__(self, disabled):
        super().__init__(offline=True)
        self.images, self.metrics, self.run = [], [], type("Run", (), {"disabled": disabled, "config": {}})()

    @property
    def experiment(self):
        return self.run

    def log_metrics(self, metrics, step=None):
        self.metrics.append((metrics, step))

    def log_image(self, key, images, step=None, caption=None):
        self.images.append(key)


def trainer(root, callbacks, **settings):
    defaults = {"max_epochs": 3, "num_sanity_val_steps": 1}
    return quiet_trainer(**(defaults | settings), default_root_dir=root, callbacks=callbacks)


def loader():
    return DataLoader(Rooms(), batch_size=3)


def columns(path, n):
    """The columns of the first row of a picture, below the titles."""
    picture = cv2.imread(str(path))[..., ::-1].astype(float) / 255
    row = picture[len(title_strip([""], width=WIDTH)[0]) :][:HEIGHT]
    step = WIDTH + gap_width(WIDTH)
    assert row.shape[1] == n * step - gap_width(WIDTH)
    return [row[:, k * step :][:, :WIDTH] for k in range(n)]


def sections(shift):
    batch = next(iter(loader()))
    views = cloud_sections(
        batch["depth"] + shift, batch["K"], truth=batch["depth"], mask=batch["depth_mask"], size=(HEIGHT, WIDTH)
    )
    return [view[0].permute(1, 2, 0).numpy() for view in views]


def shift_after(steps):
    return 0.8**steps


def test_before_is_the_first_validation_of_the_training(tmp_path):
    trainer(tmp_path, [ViewPictures(count=2)]).fit(Shifted(), loader(), loader())
    names = sorted(path.name for path in tmp_path.glob("pictures/*"))
    assert names == ["views_step_000002.png", "views_step_000004.png", "views_step_000006.png"]
    (top_before, side_before), (top_now, side_now) = sections(shift_after(2)), sections(shift_after(6))
    assert np.abs(top_before - top_now).max() > 0.1
    _, *found = columns(tmp_path / "pictures" / names[-1], 5)
    for picture, expected in zip(found, (top_before, top_now, side_before, side_now), strict=True):
        np.testing.assert_allclose(picture, expected, atol=0.51 / 255)
    _, *found = columns(tmp_path / "pictures" / names[0], 5)
    np.testing.assert_array_equal(found[0], found[1])


def test_depth_before_and_now_is_kept(tmp_path):
    trainer(tmp_path, [ViewPictures(count=2)]).fit(Shifted(), loader(), loader())
    (sample, _), about = read_samples(tmp_path / "samples" / "views_val.npz")
    assert about["step"] == 6
    assert list(sample.panels) == [
        f"from {view}, {name}" for view in ("above", "the side") for name in ("before", "now")
    ]
    truth = sample.truth[sample.truth > 0].astype(float)
    for depth, steps in ((sample.before, 2), (sample.prediction, 6)):
        shifted = truth + shift_after(steps)
        expected = shifted * np.median(truth) / np.median(shifted)
        np.testing.assert_allclose(depth[sample.truth > 0], expected, rtol=5e-3)


def test_the_reference_is_renewed_up_to_its_step(tmp_path):
    trainer(tmp_path, [ViewPictures(count=2, reference_step=4)]).fit(Shifted(), loader(), loader())
    found = columns(tmp_path / "pictures" / "views_step_000006.png", 5)
    np.testing.assert_allclose(found[1], sections(shift_after(4))[0], atol=0.51 / 255)


def test_the_reference_is_renewed_up_to_the_end_of_the_warm_up_by_default(tmp_path):
    module = Shifted()
    module.warmup = 4 / 6  # of six steps
    trainer(tmp_path, [ViewPictures(count=2)]).fit(module, loader(), loader())
    found = columns(tmp_path / "pictures" / "views_step_000006.png", 5)
    np.testing.assert_allclose(found[1], sections(shift_after(4))[0], atol=0.51 / 255)


def test_a_continued_training_knows_what_was_before(tmp_path):
    first = trainer(tmp_path, [ViewPictures(count=2)], max_epochs=1)
    first.fit(Shifted(), loader(), loader())
    first.save_checkpoint(tmp_path / "last.ckpt")
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert any(key.startswith("ViewPictures") for key in checkpoint["callbacks"])
    second = trainer(tmp_path / "again", [ViewPictures(count=2)], max_epochs=2)
    second.fit(Shifted(), loader(), loader(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    found = columns(tmp_path / "again" / "pictures" / "views_step_000004.png", 5)
    np.testing.assert_allclose(found[1], sections(shift_after(2))[0], atol=0.51 / 255)
    np.testing.assert_allclose(found[2], sections(shift_after(4))[0], atol=0.51 / 255)


def test_a_test_shows_what_is_now(tmp_path):
    trainer(tmp_path, [ViewPictures(count=2)]).test(Shifted(), loader(), verbose=False)
    image, top, side = columns(tmp_path / "pictures" / "views_test.png", 3)
    assert (image == 0).all()
    for picture, expected in zip((top, side), sections(1.0), strict=True):
        np.testing.assert_allclose(picture, expected, atol=0.51 / 255)


@pytest.mark.parametrize(("every", "disabled", "steps"), [(0, False, []), (1, True, []), (2, False, [1, 5])])
def test_clouds_go_to_wandb_rarely_and_on_request(tmp_path, every, disabled, steps):
    logger = Recording(disabled)
    callback = ViewPictures(count=2, cloud_every=every, max_points=500)
    trainer(tmp_path, [callback], logger=logger).fit(Shifted(), loader(), loader())
    sent = [(metrics["val/clouds"], step) for metrics, step in logger.metrics if "val/clouds" in metrics]
    assert [step for _, step in sent] == steps
    assert logger.images == ([] if disabled else ["val/views"] * 3)
    for clouds, _ in sent:
        assert len(clouds) == 2
        assert type(clouds[0]).__name__ == "Object3D"


def test_a_cloud_for_wandb_stands_upright():
    sample = next(iter(loader()))
    cloud = ViewPictures(max_points=10_000)._cloud(sample["image"][1], sample["depth"][1], sample["K"][1])
    assert cloud.shape[1] == 6
    assert cloud.dtype is torch.float32
    assert 1000 < len(cloud) <= HEIGHT * WIDTH
    assert -1.21 < cloud[:, 1].min() < -1.19  # the floor
    assert 1.49 < cloud[:, 1].max() < 1.51
    assert (cloud[:, 2] < 0).all()
    assert (cloud[:, 3:] == 26).all()  # 0.1 of 255, rounded


def test_modules_without_depth_or_pictures_are_refused(tmp_path):
    class Flat(LightningModule):
        def pictures(self, batch):
            return {}

    with pytest.raises(ValueError, match="draws the depth of a DepthModule, but Flat is none"):
        ViewPictures().setup(trainer(tmp_path, []), Flat(), "fit")
    with pytest.raises(ValueError, match=r"ViewPictures draws what a module's pictures\(batch\) returns"):
        ViewPictures().setup(trainer(tmp_path, []), LightningModule(), "fit")
    for settings in ({"cloud_every": -1}, {"reference_step": -1}, {"max_points": 0}, {"max_jump": 0.0}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            ViewPictures(**settings)
