"""Pictures and point grids as text, each stored once however many runs share it."""

import base64
import hashlib
import json
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt


class Assets:
    """Texts by a short key that depends on the content, with their total length."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.n_bytes = 0

    def add(self, text: str) -> str:
        """The key of a text, which is stored if it is new."""
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        if key not in self.texts:
            self.texts[key] = text
            self.n_bytes += len(text)
        return key

    def add_json(self, content: Any) -> str:
        """The key of a value in JSON."""
        return self.add(json.dumps(content, separators=(",", ":"), allow_nan=False))

    def add_picture(self, pixels: npt.NDArray[np.uint8], *, quality: int = 82) -> str:
        """The key of a picture ``(H, W, 3)``, RGB, as a WebP data URI.

        Raises:
            ValueError: If the picture cannot be encoded.
        """
        return self.add(picture_uri(pixels, quality=quality))


def picture_uri(pixels: npt.NDArray[np.uint8], *, quality: int) -> str:
    """A picture ``(H, W, 3)``, RGB, as a data URI in WebP of a quality in [1, 100].

    Raises:
        ValueError: If the picture cannot be encoded.
    """
    try:
        done, encoded = cv2.imencode(".webp", pixels[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])
    except cv2.error as error:
        raise ValueError(f"a picture of shape {pixels.shape} cannot be encoded ({error.err})") from None
    if not done:
        raise ValueError(f"a picture of shape {pixels.shape} cannot be encoded")
    return "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode()


def packed(values: npt.NDArray[Any]) -> str:
    """The bytes of an array in base64."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
