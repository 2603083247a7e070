"""Let a teacher label the frames of a data set, for another network to learn from.

``python -m tools.pseudo_labels --data experiments/data/rooms.yaml --teacher X.ckpt --kind semantic --out labels.h5``

The teacher is a checkpoint of this project, a folder with a Hugging Face model, or the id of one. It sees every frame
of the chosen splits once, in order, unaugmented, at ``image_size`` of the data. A run that was stopped is continued by
the same command. At the end the labels are held against the truth, where the data have it.
"""

import logging
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

import torch
from jsonargparse import ArgumentError
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

from datamodules.base import DepthDataModule, DepthDataset, Split
from datamodules.frame import Sample
from lightning_modules.callbacks.label_writer import LabelPredictionWriter, teacher_name
from lightning_modules.command_line.parsers import SettingsParser
from lightning_modules.loading import innermost_reason
from lightning_modules.quiet import quiet_lightning
from lightning_modules.slurm import settle_slurm
from lightning_modules.teacher import Kind, Teacher
from metrics.depth import DepthMetrics
from metrics.segmentation import confusion_matrix, merged_by_majority, scores_from_confusion
from structures.label_store import LabelStore
from structures.label_writer import LabelWriter


def _parser() -> SettingsParser:
    parser = SettingsParser(
        prog="python -m tools.pseudo_labels", description=(__doc__ or "").split("\n\n")[0], exit_on_error=False
    )
    parser.add_subclass_arguments(LightningDataModule, "data", required=True)
    parser.add_argument(
        "--teacher", type=str, required=True, help="checkpoint, folder with a Hugging Face model, or id"
    )
    parser.add_argument("--kind", type=Kind, required=True, help="what it labels")
    parser.add_argument("--out", type=Path, required=True, help="label file to write (.h5)")
    parser.add_argument("--split", nargs="+", choices=get_args(Split), default=["train"], help="what to label")
    parser.add_argument("--inverse", type=bool | None, help="whether a Hugging Face model gives relative inverse depth")
    parser.add_argument("--accelerator", choices=["auto", "cpu", "gpu"], default="auto", help="where to compute")
    return parser


def unaugmented_frames(data: LightningDataModule, splits: Sequence[Split]) -> Dataset[Sample]:
    """Every frame of some splits, in order, as unaugmented samples.

    Args:
        data: A data module of images with depth; its ``train_subset`` does not count.
        splits: Which splits, in which order.

    Raises:
        ValueError: If the data module is of another sort or there is no frame.
    """
    if not isinstance(data, DepthDataModule):
        raise ValueError(f"{type(data).__name__} has no splits to label: choose a data module of images with depth")
    data.prepare_data()
    parts = [
        DepthDataset(data.make_source(split), image_size=data.image_size, depth_scale=data.depth_scale)
        for split in splits
    ]
    frames: Dataset[Sample] = ConcatDataset(cast("list[Dataset[Sample]]", parts))
    if sum(len(part) for part in parts) == 0:
        raise ValueError(f"the {' and '.join(splits)} of {type(data).__name__} hold no frames")
    return frames


def survey(frames: Dataset[Sample]) -> tuple[list[str], int]:
    """Names of all frames in order, and the highest true class id (0 where the data have no classes).

    Raises:
        ValueError: If two frames have one name: labels are kept by name.
    """
    names: list[str] = []
    highest = 0
    for index in range(len(frames)):  # type: ignore[arg-type]  # its type does not say that it has a length
        sample = frames[index]
        names.append(cast(str, sample["name"]))
        if "semantic" in sample:
            highest = max(highest, int(cast(Tensor, sample["semantic"]).max()))
    if len(set(names)) < len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise ValueError(f"two frames are called '{twice}', but labels are kept by name: label one split a file")
    return names, highest


def semantic_errors(frames: Dataset[Sample], store: LabelStore, *, n_classes: int, renamed: bool) -> dict[str, Tensor]:
    """Scores of stored class ids against the truth.

    Args:
        frames: Unaugmented samples with ``semantic``.
        store: Labels of all of them, at their size.
        n_classes: Highest class id in either.
        renamed: Whether each class of the labels is taken for the true class that it covers most often.

    Returns:
        See `metrics.segmentation.scores_from_confusion`.
    """
    confusion = torch.zeros(n_classes + 1, n_classes + 1, dtype=torch.int64)
    for index in range(len(frames)):  # type: ignore[arg-type]
        sample = frames[index]
        labels = torch.from_numpy(store.read(cast(str, sample["name"]))).long()
        confusion += confusion_matrix(labels, target=cast(Tensor, sample["semantic"]), n_classes=n_classes)
    return scores_from_confusion(merged_by_majority(confusion) if renamed else confusion)


def depth_error(frames: Dataset[Sample], store: LabelStore, *, relative: bool) -> dict[str, Tensor]:
    """AbsRel of stored depth against the truth, after the alignment of medians if it is ``relative``."""
    metrics = DepthMetrics(alignment="median" if relative else "none", edges=False)
    for index in range(len(frames)):  # type: ignore[arg-type]
        sample = {k: v[None] for k, v in frames[index].items() if isinstance(v, Tensor)}
        depth = torch.from_numpy(store.read(cast(str, frames[index]["name"])))[None, None]
        metrics.update(
            depth, target_m=sample["depth"], mask=sample["depth_mask"], depth_scale_m=sample["depth_scale_m"]
        )
    return {name: value for name, value in metrics.compute().items() if name.startswith("abs_rel")}


def errors_against_truth(frames: Dataset[Sample], store: LabelStore, teacher: Teacher, highest: int) -> str:
    """One line about how right the labels are, or that nothing is known."""
    if teacher.kind == "depth":
        scores = depth_error(frames, store, relative=teacher.relative)
    elif highest == 0:
        return "no truth to compare with: the data have no classes (where they can, --data.init_args.fields [semantic])"
    else:
        scores = semantic_errors(
            frames,
            store,
            n_classes=max(highest, teacher.n_classes),
            renamed=teacher.class_names is not None,
        )
    line = ", ".join(f"{name} {float(value):.4f}" for name, value in scores.items())
    if teacher.class_names is not None:
        line += " (each class of the teacher taken for the true class that it covers most often)"
    return f"against the truth: {line}"


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
    """Label the frames that the file lacks.

    Returns:
        How many were labelled now.

    Raises:
        ValueError: If the file is another teacher's or was made with other settings.
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


def main(args: list[str] | None = None) -> int:
    """Label a data set.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, 1 with one sentence if something is wrong with teacher, data or file, 2 for a wrong call.
    """
    parser = _parser()
    try:
        config = parser.parse_args(args)
    except ArgumentError as error:
        sys.stderr.write(f"error: {innermost_reason(error)}\n")
        return 2
    quiet_lightning()
    lightning_logger = logging.getLogger("lightning.pytorch")
    level = lightning_logger.level
    lightning_logger.setLevel(logging.WARNING)  # what it says about devices does not matter here
    try:
        settle_slurm()
        data: LightningDataModule = parser.instantiate(config).data
        teacher = Teacher(config.teacher, config.kind, config.inverse)
        frames = unaugmented_frames(data, config.split)
        names, highest = survey(frames)
        settings: dict[str, Any] = {"image_size": list(cast(DepthDataModule, data).image_size)}
        if cast(DepthDataModule, data).content_key is not None:
            settings["data"] = cast(DepthDataModule, data).content_key
        if teacher.kind == "depth":
            settings["relative"] = teacher.relative
        else:
            settings["n_classes"] = teacher.n_classes
        if teacher.class_names is not None:
            settings["class_names"] = {str(index): name for index, name in teacher.class_names.items()}
        started = time.perf_counter()
        n_new = write_labels(
            teacher,
            frames,
            names,
            config.out,
            settings=settings,
            batch_size=cast(DepthDataModule, data).batch_size,
            num_workers=cast(DepthDataModule, data).num_workers,
            accelerator=config.accelerator,
        )
        seconds = time.perf_counter() - started
        report = errors_against_truth(frames, LabelStore(config.out), teacher, highest)
    except (ValueError, OSError, ImportError) as error:
        sys.stderr.write(f"error: {innermost_reason(error)}\n")
        return 1
    finally:
        lightning_logger.setLevel(level)
    pace = f", {1000 * seconds / n_new:.0f} ms an image" if n_new > 0 else ""
    sys.stdout.write(f"{config.out}: {len(names)} labels of '{teacher_name(teacher)}', {n_new} of them new\n")
    sys.stdout.write(f"labelled in {seconds:.1f} s{pace}\n{report}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
