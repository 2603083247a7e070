"""The segmenter: its loss in closed form, scores and their direction, learning, ignored pixels."""

from functools import partial

import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lightning_modules.tasks.optimisation import Optimisation
from lightning_modules.teachers.segmenter import Segmenter
from networks.segmenter import SegmentationNet
from structures.batch import PADDING_INDEX
from tests.helpers import quiet_trainer

COLOURS = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9]])


class Fixed(SegmentationNet):
    """Logits that do not depend on the image: one number a channel."""

    def __init__(self, logits: tuple[float, ...]) -> None:
        nn.Module.__init__(self)
        self.n_classes = len(logits) - 1
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, image):
        return self.logits.view(1, -1, 1, 1).expand(len(image), -1, *image.shape[-2:])


class ColouredHalves(Dataset):
    """Images of two halves in the colours of two of three classes."""

    def __init__(self, count: int, first: int = 0) -> None:
        self.count, self.first = count, first

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        generator = torch.Generator().manual_seed(self.first + index)
        pair = torch.randperm(3, generator=generator)[:2] + 1
        semantic = torch.cat((pair[0].expand(64, 32), pair[1].expand(64, 32)), dim=1)
        image = COLOURS[semantic - 1].permute(2, 0, 1) + 0.05 * torch.randn(3, 64, 64, generator=generator)
        return {"image": image, "semantic": semantic, "index": torch.tensor(index), "name": f"{index:03d}"}


class ColouredHalvesModule(LightningDataModule):
    def train_dataloader(self):
        return DataLoader(ColouredHalves(80), batch_size=4)

    def val_dataloader(self):
        return DataLoader(ColouredHalves(3, first=1000), batch_size=2)

    test_dataloader = val_dataloader


def make_batch(semantic):
    labels = torch.tensor(semantic)
    return {"image": torch.zeros(len(labels), 3, *labels.shape[1:]), "semantic": labels}


def test_loss_is_the_mean_over_labelled_pixels():
    module = Segmenter(Fixed((5.0, 0.0, 1.0)))
    loss = module.loss_terms(make_batch([[[1, 2, 2, 0, 0]]]))["cross_entropy"].detach()
    total = torch.tensor([5.0, 0.0, 1.0]).logsumexp(0)
    assert loss == pytest.approx(float((total + 2 * (total - 1)) / 3))


def test_loss_of_unlabelled_images_is_zero_and_moves_nothing():
    module = Segmenter(Fixed((5.0, 0.0, 1.0)))
    loss = module.loss_terms(make_batch([[[0, 0]]]))["cross_entropy"]
    loss.backward()
    assert loss == 0
    assert not module.network.logits.grad.any()


def test_every_pixel_gets_a_class_even_where_none_is_likeliest():
    module = Segmenter(Fixed((5.0, 0.0, 1.0)))
    assert (module(torch.zeros(1, 3, 2, 3)) == torch.full((1, 2, 3), 2)).all()
    assert module.predict_step({"image": torch.zeros(2, 3, 2, 3)}, 0).dtype == torch.int64


@pytest.mark.parametrize("stage", ["val", "test"])
def test_scores_are_logged_and_the_one_for_checkpoints_is_better_when_lower(stage):
    batch = make_batch([[[1, 1, 1, 2], [2, 2, 2, 0]]]) | {"index": torch.tensor([0])}
    padding = make_batch([[[1, 1, 1, 1], [1, 1, 1, 1]]]) | {"index": torch.tensor([PADDING_INDEX])}
    trainer = quiet_trainer()
    evaluate = trainer.validate if stage == "val" else trainer.test
    (scores,) = evaluate(
        Segmenter(Fixed((0.0, 0.0, 1.0))), DataLoader([batch, padding], batch_size=None), verbose=False
    )
    # all predicted as 2: 4 of 7 right, IoU 0 and 4/7; a padding sample counts nothing
    assert scores == pytest.approx(
        {f"{stage}/miou": 2 / 7, f"{stage}/pixel_accuracy": 4 / 7, f"{stage}/score": 1 - 2 / 7}
    )


def test_it_learns_what_colour_tells():
    network = SegmentationNet(3, encoder_weights="bundled", decoder_widths=(4, 4, 4, 8, 8))
    module = Segmenter(network, optimisation=Optimisation(partial(torch.optim.Adam, lr=3e-3)))
    data = ColouredHalvesModule()
    trainer = quiet_trainer(max_steps=40, limit_val_batches=0)
    trainer.validate(module, data, verbose=False)
    (before,) = trainer.test(module, data, verbose=False)
    trainer.fit(module, data)
    (after,) = trainer.test(module, data, verbose=False)
    assert after["test/score"] < 0.25 < before["test/score"]
    assert after["test/pixel_accuracy"] > 0.85


def test_missing_and_unknown_labels_are_named():
    module = Segmenter(Fixed((0.0, 0.0, 1.0)))
    with pytest.raises(ValueError, match=r"no 'semantic' labels: set data.init_args.fields to \[semantic\]"):
        module.loss_terms({"image": torch.zeros(1, 3, 2, 2)})
    with pytest.raises(ValueError, match="label is 7, but the logits have the classes 0 to 2"):
        module.loss_terms(make_batch([[[1, 7]]]))
