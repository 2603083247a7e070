"""The part of a prediction that ``tools.predict`` and the Python interface share: the input of the network."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule

from datamodules.prediction_images import ImageFiles
from geometry.camera_check import USUAL_FIELD_OF_VIEW_DEGREES
from lightning_modules.runs.trained_data import FIELD_OF_VIEW, IMAGE_SIZE
from lightning_modules.tasks.depth import DepthModule
from lightning_modules.teachers.teacher import Teacher
from tools.predict_tasks import Task

DEFAULT_SIZE = (96, 128)
"""Working size, height and width, if neither the user nor the training settings give one."""

TEACHER_SIZE = (384, 512)
"""The same for external networks; the image processors of Hugging Face models resize once more."""


def working_size(settings: Mapping[str, Any], *, external: bool) -> tuple[int, int]:
    """Height and width that a network was trained with.

    Args:
        settings: Settings of the training data (``lightning_modules/runs/trained_data.py``).
        external: Whether the network is one of another project.

    Returns:
        The stored size, or the default of the network's kind.
    """
    size: tuple[int, int] = settings.get(IMAGE_SIZE, TEACHER_SIZE if external else DEFAULT_SIZE)
    return size


def unknown_size(size: tuple[int, int]) -> str:
    """The note about a size that no checkpoint gives."""
    return f"the image size of the training is unknown, {size[0]}x{size[1]} is used"


def image_files(
    path: str,
    *,
    task: Task,
    settings: Mapping[str, Any],
    size: tuple[int, int],
    field_of_view_degrees: float | None = None,
    intrinsics: tuple[float, ...] | None = None,
) -> ImageFiles:
    """The data module of images for a network.

    Args:
        path: Image, video, folder or glob; "" for images that are in memory.
        task: Task of the network.
        settings: Settings of the training data.
        size: Working size, see :func:`working_size`.
        field_of_view_degrees: Horizontal field of view of the images.
        intrinsics: ``fx, fy, cx, cy`` in pixels of the images, corner convention.

    Raises:
        ValueError: If a number is out of its range, or both ways of giving the camera are used.
    """
    return ImageFiles(
        path,
        image_size=size,
        field_of_view_degrees=field_of_view_degrees,
        intrinsics=intrinsics,  # type: ignore[arg-type]  # four numbers
        assumed_field_of_view_degrees=settings.get(FIELD_OF_VIEW, USUAL_FIELD_OF_VIEW_DEGREES),
        fit="sides" if task == "instances" else "pixels",
    )


def depth_notes(
    module: LightningModule,
    source: str,
    settings: Mapping[str, Any],
    *,
    camera_known: bool,
    calibrated: bool = False,
    camera_options: str = "--field-of-view DEGREES or --k FX FY CX CY",
) -> list[str]:
    """Reasons why predicted depth may not be in metres.

    Args:
        module: A depth network.
        source: Its file or name.
        settings: Settings of the training data.
        camera_known: Whether the intrinsics of the images are known.
        calibrated: Whether a calibration adds the missing shift.
        camera_options: The way to give the intrinsics.
    """
    notes = []
    if getattr(module, "canonical_focal_px", None) is not None and not camera_known:
        notes.append(
            "the intrinsics are unknown, so a horizontal field of view of "
            f"{settings.get(FIELD_OF_VIEW, USUAL_FIELD_OF_VIEW_DEGREES):g} degrees is assumed, as in training for "
            "unknown cameras; depth is proportional to the focal length: for your camera give " + camera_options
        )
    if isinstance(module, DepthModule) and not module.scale_known:
        notes.append(
            "this model was trained without metric ground truth, so its depth is correct up to scale and the "
            "millimetres are not metric"
        )
    if isinstance(module, Teacher) and module.relative:
        ambiguity = "up to scale" if calibrated else "up to scale and shift (--calibration)"
        notes.append(f"'{source}' predicts relative depth, so the millimetres are correct {ambiguity}")
    if settings.get("depth_scale") == "image_max":
        notes.append(
            "this model was trained on depth relative to each image's maximum (depth_scale: image_max), so the "
            "millimetres are not metric"
        )
    return notes
