"""Export the embedded data set in COCO format, for other tools.

``python -m tools.rooms_coco [--data experiments/data/rooms_instances.yaml] --out data/rooms_coco``

Writes ``{train,val,test}/*.png`` and ``annotations/instances_{train,val,test}.json`` with run-length encoded masks.
Objects below the size limits of the data module are left out of the training split. In the other splits they are marked
as crowds, which COCO's evaluation ignores. Each annotation has an extra key ``camouflaged``.
"""

import json
import sys
from pathlib import Path
from typing import Any, get_args

from lightning.pytorch import LightningDataModule

from datamodules.base import Split
from datamodules.rooms.instances import RoomsInstanceDataModule, RoomsInstanceSource
from structures.files import write_atomically, write_png
from structures.output_paths import check_folder
from tools.coco_records import annotation_record, category_records
from tools.command import data_parser, run_tool, with_default_data

DEFAULT_DATA = Path(__file__).parents[1] / "experiments" / "data" / "rooms_instances.yaml"


def export_split(source: RoomsInstanceSource, *, split: Split, categories: dict[int, str], out: Path) -> dict[str, Any]:
    """Write the images of a split and return the content of its JSON file.

    Args:
        source: Frames with their objects.
        split: Name of the folder of the images.
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
            record = annotation_record(
                len(annotations) + 1,
                image=frame.image_id,
                category=ids[int(truth["labels"][k]) - 1],
                box_xywh=[x1, y1, x2 - x1, y2 - y1],
                area=float(truth["area"][k]),
                crowd=small,
                mask=mask,
            )
            annotations.append(record | {"camouflaged": bool(truth["camouflaged"][k])})
    return {"images": images, "annotations": annotations, "categories": category_records(categories)}


def main(args: list[str] | None = None) -> int:
    """Export rooms.

    Args:
        args: Arguments in place of ``sys.argv[1:]``.

    Returns:
        0, 1 with one sentence if data or folder cannot be used, 2 for a wrong call.
    """
    parser = data_parser("tools.rooms_coco", __doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")

    def work(options: Any) -> None:
        check_folder(options.out)  # before the data are rendered, which takes minutes
        export(parser.instantiate(options).data, options.out)

    return run_tool(parser, work, with_default_data(args, DEFAULT_DATA))


def export(data: LightningDataModule, out: Path) -> None:
    """Write images and annotations of all splits.

    Args:
        data: A data module of rooms with instances.
        out: Folder of the export.

    Raises:
        ValueError: If the data module is another one.
        OSError: If a file cannot be written.
    """
    if not isinstance(data, RoomsInstanceDataModule):
        raise ValueError(f"{type(data).__name__} cannot be exported: choose data of rooms with instances")
    out.mkdir(parents=True, exist_ok=True)
    data.prepare_data()
    categories = dict(zip(data.category_ids, data.class_names, strict=True))
    for split in get_args(Split):
        source = data.make_instances(split)
        content = export_split(source, split=split, categories=categories, out=out)
        path = out / "annotations" / f"instances_{split}.json"
        write_atomically(path, [json.dumps(content).encode()])
        sys.stdout.write(f"{path}: {len(content['images'])} images, {len(content['annotations'])} objects\n")


if __name__ == "__main__":
    sys.exit(main())
