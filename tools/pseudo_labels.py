"""Proxy labels of a data set: the predictions of a teacher, stored for the training of another network.

``python -m tools.pseudo_labels --data experiments/data/rooms.yaml --teacher X.ckpt --kind semantic --out labels.h5``

The teacher is a checkpoint of this project, a TorchScript file, a folder with a Hugging Face model, or the id of one.
It predicts every frame of the chosen splits once, in order, unaugmented, at ``image_size`` of the data. A folder of
depth maps that another tool wrote (``tools/map_labels.py``) can replace it. The same command continues an interrupted
run. At the end the labels are compared with the ground truth, if the data have it. For frames of unknown camera, a
checkpoint is given the field of view that it was trained with.
"""

import sys
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

from datamodules.base import DepthDataModule, LoaderDataModule, Split
from datamodules.samples.dataset import DepthDataset
from datamodules.samples.frame import Sample
from lightning_modules.callbacks.label_writer import LabelPredictionWriter, teacher_name
from lightning_modules.command_line.parsers import SettingsParser
from lightning_modules.runs.slurm import ignore_tasks_without_srun
from lightning_modules.teachers.source import source_kind
from lightning_modules.teachers.teacher import Kind, Teacher
from structures.label_store import LabelStore
from structures.label_writer import LabelWriter
from structures.output_paths import check_output_file
from tools.assumed_camera import with_training_camera
from tools.command import data_parser, run_data_tool
from tools.label_report import depth_report, errors_against_truth, known_sources
from tools.map_labels import write_from_maps
from tools.teacher_arguments import add_teacher_arguments, make_teacher


def _parser() -> SettingsParser:
    parser = data_parser("tools.pseudo_labels", __doc__)
    parser.add_argument(
        "--teacher",
        type=str,
        required=True,
        help="checkpoint, TorchScript file, folder with a Hugging Face model or its id, or folder of depth maps",
    )
    parser.add_argument("--kind", type=Kind, required=True, help="kind of labels")
    parser.add_argument("--out", type=Path, required=True, help="label file to write (.h5)")
    parser.add_argument("--split", nargs="+", choices=get_args(Split), default=["train"], help="splits to label")
    add_teacher_arguments(parser)
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="for depth maps: size of the labels (default: that of the maps; if they differ, image_size of the data)",
    )
    parser.add_argument("--map-suffix", type=str, help="for depth maps: what follows the image's name in their names")
    parser.add_argument("--accelerator", choices=["auto", "cpu", "gpu"], default="auto", help="device")
    return parser


def unaugmented_frames(data: LightningDataModule, splits: Sequence[Split]) -> Dataset[Sample]:
    """Every frame of some splits, in order, as unaugmented samples.

    Args:
        data: A data module of images with depth; its ``train_subset`` is ignored.
        splits: The splits, in order.

    Raises:
        ValueError: If the data module has no splits or no frames.
    """
    if not isinstance(data, LoaderDataModule):
        raise ValueError(f"{type(data).__name__} has no splits to label: choose a data module of images with depth")
    data.prepare_data()
    depth_scale = data.depth_scale if isinstance(data, DepthDataModule) else "10m"
    parts = [
        DepthDataset(data.make_source(split), image_size=data.image_size, depth_scale=depth_scale) for split in splits
    ]
    frames: Dataset[Sample] = ConcatDataset(cast("list[Dataset[Sample]]", parts))
    if sum(len(part) for part in parts) == 0:
        raise ValueError(f"the {' and '.join(splits)} of {type(data).__name__} hold no frames")
    return frames


def survey(frames: Dataset[Sample], *, classes: bool = True) -> tuple[list[str], int]:
    """Names of all frames in order, and the highest class id of the ground truth (0 if the data have no classes).

    Args:
        frames: Unaugmented samples.
        classes: Whether to look for class ids; if not, frames whose names are known are not read.

    Raises:
        ValueError: If two frames have the same name, as labels are stored by name.
    """
    names: list[str] = []
    highest = 0
    sources = known_sources(frames)
    if sources is not None and not classes:
        names = [name for source in sources for name in source.names]
        return _checked_unique(names), 0
    for index in range(len(frames)):  # type: ignore[arg-type]  # its type does not say that it has a length
        sample = frames[index]
        names.append(cast(str, sample["name"]))
        if "semantic" in sample:
            highest = max(highest, int(cast(Tensor, sample["semantic"]).max()))
    return _checked_unique(names), highest


def _checked_unique(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise ValueError(f"two frames are called '{twice}', but labels are stored by name: write one file per split")
    return names


def write_labels(
    teacher: Teacher,
    frames: Dataset[Sample],
    names: list[str],
    out: Path,
    *,
    settings: dict[str, Any],
    batch_size: int,
    num_workers: int,
    accelerator: str,
) -> int:
    """Label the frames that are missing in the file.

    Args:
        teacher: The teacher.
        frames: Unaugmented samples.
        names: Their names, in order.
        out: The label file.
        settings: Settings that the labels depend on.
        batch_size: Frames per batch.
        num_workers: Loader processes.
        accelerator: Device, as Lightning's trainer takes it.

    Returns:
        Number of new labels.

    Raises:
        ValueError: If the file holds labels of another teacher or other settings.
    """
    with LabelWriter(out, kind=teacher.kind, teacher=teacher_name(teacher), settings=settings) as writer:
        missing = set(writer.missing(names))
        if not missing:
            writer.finish()
            return 0
    rest = Subset(frames, [index for index, name in enumerate(names) if name in missing])
    callback = LabelPredictionWriter(str(out), settings)
    trainer = Trainer(
        accelerator=accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
        callbacks=[callback],
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message="Couldn't infer the batch indices.*")
        trainer.predict(
            teacher, DataLoader(rest, batch_size=batch_size, num_workers=num_workers), return_predictions=False
        )
    return callback.n_written


def run(config: Any, data: LightningDataModule) -> str:
    """Label a data set.

    Args:
        config: The parsed call.
        data: The data module.

    Returns:
        The report for the user.

    Raises:
        ValueError: If teacher, data or file cannot be used.
        OSError: If a file cannot be read or written.
        ImportError: If the teacher needs a package that is not installed.
    """
    ignore_tasks_without_srun()
    check_output_file(config.out)
    from_maps = source_kind(config.teacher) == "maps"
    if from_maps and config.kind != "depth":
        raise ValueError(f"'{config.teacher}' is a folder of maps, which can be a teacher of kind 'depth' alone")
    foreign = [f"--{name.replace('_', '-')}" for name in ("size", "map_suffix") if config[name] is not None]
    if foreign and not from_maps:
        raise ValueError(f"'{config.teacher}' is no folder of depth maps: leave out {' and '.join(foreign)}")
    teacher = None if from_maps else make_teacher(config, config.kind)
    frames = unaugmented_frames(data, config.split)
    names, highest = survey(frames, classes=config.kind == "semantic")
    labelled = cast(LoaderDataModule, data)
    started = time.perf_counter()
    if teacher is None:
        sources = known_sources(frames)
        sizes = None if sources is None else [size for source in sources for size in getattr(source, "sizes", [])]
        title, n_new, lines = write_from_maps(
            config,
            names,
            sizes=sizes if sizes else None,
            image_size=labelled.image_size,
            content_key=labelled.content_key,
        )
        store = LabelStore(config.out)
        report = "".join(f"{line}\n" for line in lines) + depth_report(
            frames, store, relative=bool(store.settings["relative"])
        )
        seconds = time.perf_counter() - started
    else:
        title = teacher_name(teacher)
        n_new = write_labels(
            teacher,
            with_training_camera(frames, config.teacher) if config.kind == "depth" else frames,
            names,
            config.out,
            settings=label_settings(teacher, labelled),
            batch_size=labelled.batch_size,
            num_workers=labelled.num_workers,
            accelerator=config.accelerator,
        )
        seconds = time.perf_counter() - started
        report = errors_against_truth(frames, LabelStore(config.out), teacher, highest)
    pace = f", {1000 * seconds / n_new:.0f} ms an image" if n_new > 0 else ""
    return (
        f"{config.out}: {len(names)} labels of '{title}', {n_new} of them new\n"
        f"labelled in {seconds:.1f} s{pace}\n{report}\n"
    )


def label_settings(teacher: Teacher, data: LoaderDataModule) -> dict[str, Any]:
    """Settings that labels depend on besides the teacher's weights; a file with other settings is not continued."""
    settings: dict[str, Any] = {"image_size": list(data.image_size), **teacher.settings}
    if data.content_key is not None:
        settings["data"] = data.content_key
    if teacher.kind == "depth":
        settings["relative"] = teacher.relative
    else:
        settings["n_classes"] = teacher.n_classes
    if teacher.class_names is not None:
        settings["class_names"] = {str(index): name for index, name in teacher.class_names.items()}
    return settings


def main(args: list[str] | None = None) -> int:
    """Label a data set.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, 1 with one sentence if teacher, data or file cannot be used, 2 for a wrong call.
    """
    return run_data_tool(_parser(), run, args)


if __name__ == "__main__":
    sys.exit(main())
