"""Rendering of the frames of a sequence with depth, labels and flags."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datamodules.rooms.arrays import GLOSSY, PATTERN, PLAIN, REFLECTANCE, Scene
from datamodules.rooms.caster import cast, screen_boxes, tile_candidates
from datamodules.rooms.scene import CAMERA, SENSOR, build_scene, stream
from datamodules.rooms.settings import RoomsSettings, Sequence
from datamodules.rooms.shading import antialias, shade_centers
from datamodules.rooms.texture import FLAT
from datamodules.rooms.trajectory import intrinsics, still_pose, video_poses
from datamodules.rooms.visibility import visibility

#: Reflectance from which a surface counts as glossy.
GLOSSY_REFLECTANCE = 0.05

#: Linear value, relative to the exposure, to which samples are clipped before antialiasing.
_WHITE = 3.0


def tone_map(linear: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Return the image after a filmic tone curve (Narkowicz 2015, "ACES Filmic Tone Mapping Curve") and gamma 2.2."""
    x = 0.8 * linear
    curve = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)
    return np.clip(curve, 0.0, 1.0) ** (1.0 / 2.2)


def _exposure(image: npt.NDArray[np.float32]) -> float:
    """Return the exposure that maps the geometric mean of the luminance to middle grey."""
    luminance = image @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    return float(0.24 / np.exp(np.mean(np.log(np.minimum(luminance, 4.0) + 1e-3), dtype=np.float64)))


def label_maps(
    scene: Scene, primitive: npt.NDArray[np.int32], face: npt.NDArray[np.int32]
) -> dict[str, npt.NDArray[np.generic]]:
    """Return the semantic, instance, plane and flag maps of the hit primitives and faces, of any shape."""
    material = scene.render.faces[primitive, face]
    flags = scene.flags[primitive].copy()
    flags |= np.where(scene.render.materials[material, PATTERN] == FLAT, PLAIN, 0).astype(np.int32)
    flags |= np.where(scene.render.materials[material, REFLECTANCE] >= GLOSSY_REFLECTANCE, GLOSSY, 0).astype(np.int32)
    return {
        "semantic": scene.semantic[primitive, face].astype(np.uint8),
        "instance": scene.instance[primitive].astype(np.uint16),
        "plane": scene.plane[primitive, face].astype(np.uint16),
        "flags": flags.astype(np.uint8),
    }


def _sensor(
    linear: npt.NDArray[np.float32], rng: np.random.Generator, read_noise: float, vignetting: float
) -> npt.NDArray[np.uint8]:
    """Return an 8-bit image after vignetting, tone curve and brightness-dependent noise."""
    height, width, _ = linear.shape
    y = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) / (width / 2)
    x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / (width / 2)
    radius = (y[:, None] ** 2 + x[None, :] ** 2) / (1.0 + (height / width) ** 2)
    image = tone_map(linear * (1.0 - np.float32(vignetting) * radius[..., None] ** 1.2))
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    image = image + noise * np.float32(read_noise) * (0.6 + 0.8 * np.sqrt(image))
    return (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def render_sequence(settings: RoomsSettings, sequence: Sequence) -> dict[str, npt.NDArray[np.generic]]:
    """Return all frames of a sequence. The result is a function of the arguments, bit-identical on one machine.

    Args:
        settings: The data set's settings.
        sequence: One entry of ``plan(settings)``.

    Returns:
        Arrays over ``N`` frames: ``image`` uint8 (N, H, W, 3); ``depth`` float32 (N, H, W), metres along z; ``K``
        float64 (N, 3, 3), corner convention; ``T_world_camera`` float64 (N, 4, 4); ``semantic`` uint8, ``instance``
        uint16, ``plane`` uint16 and ``flags`` uint8, each (N, H, W). Depth and labels are those of the ray through the
        pixel centre. The depth of a mirror is that of its surface.
    """
    height, width = settings.height, settings.width
    scene = build_scene(settings, sequence.scene_seed)
    camera = stream(sequence.scene_seed, CAMERA)
    k = intrinsics(settings, camera)
    if sequence.part == "video":
        poses = video_poses(settings, scene, k, camera, sequence.n_frames)
    else:
        # The first view continues the stream that drew K, as a single still does; every other view has its own.
        streams = [camera, *(stream(sequence.scene_seed, CAMERA, view) for view in range(1, sequence.n_frames))]
        poses = np.stack([still_pose(settings, scene, k, rng) for rng in streams])
    sensor = stream(sequence.scene_seed, SENSOR)
    stops = float(sensor.uniform(*settings.exposure_range))
    read_noise = float(sensor.uniform(*settings.noise_range))
    vignetting = float(sensor.uniform(*settings.vignetting_range))
    exposure = 0.0
    frames: dict[str, list[npt.NDArray[np.generic]]] = {
        name: [] for name in ("image", "depth", "semantic", "instance", "plane", "flags")
    }
    render, g = scene.render, scene.render.geometry
    for index, pose in enumerate(poses):
        chosen, counts = tile_candidates(screen_boxes(g, pose, k, height, width), height, width)
        depth, primitive, face = cast(g, pose, k, height, width, chosen, counts)
        seen = visibility(render, pose, k, depth, primitive, face)
        image = shade_centers(render, pose, k, depth, primitive, face, seen)
        if index == 0 or sequence.part == "still":  # all frames of a clip have the exposure of the first
            exposure = _exposure(image) * 2.0**stops
        image = antialias(render, pose, k, primitive, face, seen, chosen, counts, image, _WHITE / exposure)
        noise = stream(sequence.scene_seed, SENSOR, 1, index)
        frames["image"].append(_sensor(image * np.float32(exposure), noise, read_noise, vignetting))
        frames["depth"].append(depth.astype(np.float32))
        for name, labels in label_maps(scene, primitive, face).items():
            frames[name].append(labels)
    result: dict[str, npt.NDArray[np.generic]] = {name: np.stack(values) for name, values in frames.items()}
    result["K"] = np.repeat(k[None], len(poses), axis=0)
    result["T_world_camera"] = poses
    return result
