"""Pictures of a run in W&B, with captions that a run which is interrupted keeps."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger

_CAPTIONS = Path("wandb", "captions.jsonl")


def log_pictures(logger: WandbLogger, key: str, pictures: Sequence[Any], captions: Sequence[str], *, step: int) -> None:
    """Log pictures of a step under a key, so that W&B shows them with a slider over steps.

    Args:
        logger: The W&B logger; its folder gets the captions, too.
        key: Name in W&B, with the stage.
        pictures: uint8 ``(H, W, 3)``, RGB.
        captions: One each.
        step: Step of the scores of the same weights.
    """
    if logger.save_dir is not None:
        path = Path(logger.save_dir) / _CAPTIONS
        with contextlib.suppress(OSError):  # no caption is worth a training
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write(json.dumps({"key": key, "step": step, "captions": list(captions)}) + "\n")
    logger.log_image(key=key, images=list(pictures), step=step, caption=list(captions))


def read_captions(run_dir: Path) -> dict[tuple[str, int], list[str]]:
    """Captions of a run's pictures by key and step, the last ones of a step that was repeated; lines may be damaged."""
    found: dict[tuple[str, int], list[str]] = {}
    try:
        lines = (run_dir / _CAPTIONS).read_text(errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        try:
            entry = json.loads(line)
            found[str(entry["key"]), int(entry["step"])] = [str(caption) for caption in entry["captions"]]
        except (ValueError, KeyError, TypeError):  # torn by a kill
            continue
    return found
