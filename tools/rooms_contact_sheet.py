"""Draw a contact sheet of the embedded data set: ``python -m tools.rooms_contact_sheet --out docs/rooms.png``.

Rows: images, depth, instances, flags of a few stills, then frames of video clips.
"""

from __future__ import annotations

from collections.abc import Sequence as Rows
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from datamodules.rooms.arrays import CAMOUFLAGED, GLOSSY, PLAIN, THIN
from datamodules.rooms.frame import render_sequence
from datamodules.rooms.settings import RoomsSettings, plan
from tools.command import plain_parser

Picture = npt.NDArray[np.uint8]

#: Size of a cell, and the depth at the far end of the colour map in metres.
_CELL_WIDTH, _CELL_HEIGHT, _FAR_M = 192, 144, 7.0

#: Grey levels are rounded to this step, which keeps the PNG small; it is not visible under the sensor noise.
_STEP = 4


def color_depth(depth: npt.NDArray[np.float32]) -> Picture:
    """Colour (H, W) metres from near (bright) to far (dark), uint8 RGB."""
    level = np.clip(1.0 - depth / _FAR_M, 0.0, 1.0)
    return np.asarray(cv2.applyColorMap((level * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1], np.uint8)


def color_instances(instance: npt.NDArray[np.uint16]) -> Picture:
    """One random colour for each instance id, grey for stuff, uint8 RGB."""
    colors = np.random.default_rng(5).integers(60, 256, (int(instance.max()) + 1, 3)).astype(np.uint8)
    colors[0] = 40
    return colors[instance]


def color_flags(flags: npt.NDArray[np.uint8]) -> Picture:
    """Flags as colours, uint8 RGB: textureless grey, textured white, thin red, glossy blue, camouflaged green."""
    picture = np.full((*flags.shape, 3), 235, np.uint8)
    for bit, color in (
        (PLAIN, (110, 110, 115)),
        (GLOSSY, (70, 120, 230)),
        (CAMOUFLAGED, (60, 180, 80)),
        (THIN, (220, 50, 50)),
    ):
        picture[(flags & bit) > 0] = color
    return picture


def _cell(picture: Picture, *, smooth: bool) -> Picture:
    method = cv2.INTER_AREA if smooth else cv2.INTER_NEAREST
    small = cv2.resize(picture, (_CELL_WIDTH, _CELL_HEIGHT), interpolation=method).astype(np.int32)
    small = np.clip((small + _STEP // 2) // _STEP * _STEP, 0, 255).astype(np.uint8)
    framed: Picture = np.pad(small, ((2, 2), (2, 2), (0, 0)), constant_values=255)
    return framed


def contact_sheet(settings: RoomsSettings, stills: Rows[int], clips: Rows[int]) -> Picture:
    """Draw the sheet.

    Args:
        settings: Settings of the data set.
        stills: Positions among the stills of the plan, one column each.
        clips: Positions among the videos of the plan, one row each.

    Returns:
        uint8 RGB picture.
    """
    sequences = plan(settings)
    columns = []
    for sequence in [[s for s in sequences if s.part == "still"][index] for index in stills]:
        frames = render_sequence(settings, sequence)
        pictures = (
            (frames["image"][0], True),
            (color_depth(frames["depth"][0].astype(np.float32)), True),
            (color_instances(frames["instance"][0].astype(np.uint16)), False),
            (color_flags(frames["flags"][0].astype(np.uint8)), False),
        )
        columns.append(np.concatenate([_cell(picture, smooth=smooth) for picture, smooth in pictures]))
    rows = [np.concatenate(columns, axis=1)]
    for sequence in [[s for s in sequences if s.part == "video"][index] for index in clips]:
        images = render_sequence(settings, sequence)["image"]
        chosen = np.linspace(0, len(images) - 1, len(stills)).round().astype(int)
        rows.append(np.concatenate([_cell(images[index], smooth=True) for index in chosen], axis=1))
    return np.concatenate(rows)


def main(args: Rows[str] | None = None) -> None:
    """Write the contact sheet of the default settings."""
    parser = plain_parser("tools.rooms_contact_sheet", "Draw a contact sheet of the embedded data set rooms.")
    parser.add_argument("--out", type=Path, default=Path("docs/rooms.png"), help="PNG file to write")
    parser.add_argument("--stills", type=int, nargs="+", default=[2, 5, 17, 21, 23, 13], help="positions of the stills")
    parser.add_argument("--clips", type=int, nargs="+", default=[0, 4], help="positions of the video clips")
    options = parser.parse_args(args)
    sheet = contact_sheet(RoomsSettings(), options.stills, options.clips)
    done, data = cv2.imencode(".png", sheet[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise RuntimeError("rooms: the contact sheet could not be encoded as PNG")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(data.tobytes())


if __name__ == "__main__":
    main()
