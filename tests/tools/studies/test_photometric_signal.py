"""The gradient of the photometric loss with exact depth and poses."""

import torch

from losses.weighting import Averaging, GradientAwareMask
from renderers.view_synthesis import synthesize_views
from tools.studies.photometric_signal import depth_gradient, main, photometric_loss


def slanted_wall() -> dict[str, torch.Tensor]:
    """A smooth texture at two metres, seen from three cameras side by side; the sources are warped from the target."""
    height, width = 24, 32
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    image = torch.stack([torch.sin(0.9 * x) + torch.cos(0.7 * y), torch.sin(0.5 * x + y), torch.cos(0.8 * x)])
    image = (image.unsqueeze(0) + 2) / 4
    K = torch.tensor([[[30.0, 0, width / 2], [0, 30.0, height / 2], [0, 0, 1]]])
    T = torch.eye(4).repeat(1, 3, 1, 1)
    T[:, 0, 0, 3], T[:, 2, 0, 3] = 0.06, -0.06
    depth = torch.full((1, 1, height, width), 2.0)
    # A plane parallel to the image has a constant disparity, so the sources are shifted copies of the target.
    sources = synthesize_views(image[:, None].expand(-1, 2, -1, -1, -1), depth=depth, K=K, T_source_target=T[:, [2, 0]])
    frames = torch.stack([sources.image[:, 0], image, sources.image[:, 1]], dim=1)
    return {"image": image, "frames": frames, "depth": depth, "K": K, "T_frame_target": T}


def test_the_gradient_points_towards_the_true_depth_from_both_sides():
    batch = slanted_wall()
    inner = torch.zeros_like(batch["depth"], dtype=torch.bool)
    inner[..., 3:-3, 5:-5] = True
    for sign in (1.0, -1.0):
        size, right = depth_gradient(batch, Averaging(), torch.tensor([sign]))
        assert float(size[inner & right].sum() / size[inner].sum()) > 0.9


def test_the_loss_is_least_at_the_true_depth():
    batch = slanted_wall()
    losses = [float(photometric_loss(batch, GradientAwareMask(), batch["depth"] * f)) for f in (0.8, 0.9, 1, 1.1, 1.25)]
    assert min(losses) == losses[2]
    assert losses[2] < 0.5 * min(losses[0], losses[4])


def test_command_prints_a_line_for_each_weighting(rooms_root, capsys):
    small = {"height": 48, "width": 64, "n_video_scenes": 3, "n_video_val": 1, "n_video_test": 1, "frames_per_clip": 7}
    small |= {"n_stills": 3, "n_stills_val": 1, "n_stills_test": 1}
    settings = [f"--data.init_args.settings.{name}={value}" for name, value in small.items()]
    assert main([f"--data.init_args.root={rooms_root}", "--data.init_args.processes=0", *settings]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all("1.00 at 1," in line for line in lines)
