"""The stages of the paper: which terms they have, what these look at, and how they change during a training."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from lightning_modules.boxinst_depth import BoxInstDepth
from lightning_modules.boxinst_depth.detection_losses import fcos_terms
from lightning_modules.boxinst_depth.self_distillation import SelfDistillation
from lightning_modules.tasks.optimisation import Optimisation
from losses.fcos_targets import FCOSTargets
from networks.fcos_head import HeadOutputs
from tests.data.make_instance_batch import HEIGHT, WIDTH, Oracle, rectangles_batch, tiny_network
from tests.helpers import quiet_trainer

DETECTION = {"classification": 1.0, "boxes": 1.0, "quality": 1.0}
BOXINST = DETECTION | {"projection": 1.0, "pairwise_colour": 1.0}
STAGES = {
    "condinst": DETECTION | {"mask": 1.0},
    "boxinst": BOXINST,
    "depth_loss": BOXINST | {"pairwise_depth": 1.0},
    "depth_head": BOXINST | {"pairwise_depth": 1.0, "depth": 1.0},
    "all": BOXINST | {"pairwise_depth": 1.0, "depth": 1.0, "distillation": 2.0},
}
TEACHER = {"input_size": (64, 96), "start": 0.0, "ramp": 0.0}


def module(weights, **changes):
    network = changes.pop("network", None) or tiny_network(depth_guided="depth" in weights)
    return BoxInstDepth(network=network, loss_weights=weights, **changes)


def oracle(**changes):
    """A module whose mask heads answer with the true masks, and the batch."""
    batch = rectangles_batch(**changes)
    network = tiny_network(depth_guided=True)
    network.__class__ = Oracle
    grid = (batch | rectangles_batch())["masks"][..., 1::2, 1::2]
    depth = torch.full(grid.shape, 0.75)
    network.answers = (batch["boxes"], torch.where(grid, 20.0, -20.0), depth)
    return network, batch


def left_halves(network):
    """Logits of the left half of every true mask."""
    boxes, logits, _ = network.answers
    middle = boxes[..., 0::2].mean(dim=-1) / 2  # on a grid of two pixels
    return torch.where(torch.arange(WIDTH // 2) < middle[..., None, None], logits, torch.tensor(-20.0))


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_computes_its_terms_and_reaches_every_weight(stage):
    paper = module(STAGES[stage], distillation=SelfDistillation(**TEACHER) if stage == "all" else None)
    terms = paper.loss_terms(rectangles_batch(has_masks=(stage == "condinst",) * 2))
    assert list(terms) == list(STAGES[stage])
    assert all(bool(term.isfinite()) and term.ndim == 0 for term in terms.values())
    sum(terms.values()).backward()
    assert not [name for name, p in paper.named_parameters() if p.requires_grad and p.grad is None]


def test_the_paper_is_the_default():
    paper = BoxInstDepth(network=tiny_network(depth_guided=True))
    assert set(paper.loss_weights) == set(STAGES["all"])
    assert paper.loss_weights["distillation"] > paper.loss_weights["projection"]
    assert (paper.colour_threshold, paper.depth_threshold, paper.masks_per_image) == (0.3, 0.5, 64)
    assert paper.warmup == pytest.approx(10_000 / 90_000)


@pytest.mark.parametrize("stage", ["boxinst", "all", "mixed"])
def test_losses_are_bit_equal_when_every_mask_that_may_not_be_used_is_removed_or_wrong(stage):
    weights = STAGES["all"] | {"mask": 1.0} if stage == "mixed" else STAGES[stage]
    paper = module(weights, distillation=SelfDistillation(**TEACHER) if stage != "boxinst" else None)
    removed = paper.loss_terms(rectangles_batch(masks=False))
    batch = rectangles_batch()
    batch["masks"] = torch.rand(batch["masks"].shape) > 0.5
    wrong = paper.loss_terms(batch)
    assert all(torch.equal(removed[name], wrong[name]) for name in removed)


def test_a_perfect_mask_costs_nothing_and_a_shifted_one_does():
    network, batch = oracle(has_masks=(True, True))
    paper = module(DETECTION | {"mask": 1.0}, network=network)
    assert float(paper.loss_terms(batch)["mask"]) == pytest.approx(0, abs=1e-5)
    network.answers = (batch["boxes"], network.answers[1].roll(1, dims=-1), network.answers[2])
    assert float(paper.loss_terms(batch)["mask"]) > 0.01


def test_masks_that_fill_their_boxes_have_no_projection_and_no_pairwise_loss():
    network, batch = oracle()
    terms = module(STAGES["depth_head"], network=network).loss_terms(batch)
    for name in ("projection", "pairwise_colour", "pairwise_depth", "depth"):
        assert float(terms[name]) == pytest.approx(0, abs=1e-5), name
    # Inside of the box everything is alike, so that a mask of its left half is torn apart there.
    half = left_halves(network)
    network.answers = (batch["boxes"], half, network.answers[2] - 0.5)
    terms = module(STAGES["depth_head"], network=network).loss_terms(batch)
    assert min(float(terms[name]) for name in ("projection", "pairwise_colour", "pairwise_depth")) > 0.05
    assert float(terms["depth"]) == pytest.approx(0.25, abs=1e-5)


def test_depth_that_is_unknown_attracts_nobody_and_is_not_learned():
    network, batch = oracle()
    batch["depth_mask"][:] = False
    network.answers = (batch["boxes"], torch.randn(network.answers[1].shape), network.answers[2])
    terms = module(STAGES["depth_head"], network=network).loss_terms(batch)
    assert float(terms["pairwise_depth"]) == float(terms["depth"]) == 0
    assert float(terms["pairwise_colour"]) > 0


def test_joint_pairs_have_the_weight_of_one_term():
    network, batch = oracle()
    network.answers = (batch["boxes"], torch.randn(network.answers[1].shape), network.answers[2])
    # Depth selects the pairs that colour selects, so that one normaliser makes of both terms the mean over all pairs.
    apart, joint = (
        module(STAGES["depth_loss"], network=network, joint_pairs=joint, bottom_rows=0).loss_terms(batch)
        for joint in (False, True)
    )
    assert float(apart["pairwise_colour"]) == pytest.approx(float(apart["pairwise_depth"]), rel=1e-4)
    both = joint["pairwise_colour"] + joint["pairwise_depth"]
    assert float(both) == pytest.approx(float(apart["pairwise_colour"]), rel=1e-4)
    # Without depth all pairs are those of colour.
    batch["depth_mask"][:] = False
    alone = module(STAGES["depth_loss"], network=network, joint_pairs=True, bottom_rows=0).loss_terms(batch)
    assert float(alone["pairwise_colour"]) == pytest.approx(float(apart["pairwise_colour"]), rel=1e-5)
    assert float(alone["pairwise_depth"]) == 0
    with pytest.raises(ValueError, match="joint_pairs needs both pairwise_colour and pairwise_depth"):
        module(BOXINST, joint_pairs=True)


def test_a_slope_attracts_by_planes_and_not_by_differences():
    network, batch = oracle()
    batch["pseudo_depth"][:] = torch.linspace(0, 1, WIDTH)
    network.answers = (batch["boxes"], torch.randn(network.answers[1].shape), network.answers[2])
    found = {
        affinity: module(STAGES["depth_loss"], network=network, depth_affinity=affinity, depth_scale=138.6)
        for affinity in ("first", "plane")
    }
    pairs = {
        affinity: float((paper.similarities(batch, *paper.pseudo_depth(batch))["depth"] > 0.5).float().mean())
        for affinity, paper in found.items()
    }
    assert pairs["first"] < 0.3  # vertical pairs alone
    assert pairs["plane"] > 0.85  # all but those that leave the image
    assert not torch.equal(*(paper.loss_terms(batch)["pairwise_depth"] for paper in found.values()))
    with pytest.raises(ValueError, match="depth_affinity is 'planes', but must be first or plane"):
        module(STAGES["depth_loss"], depth_affinity="planes")


def test_the_gate_lets_colour_attract_only_pairs_at_one_depth():
    # All of one colour, with a step of depth at the rectangles' edges: a camouflaged object.
    network, batch = oracle()
    batch["image"][:] = 0.5
    batch["boxes"][:, :2] += torch.tensor([-6.0, -6.0, 6.0, 6.0])  # so that edges lie inside of the boxes
    network.answers = (batch["boxes"], *network.answers[1:])
    losses = {
        gate: float(module(BOXINST, network=network, pair_gate=gate).loss_terms(batch)["pairwise_colour"])
        for gate in ("colour", "both", "depth")
    }
    assert losses["colour"] > 1
    assert losses["both"] == pytest.approx(0, abs=1e-5)
    assert losses["depth"] == pytest.approx(0, abs=1e-5)


def test_the_lowest_rows_of_the_original_attract_nobody():
    network, batch = oracle()
    half = left_halves(network)
    network.answers = (batch["boxes"], half, network.answers[2])
    batch["scale"] = torch.full((2, 2), 0.5)
    # All rows: 128 of an original that is twice as high.
    everything = module(BOXINST, network=network, bottom_rows=2 * HEIGHT).loss_terms(batch)
    assert float(everything["pairwise_colour"]) == 0
    assert float(module(BOXINST, network=network, bottom_rows=0).loss_terms(batch)["pairwise_colour"]) > 0.05


def test_in_mixed_supervision_every_instance_counts_once():
    torch.manual_seed(3)
    network = tiny_network().eval()
    batch = rectangles_batch(has_masks=(True, False))
    for name in ("image", "boxes", "labels", "masks"):  # twice the same image
        batch[name] = batch[name][:1].repeat(2, *[1] * (batch[name].ndim - 1))
    weights = BOXINST | {"mask": 1.0}
    mixed = module(weights, network=network).loss_terms(batch)
    boxes = module(weights, network=network).loss_terms(batch | {"has_masks": torch.tensor([False, False])})
    masks = module(weights, network=network).loss_terms(batch | {"has_masks": torch.tensor([True, True])})
    assert float(boxes["mask"]) == float(masks["projection"]) == float(masks["pairwise_colour"]) == 0
    for name in ("projection", "pairwise_colour"):
        torch.testing.assert_close(mixed[name], boxes[name] / 2)
    torch.testing.assert_close(mixed["mask"], masks["mask"] / 2)


def test_images_without_instances_leave_zeros_in_the_graph():
    paper = module(STAGES["all"] | {"mask": 1.0}, distillation=SelfDistillation(**TEACHER))
    batch = rectangles_batch()
    batch["boxes"][:], batch["labels"][:] = 0, 0
    terms = paper.loss_terms(batch)
    assert all(float(terms[name]) == 0 for name in terms if name != "classification")
    sum(terms.values()).backward()
    assert all(p.grad is not None for p in paper.parameters() if p.requires_grad)


@pytest.mark.parametrize("quality", ["centerness", "iou"])
def test_terms_of_the_head_are_those_of_the_formulas(quality):
    target = torch.tensor([[[1.0, 2.0, 3.0, 2.0], [2.0, 2.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0]]])
    ltrb = torch.tensor([[[1.0, 2.0, 1.0, 2.0], [2.0, 1.0, 2.0, 3.0], [5.0, 5.0, 5.0, 5.0]]])
    logit = torch.tensor([[0.3, -0.4, 9.0]])
    head = HeadOutputs(torch.zeros(1, 3, 2), ltrb, logit, torch.zeros(1, 3, 1))
    targets = FCOSTargets(torch.tensor([[1, 2, 0]]), target, torch.tensor([[0, 1, -1]]))
    terms = fcos_terms(head, targets, box_quality=quality)
    # Intersection, union and hull by hand: 8 of 16 in a hull of 16, and 12 of 20 in a hull of 4 x 5.
    iou = torch.tensor([(8 + 1) / (16 + 1), (12 + 1) / (20 + 1)])
    giou = iou - torch.tensor([0.0, 0.0])
    centre = torch.tensor([(1 / 3) ** 0.5, 1.0])
    weights, goal = (centre, centre) if quality == "centerness" else (torch.ones(2), iou)
    expected = (weights * (1 - giou)).sum() / weights.sum()
    torch.testing.assert_close(terms["boxes"], expected)
    p = logit[0, :2].sigmoid()
    torch.testing.assert_close(terms["quality"], -(goal * p.log() + (1 - goal) * (1 - p).log()).mean())
    focal = (2 * 0.25 + 4 * 0.75) * 0.25 * torch.tensor(2.0).log() / 2
    torch.testing.assert_close(terms["classification"], focal)


def test_warm_up_and_ramp_follow_the_progress_of_the_training(monkeypatch):
    paper = module(STAGES["all"], warmup=0.2, distillation=SelfDistillation(start=0.5, ramp=0.2))
    terms = {name: torch.tensor(1.0) for name in STAGES["all"]}
    for progress, pairwise, distillation in ((0, 0, 0), (0.1, 0.5, 0), (0.5, 1, 0), (0.6, 1, 1), (1, 1, 2)):
        monkeypatch.setattr(paper, "progress", lambda value=progress: value)
        weighted = {name: float(value) for name, value in paper.weighted(terms).items()}
        assert weighted.pop("distillation") == pytest.approx(distillation)
        assert weighted.pop("pairwise_colour") == pytest.approx(pairwise)
        assert weighted.pop("pairwise_depth") == pytest.approx(pairwise)
        assert set(weighted.values()) == {1.0}


def test_accepted_masks_of_the_teacher_are_learned_by_dice():
    network, batch = oracle()
    paper = module(STAGES["all"], network=network, distillation=SelfDistillation(**TEACHER))
    grid = rectangles_batch()["masks"][..., 1::2, 1::2]
    accepted = torch.tensor([[True, False, False], [False, False, False]])
    statistics = {"masks_per_image": torch.tensor(0.5)}
    answer = SimpleNamespace(masks=grid, accepted=accepted, statistics=lambda batch: statistics)
    paper.teacher.pseudo_masks = lambda *args, **kwargs: answer
    assert float(paper.loss_terms(batch)["distillation"]) == pytest.approx(0, abs=1e-5)
    network.answers = (batch["boxes"], -network.answers[1], network.answers[2])
    value = float(paper.loss_terms(batch)["distillation"])
    assert 0.1 < value < 0.5  # the dice loss is 1 for the one instance of four that was accepted
    assert paper.teacher_statistics is statistics


class Batches(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return rectangles_batch(masks=False)  # always the same, as loaders without a state begin anew when resumed


def fit(paper, folder, steps, checkpoint=None):
    saver = ModelCheckpoint(dirpath=folder, every_n_train_steps=2, save_top_k=-1, filename="{step}")
    trainer = quiet_trainer(
        max_steps=steps, enable_checkpointing=True, callbacks=[saver], default_root_dir=folder, limit_val_batches=0
    )
    trainer.fit(paper, DataLoader(Batches(), batch_size=None), ckpt_path=checkpoint)
    return paper


@pytest.mark.filterwarnings("ignore")
def test_the_teacher_starts_as_the_student_follows_it_and_survives_a_resumed_run(tmp_path):
    def paper():
        torch.manual_seed(0)
        settings = SelfDistillation(input_size=(64, 96), start=0.25, ramp=0.25, momentum=0.5, score_threshold=0.0)
        return module(
            STAGES["all"], distillation=settings, optimisation=Optimisation(partial(torch.optim.SGD, lr=0.01))
        )

    whole = fit(paper(), tmp_path / "whole", 4)
    saved = [torch.load(tmp_path / "whole" / f"step={step}.ckpt", weights_only=True)["state_dict"] for step in (2, 4)]
    key = "mask_branch.tower.1.weight"
    # It begins at step 1; at step 2 it is half of each of the two students so far.
    student, teacher = (f"network.{key}", f"teacher.model.{key}")
    assert not torch.equal(saved[0][student], saved[0][teacher])
    assert whole.teacher.training is False

    again = fit(paper(), tmp_path / "again", 4, tmp_path / "whole" / "step=2.ckpt")
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_before_its_start_the_teacher_is_the_student_also_when_weights_were_loaded(tmp_path):
    settings = SelfDistillation(start=0.5)
    paper = module(STAGES["all"], distillation=settings)
    with torch.no_grad():
        paper.network.head.scales += 1
    paper.trainer = SimpleNamespace(estimated_stepping_batches=10, global_step=0)
    paper.on_train_start()
    torch.testing.assert_close(paper.teacher.model.head.scales, paper.network.head.scales)
    updates = [paper._updates(step) for step in (0, 4, 5, 10)]
    assert updates == [-5, -1, 0, 5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss_weights": BOXINST | {"colour": 1.0}}, r"loss term 'colour' is not known"),
        ({"loss_weights": DETECTION}, r"one of mask and projection"),
        ({"loss_weights": STAGES["depth_head"]}, r"needs a depth layer"),
        ({"loss_weights": BOXINST, "distillation": SelfDistillation()}, r"is not among loss_weights"),
        ({"loss_weights": BOXINST, "warmup": 2.0}, r"warmup is 2.0"),
        ({"loss_weights": BOXINST, "pair_gate": "hue"}, r"pair_gate \('hue'\)"),
        ({"loss_weights": BOXINST, "depth_scale": 0.0}, r"depth_scale \(0.0\) positive"),
    ],
)
def test_wrong_settings_have_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message):
        BoxInstDepth(network=tiny_network(), **changes)


def test_a_batch_without_depth_says_how_to_get_it():
    batch = rectangles_batch()
    del batch["pseudo_depth"]
    with pytest.raises(ValueError, match=r"set data.init_args.pseudo_depth"):
        module(STAGES["depth_loss"]).loss_terms(batch)
    module(BOXINST).loss_terms(batch)


def test_data_that_do_not_fit_are_refused_before_training():
    paper = module(STAGES["condinst"])
    paper.trainer = SimpleNamespace(datamodule=SimpleNamespace(n_classes=2, mask_share=0.0))
    with pytest.raises(ValueError, match=r"set data.init_args.mask_share"):
        paper.setup("fit")
    paper.trainer = SimpleNamespace(datamodule=SimpleNamespace(n_classes=80, mask_share=1.0))
    with pytest.raises(ValueError, match=r"has 2 classes, but the data have 80"):
        paper.setup("fit")


def test_subset_that_the_data_lack_is_left_out_and_a_misspelt_one_refused():
    paper = module(BOXINST, subsets=["camouflaged", "standing"])
    of_coco = SimpleNamespace(n_classes=2, mask_share=0.0, flag_names=())
    paper.trainer = SimpleNamespace(datamodule=of_coco)
    with pytest.warns(UserWarning, match=r"have no flags, so the scores of the subsets camouflaged, standing are"):
        paper.setup("fit")
    batch = rectangles_batch()
    none = torch.zeros(0, dtype=torch.bool)
    truth = {"boxes": torch.zeros(0, 4), "labels": none.long(), "crowd": none, "ignored": none, "area": none.double()}
    batch |= {"truth": [truth | {"masks": []}] * 2, "image_id": torch.tensor([0, 1])}
    for stage in ("val", "test"):
        paper.update_metrics(stage, batch)
        assert not any("camouflaged" in name for name in paper.stage_metrics(stage))
    paper = module(BOXINST, subsets=["camoflaged"])
    paper.trainer = SimpleNamespace(
        datamodule=SimpleNamespace(n_classes=2, mask_share=0.0, flag_names=("camouflaged",))
    )
    message = r"subsets holds 'camoflaged', but .* choose model.init_args.subsets among camouflaged, or set it to \[\]"
    with pytest.raises(ValueError, match=message):
        paper.setup("fit")
    paper = module(BOXINST, subsets=["camouflaged"])
    paper.trainer = SimpleNamespace(
        datamodule=SimpleNamespace(n_classes=2, mask_share=0.0, flag_names=("camouflaged",))
    )
    paper.setup("fit")
    assert paper.instance_metrics["val"].subsets == paper.instance_metrics["test"].subsets == ("camouflaged",)


def test_the_score_falls_with_the_metric_that_checkpoints_are_chosen_by():
    paper = module(BOXINST, select_by="mask_iou").eval()
    metrics = {"mask_iou": torch.tensor(0.75), "mask_ap": torch.tensor(0.1), "box_ap": torch.tensor(0.4)}
    paper.instance_metrics["val"].compute = lambda: metrics
    assert float(paper.stage_metrics("val")["score"]) == pytest.approx(0.25)
    metrics["mask_iou"] = torch.tensor(torch.nan)
    assert float(paper.stage_metrics("val")["score"]) == pytest.approx(0.6)
