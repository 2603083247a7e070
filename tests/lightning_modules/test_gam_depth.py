"""GAM-Depth: chained and residual poses against a known trajectory, its terms, their schedules and their gradients."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, default_collate

from datamodules.rooms.settings import RoomsSettings
from datamodules.rooms.video import RoomsVideoDataModule
from lightning_modules.gam_depth import GAMDepth
from lightning_modules.tasks.optimisation import Optimisation
from losses.weighting import Averaging, GradientAwareMask
from networks.disparity import DisparitySegmentationNet
from networks.pose import ResidualPoseNet
from tests.data.make_clips import (
    HEIGHT,
    WIDTH,
    ConstantMotion,
    ExactPoses,
    ExactThenResidual,
    FixedDisparity,
    edge_aware_smoothness,
    plane_clips,
)
from tests.helpers import quiet_trainer

TERMS = ("photometric", "smoothness", "segmentation", "planar", "normal")
ERROR = torch.eye(4)
ERROR[:3, 3] = torch.tensor([0.02, -0.01, 0.03])
ERROR[:2, :2] = torch.tensor([[0.9998, -0.02], [0.02, 0.9998]])


class FixedWithClasses(DisparitySegmentationNet):
    """Known disparity, and logits of three classes (and none) that are parameters."""

    def __init__(self, depth):
        nn.Module.__init__(self)
        self.fixed = FixedDisparity(depth)
        self.n_classes = 3
        self.segmentation_decoder = nn.Identity()
        self.logits = nn.Parameter(torch.randn(len(depth), 4, HEIGHT, WIDTH))

    def forward(self, image):
        return self.fixed(image)

    def with_segmentation(self, image):
        return self.fixed(image), self.logits


def labelled(batch):
    """The batch with classes 0 to 3 and directions for its first clip: the normal of its plane and two others."""
    generator = torch.Generator().manual_seed(1)
    batch["proxy_semantic"] = torch.randint(0, 4, (2, HEIGHT, WIDTH), generator=generator)
    normal = F.normalize(torch.tensor([-0.12, 0.08, 1.0]), dim=0)
    across = F.normalize(torch.linalg.cross(normal, torch.tensor([0.0, 1.0, 0.0])), dim=0)
    frame = torch.stack([across, -normal, torch.linalg.cross(normal, across)])
    batch["vanishing"] = torch.stack([frame, torch.zeros(3, 3)])
    return batch


def make(batch, depth=None, **changes):
    """GAM-Depth on a known depth, with numbers of pixels that fit its small images."""
    arguments = {"poses": "exact", "normal_radius": 1, "min_segment_px": 20, "min_plane_px": 40, "border_px": 2}
    arguments |= {"border_top_px": 3}
    return GAMDepth(depth_network=FixedWithClasses(batch["depth"] if depth is None else depth), **(arguments | changes))


def test_motions_between_neighbours_chain_to_the_whole_trajectory():
    batch = plane_clips(5)
    network = ExactPoses(batch)
    module = make(batch, poses="learned", pose_network=network)
    torch.testing.assert_close(module.first_poses(batch), batch["T_frame_target"], atol=1e-5, rtol=0)
    (pairs,) = network.pairs  # all in one call
    assert sorted(pairs) == [(clip, k, k + 1) for clip in range(2) for k in range(4)]
    # A network without a second decoder is not corrected.
    assert torch.equal(module.relative_poses(batch, batch["depth"]), module.first_poses(batch))


@pytest.mark.parametrize("n_frames", [3, 5])
def test_residuals_complete_wrong_motions(n_frames):
    batch = plane_clips(n_frames)
    middle = n_frames // 2
    others = [k for k in range(n_frames) if k != middle]

    def remainder(first, second):
        # A frame that was warped by T1 looks as if taken by a camera from which T1 leads to the frame. What is left is
        # the motion between that camera and the target's, from the earlier image of a pair to the later one.
        T_warped_target = torch.linalg.inv(T_first) @ batch["T_frame_target"].double()
        answers = [
            torch.linalg.inv(T_warped_target[clip, k]) if k < middle else T_warped_target[clip, k]
            for clip in range(2)
            for k in others
        ]
        return torch.stack(answers)

    network = ExactThenResidual(batch, ERROR, remainder)
    module = make(batch, poses="learned", pose_network=network)
    T_first = module.first_poses(batch).double()
    assert (T_first - batch["T_frame_target"]).abs()[:, others].amax(dim=(2, 3)).min() > 0.01
    poses = module.relative_poses(batch, batch["depth"])
    torch.testing.assert_close(poses, batch["T_frame_target"], atol=2e-5, rtol=0)


def test_residual_sees_warped_frames_and_the_jittered_target_in_temporal_order():
    batch = plane_clips(5)
    network = ExactThenResidual(batch, ERROR, lambda first, second: torch.eye(4).expand(len(first), 4, 4))
    module = make(batch, poses="learned", pose_network=network)
    poses = module.relative_poses(batch, batch["depth"])
    torch.testing.assert_close(poses, module.first_poses(batch))
    ((first, second),) = network.residual_calls  # all in one call
    assert len(first) == len(second) == 2 * 4
    warped = module.synthesize(batch, batch["depth"], poses).image
    target = batch["frames_jittered"][:, 2]
    for clip in range(2):
        for source in range(4):
            pair = [first[4 * clip + source], second[4 * clip + source]]
            if source >= 2:
                pair.reverse()
            torch.testing.assert_close(pair[0], warped[clip, source], atol=1e-5, rtol=0)
            assert torch.equal(pair[1], target[clip])


@pytest.mark.parametrize(
    "names",
    [("photometric",), ("smoothness", "photometric"), ("segmentation",), ("normal", "photometric"), ("planar",), TERMS],
)
def test_terms_are_those_that_have_a_weight(names):
    batch = labelled(plane_clips(5))
    module = make(batch, loss_weights=dict.fromkeys(names, 1.0))
    terms = module.loss_terms(batch)
    assert set(terms) == set(names)
    assert all(term.shape == () and torch.isfinite(term) for term in terms.values())
    assert torch.isfinite(module.training_step(batch, 0))


def test_walls_shape_depth_only_once_the_minimum_counts(monkeypatch):
    batch = labelled(plane_clips(5))
    module = make(batch, minimum_from=0.5, depth=batch["depth"] * (1 + 0.02 * torch.rand_like(batch["depth"])))
    norms = []
    for progress in (0.4, 0.5):
        monkeypatch.setattr(GAMDepth, "progress", lambda self, progress=progress: progress)
        terms = module.loss_terms(batch)
        module.zero_grad()
        (terms["normal"] + terms["planar"]).backward()  # in the graph either way, for DDP
        norms.append((terms["normal"].item(), terms["planar"].item(), module.depth_network.fixed.disparity.grad.norm()))
    assert norms[0] == (0, 0, 0)
    assert min(norms[1]) > 0


def test_the_paper_is_the_default():
    module = make(plane_clips(5))
    assert module.loss_weights == {
        "photometric": 1.0, "smoothness": 1e-3, "segmentation": 0.1, "planar": 0.1, "normal": 0.05,
    }  # fmt: skip
    assert isinstance(module.weighting, GradientAwareMask)


def test_terms_are_what_their_formulas_say():
    batch = labelled(plane_clips(5))
    module = make(batch, depth=1.3 * batch["depth"], weighting=Averaging())
    with torch.no_grad():
        terms = module.loss_terms(batch)
    network = module.depth_network
    labels = batch["proxy_semantic"]
    cross_entropy = F.cross_entropy(network.logits, labels, ignore_index=0)
    assert terms["segmentation"].item() == pytest.approx(cross_entropy.item(), rel=1e-5)

    smoothness = edge_aware_smoothness(network.fixed.disparity, batch["image"])
    assert terms["smoothness"].item() == pytest.approx(smoothness, rel=1e-4)

    warped = module.synthesize(batch, 1.3 * batch["depth"], batch["T_frame_target"]).image
    error = module.candidates(batch, warped, noise=False)[0]
    assert terms["photometric"].item() == pytest.approx(error.mean().item(), rel=1e-3)  # up to the noise


def test_a_plane_along_a_direction_is_free_of_planar_and_normal_error():
    batch = labelled(plane_clips(5))
    terms = make(batch).loss_terms(batch)
    assert terms["planar"] < 2e-3
    assert terms["normal"] < 1e-5
    # One that is turned out of the Manhattan frame by 5 degrees is not, and one that is turned by more is left alone.
    turned = []
    for degrees in (5.0, 40.0):
        angle = torch.deg2rad(torch.tensor(degrees))
        turn = torch.tensor([[angle.cos(), 0, angle.sin()], [0, 1, 0], [-angle.sin(), 0, angle.cos()]])
        turned.append(make(batch).loss_terms(batch | {"vanishing": batch["vanishing"] @ turn})["normal"].item())
    inside = (HEIGHT - 2 - 3) * (WIDTH - 2 - 2) / (HEIGHT * WIDTH) / 2  # only the first clip has directions
    assert turned[0] == pytest.approx(inside * (1 - torch.deg2rad(torch.tensor(5.0)).cos().item()), rel=0.02)
    assert turned[1] == 0
    # Neither is taken where no segment is large enough for a plane.
    small = make(batch, depth=1.0 + batch["image"].mean(dim=1, keepdim=True), min_plane_px=HEIGHT * WIDTH)
    terms = small.loss_terms(batch)
    assert terms["planar"] == terms["normal"] == 0


def test_bent_depth_costs_its_distance_from_the_plane_through_it():
    batch = labelled(plane_clips(5))
    depth = batch["depth"] + 0.05 * torch.sin(torch.linspace(0, 6.3, WIDTH))
    found = make(batch, depth=depth, min_segment_px=HEIGHT * WIDTH).loss_terms(batch)["planar"]  # one segment
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    expected = 0.0
    for clip in range(2):
        rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(batch["K"][clip].double().numpy()).T
        points = (depth[clip, 0].double().numpy()[..., None] * rays)[1:-1, 1:-1].reshape(-1, 3)  # where normals are
        plane = np.linalg.solve(points.T @ points + 0.01 * np.eye(3), points.sum(axis=0))
        difference = np.abs(1 / (rays @ plane) - depth[clip, 0].double().numpy())
        expected += difference[2:-2, 2:-2].sum() / (2 * HEIGHT * WIDTH)
    assert found.item() == pytest.approx(expected, rel=1e-3)


def test_what_is_missing_has_one_sentence():
    batch = plane_clips(5)
    with pytest.raises(ValueError, match=r"'segmentation' needs labels: set data.init_args.proxy_labels"):
        make(batch, loss_weights={"segmentation": 1.0}).loss_terms(batch)
    for name in ("planar", "normal"):
        with pytest.raises(ValueError, match=r"need vanishing directions: set data.init_args.vanishing"):
            make(batch, loss_weights={name: 1.0}).loss_terms(batch)
    with pytest.raises(ValueError, match=r"'segmentation' needs networks.disparity.DisparitySegmentationNet"):
        GAMDepth(depth_network=FixedDisparity(batch["depth"]), poses="exact")
    with pytest.raises(ValueError, match=r"segmentation_until is 1\.5, but must be a fraction of the training"):
        make(batch, segmentation_until=1.5)


class SmallNet(DisparitySegmentationNet):
    """Disparity and classes from one convolution; disparity starts at that of two metres."""

    def __init__(self, n_classes=3, start_m=2.0):
        nn.Module.__init__(self)
        self.n_classes = n_classes
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.ELU(), nn.Conv2d(8, 8, 5, padding=2), nn.ELU())
        self.decoder = nn.Conv2d(8, 1, 5, padding=2)
        self.segmentation_decoder = nn.Conv2d(8, n_classes + 1, 1)
        nn.init.constant_(self.decoder.bias, torch.logit(torch.tensor((1 / start_m - 0.1) / 9.9)))

    def forward(self, image):
        return torch.sigmoid(self.decoder(self.encoder(image)))

    def with_segmentation(self, image):
        features = self.encoder(image)
        return torch.sigmoid(self.decoder(features)), self.segmentation_decoder(features)


def test_labels_are_left_alone_after_their_part_of_the_training():
    batch = labelled(plane_clips(5))
    seen = []

    class Watched(GAMDepth):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            seen.append(float(self.last_terms["segmentation"]))
            return loss

        def on_before_optimizer_step(self, optimizer):
            gradient = self.depth_network.segmentation_decoder.weight.grad
            assert gradient is not None  # or the processes of DDP would wait for it
            assert bool(gradient.any()) == (seen[-1] > 0)

    module = Watched(
        depth_network=SmallNet(),
        poses="exact",
        loss_weights={"photometric": 1.0, "segmentation": 0.1},
        segmentation_until=0.3,
    )
    loader = DataLoader([batch] * 5, batch_size=None)
    # Validations in between count for nothing.
    quiet_trainer(max_epochs=2, val_check_interval=1, num_sanity_val_steps=2).fit(module, loader, loader)
    assert all(value > 0.5 for value in seen[:3])
    assert seen[3:] == [0.0] * 7


def test_directions_are_taken_more_strictly_as_training_goes_on(monkeypatch):
    batch = labelled(plane_clips(5))
    module = make(batch, loss_weights={"normal": 1.0})
    angle = torch.deg2rad(torch.tensor(20.0))  # within the 25.8 degrees of the start, not within the 11.5 of the end
    turn = torch.tensor([[angle.cos(), 0, angle.sin()], [0, 1, 0], [-angle.sin(), 0, angle.cos()]])
    batch["vanishing"] = batch["vanishing"] @ turn
    assert module.loss_terms(batch)["normal"] > 0
    monkeypatch.setattr(module, "progress", lambda: 1.0)
    assert module.loss_terms(batch)["normal"] == 0


def test_gradients_of_the_initial_networks_reach_every_part_and_are_finite():
    encoder = {"encoder": "tf_efficientnet_lite0", "encoder_weights": None}
    depth_network = DisparitySegmentationNet(3, decoder_widths=(4, 4, 4, 8, 8), **encoder)
    pixels = {"normal_radius": 1, "min_segment_px": 10, "min_plane_px": 20, "border_px": 1, "border_top_px": 1}
    pose_network = ResidualPoseNet(decoder_width=8, **encoder)
    module = GAMDepth(depth_network=depth_network, pose_network=pose_network, **pixels)
    frames = F.interpolate(plane_clips(5)["frames"].flatten(0, 1), size=(64, 64), mode="bicubic").clamp(0, 1)
    frames = frames.view(2, 5, 3, 64, 64)
    batch = {
        "image": frames[:, 2],
        "frames": frames,
        "frames_jittered": 0.9 * frames,
        "K": plane_clips(5)["K"] * torch.tensor([[1.6], [2.0], [1.0]]),
        "proxy_semantic": torch.randint(0, 4, (2, 64, 64)),
        "vanishing": torch.eye(3).repeat(2, 1, 1),
    }
    module.training_step(batch, 0).backward()
    parts = {
        "depth": depth_network.decoder,
        "classes": depth_network.segmentation_decoder,
        "shared encoder": depth_network.encoder,
        "pose": module.pose_network.decoder,
        "residual": module.pose_network.residual_decoder,
        "pose encoder": module.pose_network.encoder,
    }
    for name, part in parts.items():
        gradients = [parameter.grad for parameter in part.parameters() if parameter.requires_grad]
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients), name
        assert any(gradient.any() for gradient in gradients), name


def test_photometric_gradient_flows_through_depth_and_both_motions():
    batch = plane_clips(5)

    class Twice(ConstantMotion, ResidualPoseNet):
        def __init__(self):
            nn.Module.__init__(self)
            self.motion = nn.Parameter(torch.tensor([0.01, -0.02, 0.005, 0.05, 0.02, -0.03]))
            self.left = nn.Parameter(torch.zeros(6))

        def residual(self, first, second):
            # Depends on the warped images: the first motion learns through them too.
            level = 0.01 * (first - second).mean(dim=(1, 2, 3))[:, None]
            return self.left[:3] + level, self.left[3:] + level

    module = make(batch, depth=1.2 * batch["depth"], poses="learned", pose_network=Twice(), weighting=Averaging(),
                  loss_weights={"photometric": 1.0})  # fmt: skip
    module.loss_terms(batch)["photometric"].backward()
    for parameter in (module.depth_network.fixed.disparity, module.pose_network.motion, module.pose_network.left):
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().max() > 1e-6


def test_true_poses_teach_depth_on_one_clip_of_rooms(rooms_root):
    settings = RoomsSettings(height=48, width=64, n_video_scenes=3, n_video_val=1, n_video_test=1, frames_per_clip=7,
                             n_stills=3, n_stills_val=1, n_stills_test=1)  # fmt: skip
    data = RoomsVideoDataModule(settings=settings, root=str(rooms_root), processes=0, image_size=(48, 64))
    data.prepare_data()
    data.setup("validate")
    batch = default_collate([data.datasets["val"][1]])
    module = GAMDepth(
        depth_network=SmallNet(start_m=5.0), poses="exact", weighting=Averaging(), loss_weights={"photometric": 1.0},
        optimisation=Optimisation(partial(torch.optim.Adam, lr=5e-3)),
    )  # fmt: skip
    errors, relative = [], []

    def watch():
        with torch.no_grad():
            depth = module(batch["image"])
            warped = module.synthesize(batch, depth, batch["T_frame_target"]).image
            errors.append(module.candidates(batch, warped, noise=False)[0].mean().item())
            relative.append(((depth - batch["depth"]).abs() / batch["depth"]).mean().item())

    watch()
    quiet_trainer(max_steps=80).fit(module, DataLoader([batch] * 80, batch_size=None))
    watch()
    true = module.synthesize(batch, batch["depth"], batch["T_frame_target"]).image
    least = module.candidates(batch, true, noise=False)[0].mean().item()
    assert errors[1] - least < 0.5 * (errors[0] - least), (errors, least)
    assert relative[1] < 0.5 * relative[0], relative  # with true poses the scale is known, too


def test_labels_beyond_the_networks_classes_are_refused_before_they_reach_a_device():
    batch = plane_clips(5)
    module = GAMDepth(
        depth_network=FixedWithClasses(batch["depth"]),
        poses="exact",
        loss_weights={"photometric": 1.0, "segmentation": 0.1},
    )
    batch["proxy_semantic"] = torch.full((2, HEIGHT, WIDTH), 3)
    assert module.on_before_batch_transfer(batch, 0) is batch
    batch["proxy_semantic"][1, 2, 3] = 4
    with pytest.raises(ValueError, match=r"class id 4, but the network has 3 classes: set .*n_classes"):
        module.on_before_batch_transfer(batch, 0)


def test_what_no_term_trains_asks_for_no_gradient():
    """DDP waits for the gradient of every parameter that asks for one."""
    network = DisparitySegmentationNet(2, encoder="resnet18", encoder_weights=None, decoder_widths=(4, 4, 4, 4, 4))
    GAMDepth(depth_network=network, poses="exact", loss_weights={"photometric": 1.0, "segmentation": 0.1})
    assert all(p.requires_grad for p in network.parameters())
    GAMDepth(depth_network=network, poses="exact", loss_weights={"photometric": 1.0})
    frozen = {name.split(".")[0] for name, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {"segmentation_decoder"}


def test_labels_train_the_encoder_while_depth_is_held(monkeypatch):
    network = DisparitySegmentationNet(4, encoder="resnet18", encoder_weights=None)
    weights = {"photometric": 1.0, "segmentation": 1.0}
    for loss_weights, trained in ((weights, True), ({"photometric": 1.0}, False)):
        module = GAMDepth(depth_network=network, poses="exact", loss_weights=loss_weights, depth_from=0.5)
        monkeypatch.setattr(GAMDepth, "progress", lambda self: 0.0)
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        module.on_before_optimizer_step(torch.optim.Adam(network.parameters()))
        kept = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.grad is not None}
        assert kept == ({"encoder", "segmentation_decoder"} if trained else set())
        monkeypatch.setattr(GAMDepth, "progress", lambda self: 0.5)
        network.decoder.zero_grad(set_to_none=True)
        for parameter in network.decoder.parameters():
            parameter.grad = torch.zeros_like(parameter)
        module.on_before_optimizer_step(torch.optim.Adam(network.parameters()))
        assert all(parameter.grad is not None for parameter in network.decoder.parameters())
