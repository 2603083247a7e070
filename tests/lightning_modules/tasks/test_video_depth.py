"""What the self-supervised papers share: poses of pairs, warping, scores, pictures, on a plane of known depth."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_modules.gam_depth import GAMDepth
from lightning_modules.monodepth2 import Monodepth2
from lightning_modules.sc_depth import SCDepth
from lightning_modules.tasks.evaluation import DepthEvaluation
from losses.ssim import ssim_map
from losses.weighting import Averaging, KeypointWeighting
from networks.disparity import DisparitySegmentationNet
from structures.batch import PADDING_INDEX
from tests.data.make_clips import HEIGHT, WIDTH, ConstantMotion, ExactPoses, FixedDisparity, plane_clips
from tests.helpers import quiet_trainer


def exact_module(paper: type, batch: dict[str, Any], **changes: Any) -> Any:
    """A paper with the exact depth of the targets and true poses, without the terms that need labels."""
    arguments: dict[str, Any] = {"poses": "exact", "weighting": Averaging()}
    if paper is GAMDepth:
        arguments["loss_weights"] = {"photometric": 1.0, "smoothness": 1e-3}
        arguments |= {"normal_radius": 1, "min_segment_px": 20, "min_plane_px": 40, "border_px": 1, "border_top_px": 1}
    return paper(depth_network=FixedDisparity(batch["depth"]), **(arguments | changes))


def validate(module: Any, *batches: dict[str, Any]) -> dict[str, float]:
    """Results of a validation, without their ``val/``; what warns fails."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*compute.* method of metric.*")
        (results,) = quiet_trainer().validate(module, DataLoader(list(batches), batch_size=None), verbose=False)
    return {name.removeprefix("val/"): value for name, value in results.items()}


def select(batch: dict[str, Any], samples: Any) -> dict[str, Any]:
    return {key: [value[i] for i in samples] if key == "name" else value[samples] for key, value in batch.items()}


PAPERS = pytest.mark.parametrize("paper", [Monodepth2, SCDepth, GAMDepth])


@pytest.mark.parametrize("n_frames", [3, 5])
@pytest.mark.parametrize("paper", [Monodepth2, SCDepth])
def test_poses_of_pairs_with_the_target_are_exact_in_one_call(paper, n_frames):
    batch = plane_clips(n_frames)
    network = ExactPoses(batch)
    module = exact_module(paper, batch, poses="learned", pose_network=network)
    poses = module.relative_poses(batch, batch["depth"])
    torch.testing.assert_close(poses, batch["T_frame_target"], atol=1e-5, rtol=0)
    middle = n_frames // 2
    (pairs,) = network.pairs
    others = [k for k in range(n_frames) if k != middle]
    # In temporal order, whichever of the two is the target.
    assert sorted(pairs) == sorted((clip, min(k, middle), max(k, middle)) for clip in range(2) for k in others)


def test_depth_follows_the_inverse_between_its_limits():
    module = exact_module(Monodepth2, plane_clips(3), evaluation=DepthEvaluation(min_depth_m=0.5, max_depth_m=8.0))
    disparity = torch.tensor([0.0, 0.25, 1.0]).view(3, 1, 1, 1)
    expected = [8.0, 1 / (1 / 8 + 0.25 * (1 / 0.5 - 1 / 8)), 0.5]
    assert module.to_depth(disparity).flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("n_frames", [3, 5])
def test_exact_depth_and_poses_show_the_target_in_every_source(n_frames):
    batch = plane_clips(n_frames)
    module = exact_module(Monodepth2, batch)
    warped = module.synthesize(batch, module(batch["image"]), module.relative_poses(batch, batch["depth"]))
    difference = (warped.image - batch["image"][:, None]).abs().mean(dim=2)
    valid = warped.valid[:, :, 0]
    assert valid.float().mean() > 0.8
    assert difference[valid].max() < 0.05  # what bilinear sampling leaves, most of it at the border
    assert difference[valid].mean() < 0.006
    error, winner = module.candidates(batch, warped.image, noise=False)
    everywhere = valid.all(dim=1)
    assert error[everywhere].mean() < 0.002
    assert (winner >= n_frames - 1)[everywhere].float().mean() > 0.95
    # The motion matters: without it the sources are as they are.
    still = batch | {"T_frame_target": torch.eye(4).expand(2, n_frames, 4, 4)}
    unmoved = module.synthesize(still, batch["depth"], still["T_frame_target"]).image
    others = [k for k in range(n_frames) if k != n_frames // 2]
    torch.testing.assert_close(unmoved, batch["frames"][:, others], atol=1e-5, rtol=0)


def test_error_is_ssim_and_colour_against_the_clean_target():
    batch = plane_clips(3)
    module = exact_module(Monodepth2, batch)
    warped = torch.rand(2, 2, 3, HEIGHT, WIDTH)
    error, winner = module.candidates(batch, warped, noise=False)
    errors = []
    for image in [batch["frames"][:, 0], batch["frames"][:, 2], warped[:, 0], warped[:, 1]]:
        image, target = image.double(), batch["image"].double()
        similarity = ssim_map(image, target, window_size=3, window="box", padding="reflect")
        errors.append((0.85 * (1 - similarity) / 2 + 0.15 * (image - target).abs()).mean(dim=1))
    expected = torch.stack(errors).min(dim=0)
    torch.testing.assert_close(error.double(), expected.values, atol=1e-5, rtol=0)
    assert torch.equal(winner, expected.indices)


def test_a_camera_that_stands_still_is_explained_by_its_unwarped_frames():
    batch = plane_clips(speed=0.0)
    module = exact_module(Monodepth2, batch)
    warped = module.synthesize(batch, batch["depth"], batch["T_frame_target"]).image
    error, winner = module.candidates(batch, warped, noise=False)
    assert (winner < 4).all()
    assert error.max() < 1e-6
    moving = plane_clips()["T_frame_target"]  # a motion that is none
    _, winner = module.candidates(batch, module.synthesize(batch, batch["depth"], moving).image, noise=True)
    assert (winner < 4).all()


def test_noise_breaks_ties_between_unwarped_frames():
    batch = plane_clips(speed=0.0)
    module = exact_module(Monodepth2, batch)
    _, winner = module.candidates(batch, torch.rand(2, 4, 3, HEIGHT, WIDTH), noise=True)
    assert torch.bincount(winner.flatten(), minlength=8)[:4].min() > 0.2 * winner.numel()


@pytest.mark.parametrize("weighting", [Averaging(), KeypointWeighting()])
def test_before_its_minimum_every_warped_neighbour_counts(weighting, monkeypatch):
    batch = plane_clips(3) | {"keypoints": torch.rand(2, 1, HEIGHT, WIDTH) < 0.3}
    module = exact_module(Monodepth2, batch, minimum_from=0.25, weighting=weighting)
    counted = batch["keypoints"][:, 0] if isinstance(weighting, KeypointWeighting) else torch.ones(2, HEIGHT, WIDTH) > 0
    warped = torch.rand(2, 2, 3, HEIGHT, WIDTH)
    target = batch["image"].double()
    errors = []
    for image in warped.double().unbind(dim=1):
        similarity = ssim_map(image, target, window_size=3, window="box", padding="reflect")
        errors.append((0.85 * (1 - similarity) / 2 + 0.15 * (image - target).abs()).mean(dim=1))
    expected = torch.stack(errors).mean(dim=0)[counted].mean().item()
    monkeypatch.setattr(Monodepth2, "progress", lambda self: 0.24)
    assert module.photometric_loss(batch, warped).item() == pytest.approx(expected, rel=1e-4)
    monkeypatch.setattr(Monodepth2, "progress", lambda self: 0.25)
    error, _ = module.candidates(batch, warped, noise=False)
    assert module.photometric_loss(batch, warped).item() == pytest.approx(error[counted].mean().item(), rel=1e-3)
    assert error[counted].mean() < 0.8 * expected  # so that one is not the other


def test_a_motion_worse_than_none_is_felt_only_before_the_minimum(monkeypatch):
    batch = plane_clips(3, speed=0.0)
    gradients = []
    for progress in (0.0, 0.5):
        network = ConstantMotion()
        module = exact_module(Monodepth2, batch, poses="learned", pose_network=network, minimum_from=0.5)
        monkeypatch.setattr(Monodepth2, "progress", lambda self, progress=progress: progress)
        module.loss_terms(batch)["photometric"].backward()
        gradients.append(network.motion.grad.norm().item())
    assert gradients[0] > 0.1
    assert gradients[1] < 0.01 * gradients[0]


@PAPERS
def test_motion_learns_alone_until_depth_may(paper, monkeypatch):
    batch = plane_clips(3)
    batch["depths"] = batch["depths"] * 1.1
    network = ConstantMotion()
    module = exact_module(paper, batch, poses="learned", pose_network=network, depth_from=0.2)
    if paper is SCDepth:
        module.depth_network = FixedDisparity(batch["depths"].flatten(0, 1))
    gradients = []
    for progress in (0.19, 0.2):
        monkeypatch.setattr(paper, "progress", lambda self, progress=progress: progress)
        module.zero_grad()
        terms = module.loss_terms(batch)
        (terms["photometric"] + terms["smoothness"]).backward()
        assert network.motion.grad.norm() > 0
        # A zero and not None: the depth network stays in the graph, for DDP.
        gradients.append(module.depth_network.disparity.grad.norm().item())
    assert gradients[0] == 0 < gradients[1]


@PAPERS
def test_depth_begins_with_steps_of_the_learning_rate(paper, monkeypatch):
    batch = plane_clips(3)
    batch["depths"] = batch["depths"] * 1.1
    module = exact_module(paper, batch, poses="learned", pose_network=ConstantMotion(), depth_from=0.5)
    if paper is SCDepth:
        module.depth_network = FixedDisparity(batch["depths"].flatten(0, 1))
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-4)
    disparity, moved = module.depth_network.disparity, []
    for progress in [0.0] * 20 + [0.5]:
        monkeypatch.setattr(paper, "progress", lambda self, progress=progress: progress)
        optimizer.zero_grad()
        terms = module.loss_terms(batch)
        (terms["photometric"] + terms["smoothness"]).backward()
        before = disparity.detach().clone()
        module.on_before_optimizer_step(optimizer)
        optimizer.step()
        moved.append((disparity.detach() - before).abs().max().item())
    assert max(moved[:-1]) == 0
    # Adam's first step; had it counted twenty zeros, half as long, and the next ones several times too long.
    assert moved[-1] == pytest.approx(1e-4, rel=0.05)


@PAPERS
def test_a_decoder_that_forward_does_not_run_is_not_trained(paper):
    """A host may have the network of GAM-Depth, whose second decoder none of its terms trains."""
    network = DisparitySegmentationNet(4, encoder="resnet18", encoder_weights=None, decoder_widths=(4, 4, 4, 4, 4))
    module = paper(depth_network=network, poses="exact", loss_weights={"photometric": 1.0}, depth_from=0.5)
    frozen = {name.split(".")[0] for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert frozen == {"segmentation_decoder"}
    assert module.delayed_part() is network


@pytest.mark.parametrize("name", ["depth_from", "minimum_from"])
@PAPERS
def test_first_steps_are_a_part_of_the_training(paper, name):
    assert getattr(exact_module(paper, plane_clips(3)), name) == 0  # the papers'
    with pytest.raises(ValueError, match=rf"{name} is 1\.5, but must be a fraction of the training, 0 to 1"):
        exact_module(paper, plane_clips(3), **{name: 1.5})


@PAPERS
def test_poses_are_learned_or_exact(paper):
    batch = plane_clips(3)
    with pytest.raises(ValueError, match="'exact' must have none"):
        exact_module(paper, batch, pose_network=ConstantMotion())
    with pytest.raises(ValueError, match="'learned' needs a pose_network"):
        exact_module(paper, batch, poses="learned")
    with pytest.raises(ValueError, match="poses is 'guessed', but must be 'learned' or 'exact'"):
        exact_module(paper, batch, poses="guessed")
    del batch["T_frame_target"]
    with pytest.raises(ValueError, match=r"the data gives none: use rooms, or poses: learned"):
        exact_module(paper, batch).relative_poses(batch, batch["depth"])


@PAPERS
def test_an_unknown_term_lists_the_known_ones(paper):
    with pytest.raises(ValueError, match=r"loss term 'huber' is not known; choose among photometric,.* smoothness"):
        exact_module(paper, plane_clips(3), loss_weights={"photometric": 1.0, "huber": 1.0})


@PAPERS
def test_score_is_abs_rel_where_depth_is_measured(paper):
    batch = plane_clips(3)
    module = exact_module(paper, batch, evaluation=DepthEvaluation("none", min_depth_m=0.1))
    with torch.no_grad():
        module.depth_network.disparity.copy_(FixedDisparity(1.25 * batch["depth"]).disparity)
    results = validate(module, batch)
    assert results["score"] == results["abs_rel_img"] == pytest.approx(0.25, abs=1e-5)
    assert results["photometric"] > 0.001
    assert "abs_rel_plain_img" not in results  # the data has no such part


@PAPERS
def test_score_is_the_photometric_error_where_no_depth_is(paper):
    batch = plane_clips(3)
    batch |= {"depth": torch.zeros_like(batch["depth"]), "depth_mask": torch.zeros_like(batch["depth_mask"])}
    module = paper(
        depth_network=FixedDisparity(plane_clips(3)["depth"] * 1.4),
        pose_network=ConstantMotion(),
        loss_weights={"photometric": 1.0},
    )
    module.eval()
    results = validate(module, batch)
    warped = module.synthesize(batch, module(batch["image"]), module.relative_poses(batch, batch["depth"])).image
    expected = module.candidates(batch, warped, noise=False)[0].mean().item()
    assert results["score"] == results["photometric"] == pytest.approx(expected, rel=1e-5)


def test_without_poses_in_the_data_none_are_measured():
    batch = plane_clips(3)
    module = Monodepth2(FixedDisparity(batch["depth"]), pose_network=ConstantMotion())
    assert {"pose_rotation_deg", "pose_translation_rel"} <= validate(module, batch).keys()
    del batch["T_frame_target"]
    assert not any(name.startswith("pose") for name in validate(module, batch))


def test_true_poses_are_no_result():
    batch = plane_clips(3)
    assert not any(name.startswith("pose") for name in validate(exact_module(Monodepth2, batch), batch))


def test_learned_poses_are_held_against_the_true_ones():
    batch = plane_clips(5)
    module = GAMDepth(
        depth_network=FixedDisparity(batch["depth"]), pose_network=ExactPoses(batch), loss_weights={"photometric": 1.0}
    )
    results = validate(module, batch)
    assert results["pose_rotation_deg"] < 1e-3
    assert results["pose_translation_rel"] < 1e-3


def test_samples_that_only_pad_do_not_count():
    batch = plane_clips(3)
    batch["plain"] = batch["depth"] > 2
    strange = {key: value.flip(0)[:1].clone() for key, value in batch.items() if key != "name"}
    strange |= {
        "index": torch.tensor([PADDING_INDEX]),
        "depth_mask": torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.bool),
    }
    strange["frames"] = torch.rand_like(strange["frames"])
    strange["T_frame_target"] = torch.linalg.inv(3 * strange["T_frame_target"])
    padded = {key: torch.cat([value, strange[key]]) for key, value in batch.items() if key != "name"}
    padded["name"] = ["a", "b", "padding"]
    depths = 1.4 * torch.cat([batch["depth"], batch["depth"][:1]])
    few, many = (Monodepth2(FixedDisparity(depth), ConstantMotion()) for depth in (depths[:2], depths))
    without, with_padding = validate(few, batch), validate(many, padded)
    assert {"photometric", "pose_rotation_deg", "abs_rel_plain_img_median", "abs_rel_img_median"} <= without.keys()
    assert with_padding == pytest.approx(without, rel=1e-5, nan_ok=True)
    # A batch of padding alone, as the last rank may have it, changes nothing either.
    alone = Monodepth2(FixedDisparity(depths[:1]), ConstantMotion())
    one = select(batch, [0])
    expected = validate(alone, one)
    padding = strange | {"name": ["padding"]}
    assert validate(alone, one, padding) == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_a_share_of_padding_alone_takes_part_in_what_all_processes_sum_up(monkeypatch):
    batch = plane_clips(3) | {"index": torch.full((2,), PADDING_INDEX)}
    module = Monodepth2(FixedDisparity(batch["depth"]), ConstantMotion())
    module.validation_step(batch, 0)
    computed = []
    for name in ("depth_metrics", "subset_metrics", "pose_metrics", "photometric_metrics"):
        metric = getattr(module, name)["val"]
        monkeypatch.setattr(
            metric, "compute", lambda name=name, compute=metric.compute: [computed.append(name), compute()][1]
        )
    module.stage_metrics("val")
    assert len(computed) == 4  # or the others would wait for it


def test_each_clip_weighs_the_same_whatever_its_batch():
    batch = plane_clips(3)
    module = Monodepth2(FixedDisparity(1.4 * batch["depth"][:1]), ConstantMotion())
    singles = [validate(module, select(batch, [i]))["photometric"] for i in range(2)]
    both = Monodepth2(FixedDisparity(1.4 * batch["depth"][:1].expand(2, -1, -1, -1)), ConstantMotion())
    assert validate(both, batch)["photometric"] == pytest.approx(sum(singles) / 2, rel=1e-5)


@PAPERS
def test_lone_frames_are_evaluated_by_their_depth(paper):
    batch = plane_clips(3)
    for key in ("frames", "frames_jittered", "T_frame_target", "depths"):
        del batch[key]
    networks = {"depth_network": FixedDisparity(batch["depth"]), "pose_network": ConstantMotion()}
    module = paper(**networks, loss_weights={"photometric": 1.0})
    results = validate(module, batch)
    assert results["score"] < 1e-5
    assert "photometric" not in results
    assert set(module.pictures(batch)) >= {"image", "depth", "truth", "weights"}
    assert "winner" not in module.pictures(batch)


@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize("vanishing", [True, False])
@PAPERS
def test_pictures_are_rgb_maps_of_the_batch(paper, measured, vanishing):
    batch = plane_clips(5)
    module = exact_module(paper, batch)
    if not measured:
        batch |= {"depth": torch.zeros_like(batch["depth"]), "depth_mask": torch.zeros_like(batch["depth_mask"])}
    if vanishing:
        batch["vanishing"] = torch.stack([torch.eye(3), torch.zeros(3, 3)])
    with torch.no_grad():
        pictures = module.pictures(batch)
    expected = ["image", "truth", "depth", "weights", "winner", "error", "warped first", "warped last"]
    if paper is GAMDepth:
        expected += ["normals", "planes"]
    assert list(pictures) == expected
    for name, picture in pictures.items():
        assert picture.shape == (2, 3, HEIGHT, WIDTH), name
        assert picture.is_floating_point(), name
        assert 0 <= float(picture.min()) <= float(picture.max()) <= 1, name
    assert (pictures.titles["depth"], pictures.titles["winner"]) == ("prediction", "best source of each pixel")
    assert {bar.unit for bar in pictures.bars["depth"]} == {"m"}, "exact poses give metres"
    assert [bar is None for bar in pictures.bars["truth"]] == [not measured] * 2
    assert {(bar.low, bar.high) for bar in pictures.bars["error"]} == {(0, 0.5)}
    if measured:  # prediction and truth are the same here
        torch.testing.assert_close(pictures["depth"], pictures["truth"], atol=1e-2, rtol=0)
    else:
        assert pictures["truth"].std() < 1e-6
        assert pictures["depth"].std() > 0.1


def test_picture_of_depth_is_drawn_at_the_scale_of_the_truth():
    batch = plane_clips(3)
    module = exact_module(Monodepth2, batch)
    exact = module.pictures(batch)["depth"]
    with torch.no_grad():
        module.depth_network.disparity.copy_(FixedDisparity(1.7 * batch["depth"]).disparity)
    torch.testing.assert_close(module.pictures(batch)["depth"], exact, atol=1e-2, rtol=0)


def test_key_points_weigh_the_error():
    batch = plane_clips(3)
    module = exact_module(Monodepth2, batch, weighting=KeypointWeighting())
    error = torch.rand(2, HEIGHT, WIDTH)
    with pytest.raises(ValueError, match="keypoints is None"):
        module.weigh(batch, error)
    batch["keypoints"] = torch.rand(2, 1, HEIGHT, WIDTH) < 0.1
    assert module.weigh(batch, error).item() == pytest.approx(error[batch["keypoints"][:, 0]].mean().item(), rel=1e-5)


class Steps(nn.Module):
    """A depth network of one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(0.0))

    def forward(self, image: Tensor) -> Tensor:
        return torch.sigmoid(self.level + image.mean(dim=1, keepdim=True) - 3)


def test_progress_is_the_share_of_steps_and_validation_does_not_advance_it():
    batch = plane_clips(3)
    seen: list[tuple[str, float]] = []

    class Watched(Monodepth2):
        def training_step(self, batch, batch_idx):
            seen.append(("train", self.progress()))
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            seen.append(("val", self.progress()))
            super().validation_step(batch, batch_idx)

    module = Watched(Steps(), poses="exact")
    assert module.progress() == 0
    loader = DataLoader([batch] * 2, batch_size=None)
    trainer = quiet_trainer(max_epochs=2, num_sanity_val_steps=1)
    trainer.fit(module, loader, DataLoader([batch] * 3, batch_size=None))
    assert [value for stage, value in seen if stage == "train"] == [0, 0.25, 0.5, 0.75]
    assert [value for stage, value in seen if stage == "val"] == [0, *[0.5] * 3, *[1] * 3]
    # Outside a training there is none, and nothing asks for its data.
    seen.clear()
    quiet_trainer().validate(module, loader, verbose=False)
    assert seen == [("val", 0)] * 2
