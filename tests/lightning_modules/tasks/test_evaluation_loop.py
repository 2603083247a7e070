"""Validation and test of all three tasks: metrics over the whole split, cleared before and after, logged by stage."""

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.utils.data import DataLoader, default_collate

from lightning_modules.supervised_depth import SupervisedDepth
from lightning_modules.tasks.evaluation_loop import STAGES, EvaluatedModule
from lightning_modules.tasks.instance_segmentation import InstanceSegmentationModule
from lightning_modules.tasks.optimisation import Optimisation
from lightning_modules.teachers.segmenter import Segmenter
from networks.segmenter import SegmentationNet
from tests.helpers import Affine, RandomDepth


def depth():
    """Three images in two batches: the mean over images is none of batches."""
    samples = [RandomDepth(3)[k] for k in range(3)]
    return SupervisedDepth(Affine()), [default_collate(samples[:2]), default_collate(samples[2:])]


class FirstClass(SegmentationNet):
    """Calls every pixel class 1."""

    def __init__(self):
        nn.Module.__init__(self)
        self.n_classes = 2
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, image):
        return self.weight * torch.tensor([0.0, 1.0, 0.5]).view(1, 3, 1, 1).expand(len(image), 3, *image.shape[-2:])


def classes():
    """One batch that is right everywhere, and a smaller one that is wrong everywhere."""
    batches = [
        {"image": torch.zeros(len(labels), 3, 4, 4), "semantic": labels}
        for labels in (torch.ones(2, 4, 4, dtype=torch.int64), torch.full((1, 4, 4), 2))
    ]
    return Segmenter(FirstClass()), batches


class OneObject(InstanceSegmentationModule):
    """Finds the same object in every image."""

    def loss_terms(self, batch):
        return {}

    def detections_and_object_masks(self, batch):
        mask = torch.zeros(1, 32, 32, dtype=torch.bool)
        mask[:, 4:20, 4:20] = True
        found = {
            "boxes": torch.tensor([[4.0, 4, 20, 20]]),
            "labels": torch.tensor([1]),
            "scores": torch.tensor([0.9]),
            "masks": mask,
        }
        return [found] * len(batch["image"]), [None] * len(batch["image"])


def truth_at(x):
    box = torch.tensor([[x, 4.0, x + 16, 20]])
    no = torch.zeros(1, dtype=torch.bool)
    return {
        "boxes": box,
        "labels": torch.tensor([1]),
        "masks": None,
        "crowd": no,
        "ignored": no,
        "area": torch.tensor([256.0], dtype=torch.float64),
    }


def instances():
    """Two images whose object is where it is found, and one where it is not."""
    batches = [
        {
            "image": torch.zeros(len(xs), 3, 32, 32),
            "truth": [truth_at(x) for x in xs],
            "image_id": torch.tensor(ids),
            "scale": torch.ones(len(xs), 2),
            "original_size": torch.full((len(xs), 2), 32),
        }
        for xs, ids in (((4.0, 4.0), (0, 1)), ((12.0,), (2,)))
    ]
    module = OneObject(nn.Linear(1, 1), loss_weights={"class": 1.0}, optimisation=Optimisation(torch.optim.SGD))
    return module, batches


TASKS = {"depth": depth, "classes": classes, "instances": instances}


@pytest.fixture(params=TASKS)
def task(request):
    module, batches = TASKS[request.param]()
    return module.eval(), batches


def evaluated(module, batches, stage):
    """What a validation or a test logs."""
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    run = trainer.validate if stage == "val" else trainer.test
    (values,) = run(module, DataLoader(batches, batch_size=None), verbose=False)
    return values


def of_all(module, batches, stage="val"):
    """Metrics of batches that are added by hand, without a loop."""
    module.reset_metrics(stage)
    with torch.no_grad():
        for batch in batches:
            module.update_metrics(stage, batch)
    values = {f"{stage}/{name}": float(value) for name, value in module.stage_metrics(stage).items()}
    module.reset_metrics(stage)
    return values


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_logs_the_metrics_of_its_whole_split(task, stage):
    module, batches = task
    expected = of_all(module, batches, stage)
    assert f"{stage}/score" in expected
    assert expected != pytest.approx(of_all(module, batches[:1], stage), nan_ok=True)
    assert evaluated(module, batches, stage) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_is_left_from_before_or_for_afterwards(task, stage):
    module, batches = task
    expected = of_all(module, batches, stage)
    with torch.no_grad():
        module.update_metrics(stage, batches[1])  # as an interrupted epoch would
    first = evaluated(module, batches, stage)
    assert first == pytest.approx(expected, nan_ok=True)
    assert evaluated(module, batches[:1], stage) == pytest.approx(of_all(module, batches[:1], stage), nan_ok=True)


def test_a_test_leaves_the_counts_of_the_validation_alone(task):
    module, batches = task
    expected = of_all(module, batches[:1])
    with torch.no_grad():
        module.update_metrics("val", batches[0])
    evaluated(module, batches, "test")
    values = {f"val/{name}": float(value) for name, value in module.stage_metrics("val").items()}
    assert values == pytest.approx(expected, nan_ok=True)


def test_the_score_falls_where_the_prediction_is_better(task):
    module, batches = task
    if isinstance(module, SupervisedDepth):
        batches[0] = {**batches[0], "depth": module(batches[0]["image"]).detach()}
    good, bad = (of_all(module, [batch])["val/score"] for batch in batches)
    assert good == pytest.approx(0, abs=1e-6)
    assert bad > 0.01


def test_the_progress_bar_shows_some_metrics_of_each_task(task):
    module, batches = task
    shown = {name for name in of_all(module, batches) if module.in_progress_bar(name.removeprefix("val/"))}
    assert 0 < len(shown) <= 5
    assert module.unscored is None


def test_images_of_a_wrong_size_end_in_a_sentence_in_every_task(task):
    module, batches = task

    def refuse(stage, batch):
        raise RuntimeError("Padding size should be less than the corresponding input dimension")

    module.update_metrics = refuse
    for step in (module.validation_step, module.test_step):
        with pytest.raises(ValueError, match=r"too small for this network .* raise data.init_args.image_size"):
            step(batches[0], 0)


def test_the_ground_truth_is_looked_at_before_the_prediction(task):
    module, batches = task
    calls = []
    module.check_evaluated = lambda stage, batch: calls.append(("check", stage))
    module.update_metrics = lambda stage, batch: calls.append(("update", stage))
    module.validation_step(batches[0], 0)
    module.test_step(batches[0], 0)
    assert calls == [("check", "val"), ("update", "val"), ("check", "test"), ("update", "test")]


@pytest.mark.parametrize("task_class", [SupervisedDepth, Segmenter, InstanceSegmentationModule])
def test_no_task_writes_a_hook_of_the_loop_itself(task_class):
    hooks = {name for name in vars(EvaluatedModule) if name.startswith("on_") or name.endswith("_step")}
    assert len(hooks) == 6
    own = {name for owner in task_class.__mro__ for name in vars(owner) if issubclass(owner, EvaluatedModule)}
    assert hooks <= own
    for owner in task_class.__mro__[: task_class.__mro__.index(EvaluatedModule)]:
        assert not hooks & vars(owner).keys()
