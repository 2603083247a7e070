"""Random new views of scenes for consistency losses, with angles that grow in the course of training."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from geometry.novel_views import Views, inner_zoom, rotation_from_yaw_pitch, turn_about, zoomed_intrinsics
from lightning_modules.schedules import linear_ramp

About = Literal["camera", "scene"]

MAX_ZOOM = 10.0
"""Largest zoom; views that need a larger one extend beyond the photo, where they are masked."""


class SampledViews(NamedTuple):
    """Pairs of views of opposite yaw and pitch: the first half has one sign, the second half the other."""

    views: Views
    """``2 B`` cameras: those of all B images with one sign, then with the other."""
    yaw: Tensor
    """``(2 B,)``, radians."""
    pitch: Tensor
    """``(2 B,)``, radians."""


@dataclass(frozen=True)
class ViewSampler:
    """Draws a pair of opposite views for each image.

    ``about: camera`` rotates the camera about its own centre. The view is a homography of the photo without holes or
    rendering artefacts, zoomed in so that it stays inside the photo. ``about: scene`` rotates the scene about a pivot
    on the optical axis at its median depth and translates it, as the paper does, which gives parallax and holes.

    Args:
        about: ``camera`` or ``scene``.
        yaw_degrees: Largest yaw.
        pitch_degrees: Largest pitch.
        smallest: Smallest angle as a share of the largest, since a tiny rotation carries no signal.
        translation: Largest translation in x and y for ``scene``, in median depths.
        translation_z: Largest translation in z for ``scene``, in median depths.
        curriculum: Part of the training, after the warm-up, over which the largest angles grow from half of theirs.

    Raises:
        ValueError: If ``about`` is unknown or a number is out of range.
    """

    about: About = "scene"
    _: KW_ONLY
    yaw_degrees: float = 10.0
    pitch_degrees: float = 5.0
    smallest: float = 0.5
    translation: float = 0.05
    translation_z: float = 0.1
    curriculum: float = 0.3

    def __post_init__(self) -> None:
        if self.about not in ("camera", "scene"):
            raise ValueError(f"about is '{self.about}', but must be 'camera' or 'scene'")
        for name in ("yaw_degrees", "pitch_degrees"):
            if not 0 <= getattr(self, name) < 90:
                raise ValueError(f"{name} is {getattr(self, name)}, but must lie in [0, 90)")
        if self.yaw_degrees == self.pitch_degrees == 0:
            raise ValueError("yaw_degrees and pitch_degrees are both 0, but a view without rotation carries no signal")
        for name in ("smallest", "curriculum"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must lie in [0, 1]")
        if min(self.translation, self.translation_z) < 0:
            raise ValueError(
                f"translation ({self.translation}) and translation_z ({self.translation_z}) must not be negative"
            )

    def reach(self, progress: float) -> float:
        """Limit of the angles as a share of the largest, 0.5 to 1, at a part of the training after the warm-up."""
        return 0.5 + 0.5 * linear_ramp(max(progress, 0.0), length=self.curriculum)

    def draw(self, K: Tensor, median_depth: Tensor, *, size: tuple[int, int], progress: float = 1.0) -> SampledViews:
        """Draw a pair of views for each image.

        Args:
            K: ``(B, 3, 3)``, pixels.
            median_depth: ``(B,)``, positive, the unit of depth; used only by ``scene``.
            size: Height and width of the photos.
            progress: Fraction of the training after the warm-up, 0 to 1.
        """
        B, like = len(K), K
        reach = self.reach(progress)

        def angles(largest: float) -> Tensor:
            share = self.smallest + (1 - self.smallest) * torch.rand(B, dtype=like.dtype, device=like.device)
            sign = torch.randint(0, 2, (B,), device=like.device) * 2 - 1
            return sign * share * (reach * math.radians(largest))

        yaw, pitch = angles(self.yaw_degrees), angles(self.pitch_degrees)
        limits = K.new_tensor([self.translation, self.translation, self.translation_z])
        shift = (2 * torch.rand(B, 3, dtype=K.dtype, device=K.device) - 1) * limits
        return self.opposite(K, median_depth, yaw=yaw, pitch=pitch, shift=shift, size=size)

    def opposite(
        self, K: Tensor, median_depth: Tensor, *, yaw: Tensor, pitch: Tensor, shift: Tensor, size: tuple[int, int]
    ) -> SampledViews:
        """The pairs of views with the given angles and with their negatives.

        Args:
            K: ``(B, 3, 3)``, pixels.
            median_depth: ``(B,)``.
            yaw: ``(B,)``, radians.
            pitch: ``(B,)``, radians.
            shift: ``(B, 3)``, translation in median depths, for ``scene``.
            size: Height and width of the photos.
        """
        B = len(K)
        yaw, pitch = torch.cat([yaw, -yaw]), torch.cat([pitch, -pitch])
        R = rotation_from_yaw_pitch(yaw, pitch)
        K = K.repeat(2, 1, 1)
        zero = torch.zeros_like(R[:, 0])
        if self.about == "camera":
            zoom = inner_zoom(K, R, height=size[0], width=size[1])
            # One zoom for both views of a pair, so that both have one scale.
            zoom = zoom.view(2, B).amax(dim=0).clamp(max=MAX_ZOOM).repeat(2)
            T = turn_about(R, pivot=zero, translation=zero)
            return SampledViews(Views(T, zoomed_intrinsics(K, zoom)), yaw, pitch)
        depth = median_depth.detach().repeat(2)
        pivot = torch.stack([zero[:, 0], zero[:, 0], depth], dim=-1)
        T = turn_about(R, pivot=pivot, translation=torch.cat([shift, -shift]) * depth.unsqueeze(-1))
        return SampledViews(Views(T, K), yaw, pitch)
