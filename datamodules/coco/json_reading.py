"""Loading of the JSON file of a COCO-format data set: three lists of records, whose values are not checked here."""

import json
from pathlib import Path
from typing import Any

from datamodules.coco.findings import CocoFileError, format_value

LISTS = ("images", "annotations", "categories")


def load_coco_json(path: Path) -> dict[str, Any]:
    """Return the content of a COCO-format JSON: images, annotations and categories are lists of dictionaries.

    Raises:
        OSError: If the file does not exist or is a folder.
        CocoFileError: If it is no JSON or no COCO-format file, or has no categories.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, but the path of a COCO-format JSON is needed.")
    if not path.is_file():
        raise FileNotFoundError(f"There is no annotation file {path}: give the path of a COCO-format JSON.")
    text = path.read_bytes()
    if not text.strip():
        raise CocoFileError([f"{path} is empty, but a COCO-format JSON is needed."])
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError covers both syntax and text encoding
        raise CocoFileError([f"{path} is no JSON, or it is cut off: {error}."]) from error
    if isinstance(content, list):
        raise CocoFileError(
            [f"{path} is no COCO-format file: it is a list, as results are, but images, annotations and "
             "categories are needed."]
        )  # fmt: skip
    missing = [key for key in LISTS if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        raise CocoFileError([f"{path} is no COCO-format file: it has no list of {' and '.join(missing)}."])
    for key in LISTS:
        wrong = [record for record in content[key] if not isinstance(record, dict)]
        if wrong:
            raise CocoFileError(
                [f"{path} is no COCO-format file: {format_value(wrong[0])} among its {key} is no record."]
            )
    if not content["categories"]:
        raise CocoFileError([f"{path} has no categories, so its boxes have no classes."])
    checked: dict[str, Any] = content
    return checked
