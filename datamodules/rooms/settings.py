"""Settings of the embedded data set "rooms" and the list of sequences that they define.

The difficulty settings (plain walls, camouflage, gloss, noise, focal lengths) were fixed before any training result and
are not tuned to results. Every setting enters :meth:`RoomsSettings.fingerprint`, the key of the data file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from typing import Literal

import numpy as np

from structures.choices import Split

#: Incremented whenever the same settings would give other pixels, so that old files are not reused.
GENERATOR_VERSION = 1

Part = Literal["video", "still"]

_PARTS: tuple[Part, ...] = ("video", "still")
_SPLITS: tuple[Split, ...] = ("train", "val", "test")

#: Settings added after the first files were rendered: part of the key only if they differ from their default.
_ADDED_LATER = ("views_per_still",)


@dataclasses.dataclass(frozen=True)
class RoomsSettings:
    """All settings that determine the content of the data set.

    Args:
        seed: Root of all seeds, non-negative.
        height: Image height in pixels.
        width: Image width in pixels.
        n_video_scenes: Scenes of the video part in all splits.
        n_video_val: Video scenes for validation.
        n_video_test: Video scenes for testing.
        frames_per_clip: Frames of each video scene, at least 2.
        n_stills: Single-frame scenes in all splits.
        n_stills_val: Stills for validation.
        n_stills_test: Stills for testing.
        plain_wall_fraction: Probability that a wall has a uniform colour without texture.
        camouflage_fraction: Probability that an object has the material of the wall or floor behind it.
        glossy_floor_fraction: Probability that the floor is reflective.
        mirror_fraction: Probability that a room has a mirror on a wall.
        focal_range: Focal length in units of the image width, drawn once per scene.
        exposure_range: Deviation from the metered exposure in stops, drawn once per scene.
        noise_range: Read noise (standard deviation, image scale 0-1), drawn once per scene.
        vignetting_range: Loss of light in the image corners as a fraction, drawn once per scene.
        flow_range: Target of the median optical flow between neighbouring video frames, in units of the image width.
        views_per_still: Views of each still scene, at least 1, with independent poses, noise and exposure but one K;
            the first view does not depend on the number of views.

    Raises:
        ValueError: If a value is outside of its range.
    """

    seed: int = 2024
    height: int = 192
    width: int = 256
    n_video_scenes: int = 64
    n_video_val: int = 8
    n_video_test: int = 8
    frames_per_clip: int = 24
    n_stills: int = 1600
    n_stills_val: int = 100
    n_stills_test: int = 100
    plain_wall_fraction: float = 0.6
    camouflage_fraction: float = 0.12
    glossy_floor_fraction: float = 0.3
    mirror_fraction: float = 0.3
    focal_range: tuple[float, float] = (0.70, 1.05)
    exposure_range: tuple[float, float] = (-0.4, 0.4)
    noise_range: tuple[float, float] = (0.003, 0.014)
    vignetting_range: tuple[float, float] = (0.0, 0.35)
    flow_range: tuple[float, float] = (0.020, 0.032)
    views_per_still: int = 1

    def __post_init__(self) -> None:
        """Validate every value."""
        for name in ("height", "width"):
            if getattr(self, name) < 16:
                raise ValueError(f"rooms: {name} is {getattr(self, name)}, it must be at least 16 pixels")
        if self.seed < 0:
            raise ValueError(f"rooms: seed is {self.seed}, it must not be negative")
        if self.frames_per_clip < 2:
            raise ValueError(f"rooms: frames_per_clip is {self.frames_per_clip}, a clip needs at least 2 frames")
        if self.views_per_still < 1:
            raise ValueError(f"rooms: views_per_still is {self.views_per_still}, a still scene needs at least 1 view")
        for total, val, test in (
            ("n_video_scenes", "n_video_val", "n_video_test"),
            ("n_stills", "n_stills_val", "n_stills_test"),
        ):
            counts = [getattr(self, name) for name in (total, val, test)]
            if min(counts) < 0 or counts[1] + counts[2] > counts[0]:
                raise ValueError(
                    f"rooms: {val} + {test} = {counts[1]} + {counts[2]} does not fit into {total} = {counts[0]}; "
                    f"all three must be at least 0 and the sum at most {total}"
                )
        for name in ("plain_wall_fraction", "camouflage_fraction", "glossy_floor_fraction", "mirror_fraction"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"rooms: {name} is {getattr(self, name)}, it must lie in [0, 1]")
        for name, lowest, highest in (
            ("focal_range", 0.3, 3.0),
            ("exposure_range", -3.0, 3.0),
            ("noise_range", 0.0, 0.2),
            ("vignetting_range", 0.0, 0.9),
            ("flow_range", 0.002, 0.1),
        ):
            low, high = getattr(self, name)
            if not (math.isfinite(low) and math.isfinite(high) and lowest <= low <= high <= highest):
                raise ValueError(
                    f"rooms: {name} is ({low}, {high}), it must be a rising pair within [{lowest}, {highest}]"
                )

    def fingerprint(self) -> str:
        """Return the first 12 hex digits of the SHA-256 of all settings and :data:`GENERATOR_VERSION`.

        A setting that was added later is omitted if it has its default, so that older files remain valid.
        """
        content = dict(dataclasses.asdict(self), generator_version=GENERATOR_VERSION)
        for field in dataclasses.fields(self):
            if field.name in _ADDED_LATER and content[field.name] == field.default:
                del content[field.name]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


@dataclasses.dataclass(frozen=True)
class Sequence:
    """One unit of rendering: a clip of a video scene or the views of a still scene.

    Args:
        part: ``"video"`` or ``"still"``.
        split: ``"train"``, ``"val"`` or ``"test"``.
        scene_seed: Seed of the scene, unique in a plan.
        n_frames: Number of frames of a clip, or of views of a still scene.
        name: Unique name such as ``"video/train/0007"``.
    """

    part: Part
    split: Split
    scene_seed: int
    n_frames: int
    name: str


def plan(settings: RoomsSettings) -> list[Sequence]:
    """Return all sequences of the data set, videos first, each part in the order train, val, test.

    The split enters the entropy of the scene seed, so validation and test share no layout or material with training,
    and the first scenes of a split do not change with the number of scenes.

    Args:
        settings: The data set's settings.

    Returns:
        ``n_video_scenes + n_stills`` sequences.
    """
    counts = {
        "video": (settings.n_video_scenes, settings.n_video_val, settings.n_video_test),
        "still": (settings.n_stills, settings.n_stills_val, settings.n_stills_test),
    }
    sequences = []
    for part_code, part in enumerate(_PARTS):
        total, val, test = counts[part]
        for split_code, (split, count) in enumerate(zip(_SPLITS, (total - val - test, val, test), strict=True)):
            for index in range(count):
                entropy = np.random.SeedSequence([settings.seed, part_code, split_code, index])
                sequences.append(
                    Sequence(
                        part=part,
                        split=split,
                        scene_seed=int(entropy.generate_state(1, np.uint64)[0] >> np.uint64(1)),
                        n_frames=settings.frames_per_clip if part == "video" else settings.views_per_still,
                        name=f"{part}/{split}/{index:04d}",
                    )
                )
    return sequences
