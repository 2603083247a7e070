"""Columns, titles and rows of clip pictures, and that drawing them leaves no trace in a training."""

import random

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.utils.data import DataLoader

from lightning_modules.callbacks.clip_pictures import ClipPictures
from lightning_modules.callbacks.pictures import DepthPictures
from renderers.colour_bars import ColourBar
from renderers.figure import Maps, draw_figure
from tests.helpers import quiet_trainer

HEIGHT, WIDTH = 12, 64


class Clips(torch.utils.data.Dataset):
    """Clips whose number is readable from the image: sample i has the grey level i / 32."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        image = torch.full((3, HEIGHT, WIDTH), index / 32)
        depth = torch.full((1, HEIGHT, WIDTH), 2.0)
        return {"image": image, "frames": image.expand(3, -1, -1, -1), "name": f"video/{index:04d}", "index": index} | {
            "depth": depth,
            "depth_mask": depth > 0,
        }


class Showing(LightningModule):
    """Shows its image and a constant that training moves; has a dropout, and draws a random number at each call."""

    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(0.25))
        self.dropout = nn.Dropout(0.5)

    def forward(self, image):
        return self.dropout(self.level.expand(len(image), 1, HEIGHT, WIDTH))

    def pictures(self, batch):
        torch.rand(1)
        assert isinstance(batch["name"], list)
        assert batch["frames"].shape == (len(batch["image"]), 3, 3, HEIGHT, WIDTH)
        return {"image": batch["image"], "level": self(batch["image"]).expand(-1, 3, -1, -1)}

    def training_step(self, batch, batch_idx):
        return (self(batch["image"]) - 1).abs().mean()

    def validation_step(self, batch, batch_idx):
        pass

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def trainer(root, callbacks, **settings):
    return quiet_trainer(**({"max_epochs": 2} | settings), default_root_dir=root, callbacks=callbacks)


def loader():
    return DataLoader(Clips(), batch_size=4)


def names(root):
    return sorted(path.name for path in root.glob("pictures/*"))


def read(path):
    return cv2.imread(str(path))[..., ::-1].astype(float) / 255


def places(callback):
    return draw_figure(callback.drawn_rows).places


def crop(picture, place):
    top, left, height, width = place
    return picture[top : top + height, left : left + width]


def test_a_row_a_sample_with_the_titles_of_its_maps(tmp_path):
    callback = ClipPictures(count=4)
    trainer(tmp_path, [callback]).test(Showing(), loader(), verbose=False)
    assert names(tmp_path) == ["clips_test.png"]
    picture = read(tmp_path / "pictures" / "clips_test.png")
    np.testing.assert_allclose(picture, draw_figure(callback.drawn_rows).pixels / 255, atol=0.51 / 255)
    assert [one.title for one in callback.drawn_rows[0].pictures] == ["image", "level"]
    assert callback.summary_rows() == []
    for (image, level), index in zip(places(callback), [0, 2, 4, 8], strict=True):  # batches of 4, 4 and 2
        np.testing.assert_allclose(crop(picture, image), index / 32, atol=0.51 / 255)
        np.testing.assert_allclose(crop(picture, level), 0.25, atol=0.51 / 255)  # without dropout


def test_bars_and_titles_of_the_module_are_drawn(tmp_path):
    class Scaled(Showing):
        def pictures(self, batch):
            maps = super().pictures(batch)
            bars = [ColourBar(1.0, 2.0 + index) for index in range(len(batch["image"]))]
            return Maps(maps, bars={"level": bars}, titles={"level": "water level"})

    callback = ClipPictures(count=4)
    trainer(tmp_path, [callback]).test(Scaled(), loader(), verbose=False)
    image, level = callback.drawn_rows[1].pictures
    assert (image.title, image.bar, level.title) == ("image", None, "water level")
    assert level.bar == ColourBar(1.0, 3.0), "the second of the chosen samples of its batch"
    picture = read(tmp_path / "pictures" / "clips_test.png")
    bar = draw_figure(callback.drawn_rows).bars[1][1]
    np.testing.assert_allclose(crop(picture, bar)[0] * 255, level.bar.colours(bar[3]), atol=0.51)


@pytest.mark.parametrize("known", [False, True])
def test_the_column_of_the_truth_is_there_only_with_truth(tmp_path, known):
    class Truths(Clips):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return sample | {"depth_mask": sample["depth_mask"] & (known and index == 8)}

    class WithTruth(Showing):
        def pictures(self, batch):
            maps = super().pictures(batch)
            return {"image": maps["image"], "truth": 0.5 * torch.ones_like(maps["image"]), "level": maps["level"]}

    callback = ClipPictures(count=4)
    trainer(tmp_path, [callback]).test(WithTruth(), DataLoader(Truths(), batch_size=4), verbose=False)
    picture = read(tmp_path / "pictures" / "clips_test.png")
    titles = ["image", "truth", "level"] if known else ["image", "level"]
    assert [[one.title for one in row.pictures] for row in callback.drawn_rows] == [titles] * 4
    np.testing.assert_allclose(crop(picture, places(callback)[-1][-1]), 0.25, atol=0.51 / 255)


def test_training_draws_each_epoch_and_nothing_else_changes(tmp_path):
    def run(callbacks, root):
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        module = Showing()
        trainer(root, callbacks).fit(module, loader(), loader())
        return module.level.item(), module.dropout.training, torch.rand(1).item(), np.random.rand(), random.random()

    plain = run([], tmp_path / "plain")
    drawn = run([ClipPictures(count=2), DepthPictures(count=1)], tmp_path / "drawn")
    assert plain == drawn
    assert names(tmp_path / "plain") == []
    assert names(tmp_path / "drawn") == [
        "clips_step_000003.png",
        "clips_step_000006.png",
        "step_000003.png",
        "step_000006.png",
    ]


def test_fast_dev_run_draws_nothing(tmp_path):
    trainer(tmp_path, [ClipPictures()], fast_dev_run=True).fit(Showing(), loader(), loader())
    assert names(tmp_path) == []


def test_a_module_with_nothing_to_show_is_refused(tmp_path):
    class Plain(Showing):
        pictures = None

    with pytest.raises(ValueError, match=r"Plain has no such method"):
        trainer(tmp_path, [ClipPictures()]).test(Plain(), loader(), verbose=False)


def test_maps_that_do_not_fit_are_named():
    callback, module = ClipPictures(count=1), Showing()
    sample = next(iter(loader()))
    module.pictures = lambda batch: {"image": batch["image"], "odd": batch["image"][:, :1]}
    with pytest.raises(ValueError, match=r"picture 'odd' has shape \(4, 1, 12, 64\)"):
        callback.draw_rows(module, sample)
    module.pictures = lambda batch: {"image": batch["image"][:2]}
    with pytest.raises(ValueError, match=r"picture 'image' has shape \(2, 3, 12, 64\)"):
        callback.draw_rows(module, sample)
    module.pictures = lambda batch: {"image": batch["image"]}
    callback._draw(module, sample, 0, 1)
    module.pictures = lambda batch: {"other": batch["image"]}
    with pytest.raises(ValueError, match="pictures are other, but those of the samples before were image"):
        callback._draw(module, sample, 0, 1)
