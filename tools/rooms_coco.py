"""Write the embedded data set in COCO format, so that other tools can train on it.

``python -m tools.rooms_coco [--data experiments/data/rooms_instances.yaml] --out data/rooms_coco``

The folder gets ``{train,val,test}/*.png`` and ``annotations/instances_{train,val,test}.json``, whose masks are in run
lengths. Objects below the size limits of the data module are left out of the training split; in the others they are
marked as crowds, which is how COCO says that an object need not be found. ``camouflaged`` is a key of each annotation.
"""

import json
import sys
from pathlib import Path
from typing import Any, get_args

from jsonargparse import ArgumentError
from lightning.pytorch import LightningDataModule

from datamodules.base import Split
from datamodules.rooms.instances import RoomsInstanceDataModule, RoomsInstanceSource
from lightning_modules.command_line.parsers import SettingsParser
from lightning_modules.runs.loading import innermost_reason
from structures.files import write_atomically, write_png
from structures.output_paths import check_folder

DEFAULT_DATA = Path(__file__).parents[1] / "experiments" / "data" / "rooms_instances.yaml"


def export_split(source: RoomsInstanceSource, *, split: Split, categories: dict[int, str], out: Path) -> dict[str, Any]:
    """Write the images of a split and return what its JSON holds.

    Args:
        source: Frames with their objects.
        split: Names the folder of the images.
        categories: Names by category id, in the order of the labels.
        out: Folder of the export.
    """
    ids = list(categories)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(len(source)):
        frame, truth = source.read(index, masks=False), source.truth(index)
        height, width = frame.original_size
        file_name = f"{frame.name.replace('/', '_')}.png"
        write_png(out / split / file_name, frame.image)
        images.append({"id": frame.image_id, "file_name": file_name, "height": height, "width": width})
        for k, mask in enumerate(truth["masks"] or []):
            small = bool(truth["ignored"][k])
            if small and split == "train":
                continue
            x1, y1, x2, y2 = truth["boxes"][k].tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": frame.image_id,
                    "category_id": ids[int(truth["labels"][k]) - 1],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": float(truth["area"][k]),
                    "iscrowd": int(small),
                    "segmentation": {"size": list(mask["size"]), "counts": mask["counts"].decode("ascii")},
                    "camouflaged": bool(truth["camouflaged"][k]),
                }
            )
    named = [{"id": number, "name": name} for number, name in categories.items()]
    return {"images": images, "annotations": annotations, "categories": named}


def main(args: list[str] | None = None) -> int:
    """Export rooms.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, 1 with one sentence if something is wrong with data or folder, 2 for a wrong call.
    """
    parser = SettingsParser(
        prog="python -m tools.rooms_coco", description=(__doc__ or "").split("\n\n")[0], exit_on_error=False
    )
    parser.add_subclass_arguments(LightningDataModule, "data")
    parser.set_defaults({"data": str(DEFAULT_DATA)})
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    try:
        config = parser.parse_args(args)
    except ArgumentError as error:
        sys.stderr.write(f"error: {innermost_reason(error)}\n")
        return 2
    try:
        check_folder(config.out)  # before hours of rendering
        data: LightningDataModule = parser.instantiate(config).data
        if not isinstance(data, RoomsInstanceDataModule):
            raise ValueError(f"{type(data).__name__} is not rooms with instances, which is what can be exported")
        config.out.mkdir(parents=True, exist_ok=True)  # told before the data are made, which takes minutes
        data.prepare_data()
        categories = dict(zip(data.category_ids, data.class_names, strict=True))
        for split in get_args(Split):
            source = data.make_instances(split)
            content = export_split(source, split=split, categories=categories, out=config.out)
            path = config.out / "annotations" / f"instances_{split}.json"
            write_atomically(path, [json.dumps(content).encode()])
            sys.stdout.write(f"{path}: {len(content['images'])} images, {len(content['annotations'])} objects\n")
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {innermost_reason(error)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
