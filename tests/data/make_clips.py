"""Clips of textured planes under a known camera motion, in closed form, and networks whose outputs are known."""

import math
from typing import Any

import torch
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from networks.pose import ResidualPoseNet

MIN_M, MAX_M = 0.1, 10.0
HEIGHT, WIDTH = 32, 40
SLOPES = ((0.12, -0.08), (-0.05, 0.15))
"""Slope of the plane ``z = 2 + slope . (x, y)`` of each clip of a batch, so that no two clips agree."""


def trajectory(n_frames: int, *, speed: float = 1.0, clip: int = 0) -> Tensor:
    """Maps of points of the target's camera into each frame's, float64 ``(N, 4, 4)``: no two motions are alike."""
    poses = []
    for k in range(n_frames):
        turn = Rotation.from_rotvec([0.006 * k**1.5, -0.009 * k, 0.011 * math.sin(k + clip)])
        T = torch.eye(4, dtype=torch.float64)
        T[:3, :3] = torch.from_numpy(turn.as_matrix())
        T[:3, 3] = speed * torch.tensor([0.05 * k, 0.02 * math.sin(2.0 * k), 0.015 * k**1.2 + 0.01 * clip * k])
        poses.append(T)
    T_frame_first = torch.stack(poses)
    T_frame_target: Tensor = T_frame_first @ torch.linalg.inv(T_frame_first[n_frames // 2])
    if speed == 0:
        return torch.eye(4, dtype=torch.float64).expand_as(T_frame_target).clone()
    return T_frame_target


def seen_plane(plane: Tensor, K: Tensor, T_frame_target: Tensor) -> tuple[Tensor, Tensor]:
    """Image ``(3, H, W)`` and depth ``(1, H, W)`` of the plane ``plane . X = 1``, painted by a smooth texture."""
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    rays = torch.stack([x, y, torch.ones_like(x)], dim=-1).double() @ torch.linalg.inv(K).T
    T_target_frame = torch.linalg.inv(T_frame_target)
    R, t = T_target_frame[:3, :3], T_target_frame[:3, 3]
    depth = (1 - plane @ t) / (rays @ R.T @ plane)
    points = (depth[..., None] * rays) @ R.T + t  # of the target's camera, in which the texture is given
    waves = torch.tensor([[7.0, 2.0, 1.0], [-3.0, 6.0, 2.0], [4.0, -5.0, 3.0]], dtype=torch.float64)
    image = 0.5 + 0.2 * torch.sin(points @ waves.T + torch.arange(3)) + 0.15 * torch.sin(1.7 * points @ waves.T.flip(0))
    return image.permute(2, 0, 1).float(), depth[None].float()


def plane_clips(n_frames: int = 5, *, speed: float = 1.0, jitter: float = 0.8) -> dict[str, Any]:
    """A batch of two clips along slanted planes, with the depth of every frame as ``depths`` ``(B, N, 1, H, W)``.

    Args:
        n_frames: Frames of a clip.
        speed: Factor on the camera's motion; 0 stands still.
        jitter: Factor between the clean and the jittered colours.
    """
    clips, cameras = [], []
    for clip, slope in enumerate(SLOPES):
        K = torch.tensor([[36.0 + 3 * clip, 0, 19.0], [0, 34.0, 17.0], [0, 0, 1]], dtype=torch.float64)
        cameras.append(K.float())
        plane = torch.tensor([-slope[0], -slope[1], 1.0], dtype=torch.float64) / 2
        poses = trajectory(n_frames, speed=speed, clip=clip)
        images, depths = zip(*(seen_plane(plane, K, T) for T in poses), strict=True)
        clips.append((torch.stack(images), torch.stack(depths), poses.float()))
    frames, depths, poses = (torch.stack(values) for values in zip(*clips, strict=True))
    middle = n_frames // 2
    return {
        "image": frames[:, middle],
        "depth": depths[:, middle],
        "depth_mask": torch.ones_like(depths[:, middle], dtype=torch.bool),
        "K": torch.stack(cameras),
        "K_known": torch.ones(2, dtype=torch.bool),
        "depth_scale_m": torch.full((2,), 10.0),
        "index": torch.arange(2),
        "name": ["a", "b"],
        "frames": frames,
        "frames_jittered": jitter * frames,
        "T_frame_target": poses,
        "depths": depths,
    }


class FixedDisparity(nn.Module):
    """A depth network whose disparity is a parameter, so that it is known and takes a gradient."""

    stride = 1

    def __init__(self, depth: Tensor) -> None:
        super().__init__()
        self.disparity = nn.Parameter((1 / depth - 1 / MAX_M) / (1 / MIN_M - 1 / MAX_M))

    def forward(self, image: Tensor) -> Tensor:
        assert len(image) == len(self.disparity)
        return self.disparity


class ExactPoses(nn.Module):
    """A pose network that looks its pairs up in a batch and returns their exact motion.

    ``pairs`` holds clip, first and second position of every pair, a list a call.
    """

    def __init__(self, batch: dict[str, Any]) -> None:
        super().__init__()
        self.known = batch["frames_jittered"]
        self.T_frame_target = batch["T_frame_target"].double()
        self.pairs: list[list[tuple[int, int, int]]] = []

    def find(self, image: Tensor) -> tuple[int, int]:
        difference = (self.known - image).abs().flatten(2).mean(dim=2)
        found = int(difference.argmin())
        return divmod(found, difference.shape[1])

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        motions, pairs = [], []
        for one, two in zip(first, second, strict=True):
            (clip, i), (same_clip, j) = self.find(one), self.find(two)
            assert clip == same_clip, "a pair of two clips"
            pairs.append((clip, i, j))
            motions.append(self.T_frame_target[clip, j] @ torch.linalg.inv(self.T_frame_target[clip, i]))
        self.pairs.append(pairs)
        return as_motion(torch.stack(motions))


def as_motion(T: Tensor) -> tuple[Tensor, Tensor]:
    """Axis-angle and translation of transforms, by scipy."""
    turns = Rotation.from_matrix(T[:, :3, :3].double().numpy()).as_rotvec()
    return torch.from_numpy(turns).float(), T[:, :3, 3].float()


class ConstantMotion(nn.Module):
    """A pose network of one learned motion for all pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.motion = nn.Parameter(torch.tensor([0.01, -0.02, 0.005, 0.05, 0.02, -0.03]))

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        return self.motion[:3].expand(len(first), 3), self.motion[3:].expand(len(first), 3)


class ExactThenResidual(ResidualPoseNet):
    """Exact motions times a known error, then residuals that some function gives; all calls are kept."""

    def __init__(self, batch: dict[str, Any], error: Tensor, residual: Any) -> None:
        nn.Module.__init__(self)
        self.exact = ExactPoses(batch)
        self.error = error.double()
        self.answer = residual
        self.residual_calls: list[tuple[Tensor, Tensor]] = []

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        turns, translations = self.exact(first, second)
        T = torch.eye(4, dtype=torch.float64).repeat(len(first), 1, 1)
        T[:, :3, :3] = torch.from_numpy(Rotation.from_rotvec(turns.numpy()).as_matrix())
        T[:, :3, 3] = translations
        return as_motion(T @ self.error)

    def residual(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        self.residual_calls.append((first.detach(), second.detach()))
        return as_motion(self.answer(first, second))


def edge_aware_smoothness(disparity: Tensor, image: Tensor) -> float:
    """Smoothness term of Monodepth2 as its equation says it, in double precision."""
    disparity, image = disparity.double(), image.double()
    normalised = disparity / disparity.mean(dim=(2, 3), keepdim=True)
    total = 0.0
    for dim in (2, 3):
        edge = image.diff(dim=dim).abs().mean(dim=1, keepdim=True)
        total += (normalised.diff(dim=dim).abs() * torch.exp(-edge)).mean().item()
    return total
