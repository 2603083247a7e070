"""Predict own images: ``python -m tools.predict --checkpoint best.ckpt --input photos --output out``.

A depth network writes for each image or video frame a 16-bit PNG in millimetres, a colour map, a panel and, with
``--ply`` and intrinsics, a coloured point cloud with a picture of it; ``--html`` writes it as a page. An instance
segmentation network writes a picture, a JSON file and a map of masks; a semantic segmentation network writes a label
map and a colour map. ``--video`` writes a video of depth or of instances for each video.
``--teacher`` takes an external depth network (TorchScript, Hugging Face) in place of a checkpoint. ``--calibration``
takes a file with the depth shift and the field of view of a domain; with it, point clouds of networks with an unknown
scale and shift are correct up to scale. The exit code is 0 on success, 1 if an image was skipped or a file could not be
written, 2 for a wrong call.
"""

import argparse
import math
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from datamodules.prediction_images import ImageFiles
from lightning_modules.callbacks.flip_postprocessing import turn_on
from lightning_modules.callbacks.video_file import usable_codec
from lightning_modules.command_line.plain_parser import PlainParser
from lightning_modules.exported.loading import load_trained
from lightning_modules.render_consistency.calibrated_depth import CalibratedDepth
from lightning_modules.runs.slurm import ignore_tasks_without_srun
from lightning_modules.runs.trained_data import IMAGE_SIZE, settings_of_config
from lightning_modules.runs.warning_filters import ignore_harmless_warnings
from lightning_modules.teachers.teacher import is_metric
from structures.calibration import Calibration, shift_of_metres
from structures.errors import plain_reason
from structures.output_paths import check_output_folder
from tools.command import few_messages, plain_parser
from tools.predict_inputs import depth_notes, image_files, unknown_size, working_size
from tools.predict_tasks import (
    SCORE_THRESHOLD,
    SUFFIXES,
    SUMMARIES,
    Task,
    colour_range,
    make_writer,
    range_lines,
    refuse_foreign_flags,
    set_score_threshold,
    task_of,
)
from tools.teacher_arguments import add_teacher_arguments, make_teacher


def _parser() -> PlainParser:
    parser = plain_parser("tools.predict", __doc__)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--checkpoint", type=Path, help="checkpoint (.ckpt) or exported file (.onnx, .ts, .pt2)")
    model.add_argument("--teacher", help="external depth network: TorchScript file, or Hugging Face folder or id")
    add_teacher_arguments(parser)
    parser.add_argument("--input", required=True, help="image, video, folder, or glob in quotes")
    parser.add_argument("--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("--config", type=Path, help="the run's config.yaml (default: the one in the checkpoint's run)")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="working size: about H x W pixels, in the image's own aspect ratio (default: as in training)",
    )
    camera = parser.add_mutually_exclusive_group()
    camera.add_argument("--field-of-view", type=float, metavar="DEGREES", help="horizontal field of view of the images")
    camera.add_argument(
        "--k",
        type=float,
        nargs=4,
        metavar=("FX", "FY", "CX", "CY"),
        help="intrinsics in pixels, from the corner of the first pixel (OpenCV's cx, cy plus 0.5)",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="YAML file with the depth shift and the field of view (--field-of-view and --k override the latter)",
    )
    flag = argparse.BooleanOptionalAction
    parser.add_argument("--ply", action=flag, default=False, help="point clouds (5 MB for 640x480); need intrinsics")
    parser.add_argument(
        "--html", action=flag, default=False, help="point clouds that turn in a browser (5 MB each); need intrinsics"
    )
    parser.add_argument(
        "--video", action=flag, default=False, help="for each video a video of its frames beside their result (.mp4)"
    )
    parser.add_argument(
        "--smooth-range",
        type=float,
        metavar="FRAMES",
        help="with --video: colours that follow the range of each frame, smoothed over so many frames (default: one "
        "range for the whole video)",
    )
    parser.add_argument(
        "--range",
        nargs="+",
        metavar="METRES",
        help="depth range of the colours, near and far (--range 0.5 8), or which images share a range: video (the "
        "frames of each video, the default), all (all images, as for a folder of frames) or image (none)",
    )
    parser.add_argument(
        "--score-threshold",
        type=float,
        metavar="S",
        help="smallest score of written instances (default: 0.3)",
    )
    parser.add_argument("--panel", action=flag, default=True, help="pictures: image and prediction side by side")
    parser.add_argument(
        "--flip",
        action=flag,
        default=False,
        help="average with the prediction of the mirrored image (flip post-processing)",
    )
    parser.add_argument("--accelerator", choices=["auto", "cpu", "gpu"], default="auto", help="device")
    return parser


def _working_size(options: argparse.Namespace, settings: dict[str, Any]) -> tuple[int, int]:
    if options.size is not None:
        return options.size[0], options.size[1]
    if IMAGE_SIZE not in settings and options.config is not None:
        raise ValueError(f"'{options.config}' has no data.init_args.image_size; give --size H W")
    size = working_size(settings, external=options.teacher is not None)
    if IMAGE_SIZE not in settings and options.teacher is None:
        print(f"note: {unknown_size(size)} (--size H W)", file=sys.stderr)
    return size


def _check_output(data: ImageFiles, output: Path, task: Task) -> None:
    """Refuse an output folder whose results could be mistaken for input; print a note if results are replaced."""
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
        print(f"note: '{output}' holds earlier results; those of these images are replaced", file=sys.stderr)


def _smooth_frames(options: argparse.Namespace) -> float:
    """Value of ``--smooth-range``, 0 without it."""
    if options.smooth_range is None:
        return 0.0
    if not options.video:
        raise ValueError("--smooth-range is about the video that --video writes: give --video, or leave it out")
    if options.range is not None and not isinstance(colour_range(options.range), str):
        raise ValueError(
            f"--smooth-range follows the range of each frame, but --range {' '.join(options.range)} gives one range "
            "for all: leave one of them out"
        )
    if not (math.isfinite(options.smooth_range) and options.smooth_range > 0):
        raise ValueError(f"--smooth-range is {options.smooth_range:g}, but a number of frames above 0 is needed")
    return float(options.smooth_range)


def _check_video(data: ImageFiles) -> None:
    """Refuse ``--video`` where there is no video to read, or none can be written."""
    if not any(file.is_video for file in data.files):
        raise ValueError(f"--video needs a video as input, but '{data.path}' holds images alone: leave it out")
    usable_codec()


def _field_of_view_degrees(options: argparse.Namespace, calibration: Calibration | None) -> float | None:
    """Field of view of the user, else of the calibration, else None; prints a note if the two differ."""
    calibrated = None if calibration is None else calibration.field_of_view_degrees
    if options.k is None and options.field_of_view is None:
        return calibrated
    if calibrated is not None and options.field_of_view != calibrated:
        given = "--k" if options.field_of_view is None else f"--field-of-view {options.field_of_view:g}"
        print(f"note: {given} is used, not the calibration's field of view of {calibrated:g} degrees", file=sys.stderr)
    return options.field_of_view


def _print_calibration_note(calibration: Calibration, options: argparse.Namespace) -> None:
    source = str(options.checkpoint if options.teacher is None else options.teacher)
    print(
        f"note: the calibration adds {calibration.shift:g} to the {calibration.output} of '{source}'; it was found for "
        f"'{calibration.teacher}' on {calibration.images} images of '{calibration.domain}'",
        file=sys.stderr,
    )


def _first_line(error: BaseException) -> str:
    """First line of an error's message; torch appends lines about its source files."""
    return next((line for line in plain_reason(error).splitlines() if line.strip()), type(error).__name__)


def main(args: list[str] | None = None) -> int:
    """Predict depth, instances or classes for images.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0 if every image was predicted, 1 if some were skipped or writing failed, 2 for a wrong call.
    """
    try:
        options = _parser().parse_args(args)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    ignore_harmless_warnings()
    try:
        ignore_tasks_without_srun()
        if options.teacher is None:
            module, settings = load_trained(options.checkpoint)
        else:
            module = make_teacher(options, "depth", common_unit=options.calibration is not None)
            settings = {}
        if options.config is not None:
            settings = settings_of_config(options.config)
        task = task_of(module)
        refuse_foreign_flags(options, task, str(options.checkpoint if options.teacher is None else options.teacher))
        threshold = SCORE_THRESHOLD if options.score_threshold is None else options.score_threshold
        writer = make_writer(
            module,
            str(options.output),
            panel=options.panel,
            ply=options.ply,
            html=options.html,
            shared_range=colour_range(options.range),
            video=options.video,
            smooth_frames=_smooth_frames(options),
            metric=task == "depth" and is_metric(module, settings),
            score_threshold=threshold,
        )
        set_score_threshold(module, threshold)
        if options.flip:
            turn_on(module)
        calibration = None if options.calibration is None else Calibration.load(options.calibration)
        field_of_view_degrees = _field_of_view_degrees(options, calibration)
        data = image_files(
            options.input,
            task=task,
            settings=settings,
            size=_working_size(options, settings),
            field_of_view_degrees=field_of_view_degrees,
            intrinsics=None if options.k is None else tuple(options.k),
        )
        data.setup("predict")
        camera_known = field_of_view_degrees is not None or options.k is not None
        if (options.ply or options.html) and not camera_known:
            raise ValueError(
                f"{'--ply' if options.ply else '--html'} needs the intrinsics of the images: give --field-of-view "
                "DEGREES or --k FX FY CX CY"
            )
        if options.video:
            _check_video(data)
        _check_output(data, options.output, task)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {plain_reason(error)}", file=sys.stderr)
        return 2
    if task == "depth":
        source = str(options.checkpoint if options.teacher is None else options.teacher)
        calibrated = options.calibration is not None
        for note in depth_notes(module, source, settings, camera_known=camera_known, calibrated=calibrated):
            print(f"note: {note}", file=sys.stderr)
    elif getattr(module, "class_names", None) is None:
        print(
            f"note: '{options.checkpoint}' holds no class names (older checkpoints do not), so class numbers are "
            "written instead",
            file=sys.stderr,
        )
    if calibration is not None:
        _print_calibration_note(calibration, options)
        if is_metric(module, settings):
            print(f"warning: {shift_of_metres(calibration.shift, calibration.output)}", file=sys.stderr)
        module = CalibratedDepth(module, calibration, from_nearest=options.teacher is not None)
    started = time.perf_counter()
    try:
        with few_messages(), warnings.catch_warnings():
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
    seconds = time.perf_counter() - started
    print(range_lines(writer), end="")
    print(f"{writer.n_written} images done in {seconds:.1f} s, {len(writer.failures)} skipped: {options.output}")
    return 1 if writer.failures else 0


if __name__ == "__main__":
    sys.exit(main())
