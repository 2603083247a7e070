"""Predictions for images of one's own: ``python -m tools.predict --checkpoint best.ckpt --input photos --output out``.

A depth network gives for each image or video frame a 16-bit PNG in millimetres, a colour map, a panel and, with
``--ply`` and a camera, a coloured point cloud with a picture of it. A network of instances gives a picture, a JSON file
and a map of masks, one of semantic classes a label map and its colours. ``--teacher`` takes a depth network of others
(TorchScript, Hugging Face) in place of a checkpoint, and ``--calibration`` a file with the shift and the field of view
of a domain, which make the clouds of networks trained up to scale and shift right up to one factor. The exit code is 0
if all went well, 1 if an image had to be skipped or a file could not be written, 2 for a wrong call.
"""

import argparse
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from datamodules.prediction_images import ImageFiles
from geometry.camera_check import USUAL_FIELD_OF_VIEW_DEGREES
from lightning_modules.callbacks.flip_postprocessing import turn_on
from lightning_modules.command_line.plain_parser import PlainParser
from lightning_modules.render_consistency.calibrated_depth import CalibratedDepth
from lightning_modules.runs.loading import load_module
from lightning_modules.runs.slurm import settle_slurm
from lightning_modules.runs.trained_data import FIELD_OF_VIEW, settings_of_config, trained_settings
from lightning_modules.runs.warning_filters import quiet_lightning
from lightning_modules.tasks.depth import DepthModule
from lightning_modules.teachers.teacher import Teacher, knows_metres
from structures.calibration import Calibration, shift_of_metres
from structures.errors import plain_reason
from structures.output_paths import check_output_folder
from tools.predict_tasks import (
    SUFFIXES,
    SUMMARIES,
    Task,
    make_writer,
    refuse_foreign_flags,
    say_ranges,
    task_of,
)
from tools.teacher_arguments import add_teacher_arguments, make_teacher

DEFAULT_SIZE = (96, 128)
"""Working size where neither the user nor the run's configuration says one."""

TEACHER_SIZE = (384, 512)
"""The same for networks of others; those of Hugging Face have processors which own processors resize once more."""


def _parser() -> PlainParser:
    parser = PlainParser(prog="python -m tools.predict", description=(__doc__ or "").split("\n\n")[0])
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--checkpoint", type=Path, help="checkpoint (.ckpt) of a trained model")
    model.add_argument("--teacher", help="depth network of others: TorchScript file, or Hugging Face folder or id")
    add_teacher_arguments(parser)
    parser.add_argument("--input", required=True, help="image, video, folder, or glob in quotes")
    parser.add_argument("--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("--config", type=Path, help="the run's config.yaml (default: the one in the checkpoint's run)")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="the network sees about H x W pixels in the image's own aspect ratio (default: as in training)",
    )
    camera = parser.add_mutually_exclusive_group()
    camera.add_argument("--field-of-view", type=float, metavar="DEGREES", help="horizontal field of view of the images")
    camera.add_argument(
        "--k",
        type=float,
        nargs=4,
        metavar=("FX", "FY", "CX", "CY"),
        help="intrinsics in pixels of the images, from the corner of the first pixel (OpenCV's cx, cy plus 0.5)",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="YAML file with the shift of the model's output and the field of view; the camera given here goes first",
    )
    flag = argparse.BooleanOptionalAction
    parser.add_argument("--ply", action=flag, default=False, help="point clouds (5 MB for 640x480); need the camera")
    parser.add_argument(
        "--range",
        nargs="+",
        metavar="METRES",
        help="depth of the bright and of the dark end of all colours (--range 0.5 8), or what shares a range: video "
        "(the frames of each video, the default), all (all images, as for a folder of frames) or image (none)",
    )
    parser.add_argument(
        "--score-threshold",
        type=float,
        metavar="S",
        help="least score of the instances that are written (default: 0.3)",
    )
    parser.add_argument("--panel", action=flag, default=True, help="pictures: image and prediction side by side")
    parser.add_argument(
        "--flip", action=flag, default=False, help="blend with the depth of the mirror image (flip post-processing)"
    )
    parser.add_argument("--accelerator", choices=["auto", "cpu", "gpu"], default="auto", help="where to compute")
    return parser


def _data_settings(options: argparse.Namespace) -> dict[str, Any]:
    """What is known of the training's data: from the file that the user names, else from the checkpoint or its run."""
    if options.config is not None:
        return settings_of_config(options.config)
    return {} if options.checkpoint is None else trained_settings(options.checkpoint)


def _working_size(options: argparse.Namespace, settings: dict[str, Any]) -> tuple[int, int]:
    if options.size is not None:
        return options.size[0], options.size[1]
    size: tuple[int, int] | None = settings.get("image_size")
    if size is None and options.config is not None:
        raise ValueError(f"'{options.config}' does not say data.init_args.image_size; give --size H W")
    if size is None and options.teacher is not None:
        return TEACHER_SIZE
    if size is None:
        height, width = DEFAULT_SIZE
        print(f"note: the training's image size is unknown, {height}x{width} is taken (--size H W)", file=sys.stderr)
        return DEFAULT_SIZE
    return size


def _check_output(data: ImageFiles, output: Path, task: Task) -> None:
    """Refuse an output folder in which results would be taken for input, now or the next time; say what is replaced."""
    if Path(data.path).is_dir() and output.resolve().is_relative_to(Path(data.path).resolve()):
        raise ValueError(f"the output folder '{output}' lies in the input folder '{data.path}'; choose another")
    inputs = {file.path.resolve() for file in data.files}
    present = 0
    for file in data.files:
        for suffix in SUFFIXES[task]:
            target = (output / f"{file.name}{suffix}").resolve()
            if target in inputs:
                raise ValueError(f"the result for '{file.path}' would replace the input '{target}'")
            present += target.is_file()
        present += file.is_video and (output / file.name).is_dir()
    present += bool(SUMMARIES[task]) and (output / SUMMARIES[task]).is_file()
    check_output_folder(output)
    if present > 0:
        print(f"note: '{output}' holds results of an earlier call; those of these images are replaced", file=sys.stderr)


def _field_of_view_degrees(options: argparse.Namespace, calibration: Calibration | None) -> float | None:
    """The user's own field of view or that of the calibration, and a line where the two contradict each other."""
    calibrated = None if calibration is None else calibration.field_of_view_degrees
    if options.k is None and options.field_of_view is None:
        return calibrated
    if calibrated is not None and options.field_of_view != calibrated:
        given = "--k" if options.field_of_view is None else f"--field-of-view {options.field_of_view:g}"
        print(f"note: {given} is used, not the calibration's field of view of {calibrated:g} degrees", file=sys.stderr)
    return options.field_of_view


def _say_what_was_calibrated(calibration: Calibration, options: argparse.Namespace) -> None:
    source = str(options.checkpoint if options.teacher is None else options.teacher)
    print(
        f"note: the calibration adds {calibration.shift:g} to the {calibration.output} of '{source}'; it was found for "
        f"'{calibration.teacher}' on {calibration.images} images of '{calibration.domain}'",
        file=sys.stderr,
    )


def _say_what_depth_means(
    module: LightningModule,
    options: argparse.Namespace,
    settings: dict[str, Any],
    *,
    camera_known: bool,
    assumed_degrees: float,
) -> None:
    """Print a line for each reason why the millimetres are not those of the user's own camera."""
    focal_px = getattr(module, "canonical_focal_px", None)
    if focal_px is not None and not camera_known:
        print(
            f"note: the camera is not known, so a horizontal field of view of {assumed_degrees:g} degrees is assumed, "
            "as in training where no camera was known; depth is in proportion to the focal length: for your own camera "
            "give --field-of-view DEGREES or --k FX FY CX CY",
            file=sys.stderr,
        )
    if isinstance(module, DepthModule) and not module.scale_known:
        print(
            "note: this model learnt from what does not tell the scale of depth, so the millimetres are right up to "
            "one factor",
            file=sys.stderr,
        )
    if isinstance(module, Teacher) and module.relative:
        shift = "up to one factor" if options.calibration is not None else "up to a factor and a shift (--calibration)"
        print(
            f"note: '{options.teacher}' gives depth in a unit of each image, so the millimetres are right {shift}",
            file=sys.stderr,
        )
    if settings.get("depth_scale") == "image_max":
        print(
            "note: this model learnt depth relative to each image's own maximum (depth_scale: image_max), so the "
            "millimetres are not metric",
            file=sys.stderr,
        )


def _first_line(error: BaseException) -> str:
    """What an error says, without the lines in which torch names its source files."""
    return next((line for line in plain_reason(error).splitlines() if line.strip()), type(error).__name__)


def main(args: list[str] | None = None) -> int:
    """Predict depth, instances or classes for images.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0 if every image was done, 1 if some were skipped or writing failed, 2 if the call was wrong.
    """
    try:
        options = _parser().parse_args(args)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    quiet_lightning()
    try:
        settle_slurm()
        settings = _data_settings(options)
        assumed_degrees = settings.get(FIELD_OF_VIEW, USUAL_FIELD_OF_VIEW_DEGREES)
        module = (
            load_module(options.checkpoint)
            if options.teacher is None
            else make_teacher(options, "depth", common_unit=options.calibration is not None)
        )
        task = task_of(module)
        refuse_foreign_flags(options, task, str(options.checkpoint if options.teacher is None else options.teacher))
        writer = make_writer(options, module)
        if options.flip:
            turn_on(module)
        calibration = None if options.calibration is None else Calibration.load(options.calibration)
        field_of_view_degrees = _field_of_view_degrees(options, calibration)
        data = ImageFiles(
            options.input,
            image_size=_working_size(options, settings),
            field_of_view_degrees=field_of_view_degrees,
            intrinsics=None if options.k is None else tuple(options.k),
            assumed_field_of_view_degrees=assumed_degrees,
            fit="sides" if task == "instances" else "pixels",
        )
        data.setup("predict")
        camera_known = field_of_view_degrees is not None or options.k is not None
        if options.ply and not camera_known:
            raise ValueError("--ply needs the camera of the images: --field-of-view DEGREES or --k FX FY CX CY")
        _check_output(data, options.output, task)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {plain_reason(error)}", file=sys.stderr)
        return 2
    if task == "depth":
        _say_what_depth_means(module, options, settings, camera_known=camera_known, assumed_degrees=assumed_degrees)
    elif getattr(module, "class_names", None) is None:
        print(
            f"note: '{options.checkpoint}' does not hold the names of its classes (it was written before they were "
            "kept), so numbers are written in their place",
            file=sys.stderr,
        )
    if calibration is not None:
        _say_what_was_calibrated(calibration, options)
        if knows_metres(module, settings):
            print(f"warning: {shift_of_metres(calibration.shift, calibration.output)}", file=sys.stderr)
        module = CalibratedDepth(module, calibration, from_nearest=options.teacher is not None)
    # What Lightning says about devices is of no use to someone who wants a picture.
    lightning_logger = logging.getLogger("lightning.pytorch")
    level = lightning_logger.level
    lightning_logger.setLevel(logging.WARNING)
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message="Couldn't infer the batch indices.*")
            trainer = Trainer(
                accelerator=options.accelerator,
                devices=1,
                logger=False,
                enable_checkpointing=False,
                enable_model_summary=False,
                enable_progress_bar=sys.stderr.isatty(),
                callbacks=[writer],
            )
            trainer.predict(module, datamodule=data, return_predictions=False)
    except MisconfigurationException as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: stopped after {writer.n_written} images: {_first_line(error)}", file=sys.stderr)
        return 1
    finally:
        lightning_logger.setLevel(level)
    seconds = time.perf_counter() - started
    print(say_ranges(writer), end="")
    print(f"{writer.n_written} images done in {seconds:.1f} s, {len(writer.failures)} skipped: {options.output}")
    return 1 if writer.failures else 0


if __name__ == "__main__":
    sys.exit(main())
