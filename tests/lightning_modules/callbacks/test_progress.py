"""The progress bar counts what ends the training."""

import pytest
from lightning.pytorch import Trainer

from lightning_modules.callbacks.progress import StepProgressBar
from tests.helpers import RandomDepthModule
from tests.lightning_modules.callbacks.test_final_weights import Line


class Descriptions(StepProgressBar):
    """Writes down what the bar of the training says."""

    def __init__(self):
        super().__init__()
        self.said = []

    def on_train_batch_end(self, *arguments):
        super().on_train_batch_end(*arguments)
        self.said.append(self.train_progress_bar.description.removeprefix("[]").strip())


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_steps": 3, "max_epochs": -1}, ["Epoch 0, step 1/3", "Epoch 0, step 2/3", "Epoch 1, step 3/3"]),
        ({"max_steps": 3}, ["Epoch 0, step 1/3", "Epoch 0, step 2/3", "Epoch 1, step 3/3"]),
        ({"max_epochs": 2}, ["Epoch 0/1", "Epoch 0/1", "Epoch 1/1", "Epoch 1/1"]),
    ],
)
def test_steps_are_counted_where_they_end_the_training(limits, said, tmp_path):
    bar = Descriptions()
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[bar],
        **limits,
    )
    trainer.fit(Line(), datamodule=RandomDepthModule())
    assert [words.rpartition("]")[2] for words in bar.said] == said
