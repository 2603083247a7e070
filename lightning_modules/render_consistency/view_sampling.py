"""Which new views of a scene a consistency loss looks at: drawn from torch's generator, wider as training goes on."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from geometry.novel_views import Views, inner_zoom, rotation_from_yaw_pitch, turn_about, zoomed_intrinsics
from lightning_modules.schedules import linear_ramp

About = Literal["camera", "scene"]

MAX_ZOOM = 10.0
"""Views that would have to zoom in farther than this look beyond the photo instead; what they see there is masked."""


class SampledViews(NamedTuple):
    """Views in pairs that differ in the sign of yaw and pitch: the first half turns one way, the second the other."""

    views: Views
    """Of ``2 B`` images: all B images of one sign, then all of the other."""
    yaw: Tensor
    """``(2 B,)``, radians."""
    pitch: Tensor
    """``(2 B,)``, radians."""


@dataclass(frozen=True)
class ViewSampler:
    """Draws a pair of opposite views for each image.

    ``about: camera`` turns the camera about its own centre: the view is a homography of the photo, free of holes and of
    rendering artefacts, and zoomed in so far that it shows nothing but the photo. ``about: scene`` turns the scene
    about a pivot on the optical axis at its median depth and moves it, as the paper does: parallax, but holes too.

    Args:
        about: ``camera`` or ``scene``.
        yaw_degrees: Largest yaw.
        pitch_degrees: Largest pitch.
        smallest: Angles are drawn from that share of the largest up to it, since a tiny turn says nothing.
        translation: Largest movement in x and y for ``scene``, in median depths.
        translation_z: Largest movement in z for ``scene``, in median depths.
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
            raise ValueError(
                "yaw_degrees and pitch_degrees are both 0, but a view that does not turn shows nothing new"
            )
        for name in ("smallest", "curriculum"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must lie in [0, 1]")
        if min(self.translation, self.translation_z) < 0:
            raise ValueError(
                f"translation ({self.translation}) and translation_z ({self.translation_z}) must not be negative"
            )

    def reach(self, progress: float) -> float:
        """Share of the largest angles that may be drawn at a part of the training after the warm-up, 0.5 to 1."""
        return 0.5 + 0.5 * linear_ramp(max(progress, 0.0), length=self.curriculum)

    def draw(self, K: Tensor, median_depth: Tensor, *, size: tuple[int, int], progress: float = 1.0) -> SampledViews:
        """Draw a pair of views for each image.

        Args:
            K: ``(B, 3, 3)``, pixels.
            median_depth: ``(B,)``, positive, the unit of depth; used by ``scene`` alone.
            size: Height and width of the photos.
            progress: Part of the training after the warm-up that is done.
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
        """The pair of views of given angles and of their negatives.

        Args:
            K: ``(B, 3, 3)``, pixels.
            median_depth: ``(B,)``.
            yaw: ``(B,)``, radians.
            pitch: ``(B,)``, radians.
            shift: ``(B, 3)``, movement in median depths, for ``scene``.
            size: Height and width of the photos.
        """
        B = len(K)
        yaw, pitch = torch.cat([yaw, -yaw]), torch.cat([pitch, -pitch])
        R = rotation_from_yaw_pitch(yaw, pitch)
        K = K.repeat(2, 1, 1)
        zero = torch.zeros_like(R[:, 0])
        if self.about == "camera":
            zoom = inner_zoom(K, R, height=size[0], width=size[1])
            # One zoom for both views of a pair, or the network would see them at different scales.
            zoom = zoom.view(2, B).amax(dim=0).clamp(max=MAX_ZOOM).repeat(2)
            T = turn_about(R, pivot=zero, translation=zero)
            return SampledViews(Views(T, zoomed_intrinsics(K, zoom)), yaw, pitch)
        depth = median_depth.detach().repeat(2)
        pivot = torch.stack([zero[:, 0], zero[:, 0], depth], dim=-1)
        T = turn_about(R, pivot=pivot, translation=torch.cat([shift, -shift]) * depth.unsqueeze(-1))
        return SampledViews(Views(T, K), yaw, pitch)
