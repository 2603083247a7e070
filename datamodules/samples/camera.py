"""Effects of a camera on the frames of a video: exposure, white balance, motion blur, noise and JPEG.

A real video differs from a rendered one in what the camera does. Its exposure and white balance follow the scene, so
that one surface has other values in every frame; light is summed up while the shutter is open; photons and electronics
add noise; and the file is compressed. All draws are a function of (seed, name of the video, frame), so that a frame is
the same in every clip, epoch and process.

The order is that of a camera, in linear light up to the tone curve: motion blur, gains of exposure and white balance,
noise, tone curve and 8 bits, JPEG.
"""

import math
import zlib
from dataclasses import dataclass, fields

import cv2
import numpy as np
import numpy.typing as npt

CAMERA_STREAM = 3
"""First word of the seed of every draw; separates its random stream from those of order and augmentation."""

TAPS_PER_PX = 1.0
MOST_TAPS = 15

_TOE = 0.04045
_TOE_SLOPE = 12.92


def to_linear(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Return linear light of display values in [0, 1] (the curve of sRGB, IEC 61966-2-1)."""
    x = np.asarray(values, dtype=np.float32)
    return np.where(x <= _TOE, x / _TOE_SLOPE, ((x + 0.055) / 1.055) ** 2.4).astype(np.float32)


def to_display(linear: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Return display values of linear light, both in [0, 1]; the inverse of :func:`to_linear`."""
    x = np.asarray(linear, dtype=np.float32).clip(0, 1)
    return np.where(x <= _TOE / _TOE_SLOPE, x * _TOE_SLOPE, 1.055 * x ** (1 / 2.4) - 0.055).astype(np.float32)


_LINEAR = to_linear(np.arange(256) / np.float32(255))


@dataclass(frozen=True)
class CameraEffects:
    """Magnitudes of the effects; 0 (or None) leaves an effect out.

    Exposure and white balance are series over the frames of a video whose values have a given standard deviation and
    whose changes from one frame to the next have another (an autoregressive process of first order).

    Attributes:
        seed: Non-negative seed of all draws.
        exposure_stops: Standard deviation of the exposure inside of a video, in stops (powers of two).
        exposure_step_stops: Standard deviation of its change from one frame to the next, in stops.
        white_balance_stops: Standard deviation of the gains of red and blue relative to green, in stops.
        white_balance_step_stops: Standard deviation of their change from one frame to the next, in stops.
        shot_noise: Variance of the noise per unit of linear light (white is 1).
        read_noise: Standard deviation of the noise of black, in linear light.
        shutter: Time during which the shutter is open, as a fraction of the time from one frame to the next.
        jpeg_quality: Quality of the compression (libjpeg, colours at half the size), 1 to 100; None does not compress.

    Raises:
        ValueError: If a value is outside of its range.
    """

    seed: int = 0
    exposure_stops: float = 0.0
    exposure_step_stops: float = 0.0
    white_balance_stops: float = 0.0
    white_balance_step_stops: float = 0.0
    shot_noise: float = 0.0
    read_noise: float = 0.0
    shutter: float = 0.0
    jpeg_quality: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "jpeg_quality" and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"camera: {field.name} is {value}, it must not be negative")
        if self.shutter > 1:
            raise ValueError(f"camera: shutter is {self.shutter}, it is a fraction of the frame interval, 0 to 1")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"camera: jpeg_quality is {self.jpeg_quality}, it must lie in [1, 100], or be null")
        for name in ("exposure", "white_balance"):
            spread, step = getattr(self, f"{name}_stops"), getattr(self, f"{name}_step_stops")
            if spread > 0 and not 0 < step <= math.sqrt(2) * spread:
                raise ValueError(
                    f"camera: {name}_step_stops is {step}, but with {name}_stops {spread} it must be above 0 and at "
                    f"most {math.sqrt(2) * spread:.4g}, the change between independent values"
                )
            if spread == 0 and step > 0:
                raise ValueError(f"camera: {name}_step_stops is {step}, but {name}_stops is 0; set both or none")

    @property
    def changes_light(self) -> bool:
        """Whether an effect in linear light is on."""
        gains = self.exposure_stops > 0 or self.white_balance_stops > 0
        return gains or self.shot_noise > 0 or self.read_noise > 0 or self.shutter > 0


def series(n: int, *, spread: float, step: float, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return a stationary series with a given standard deviation of its values and of its changes.

    Args:
        n: Length.
        spread: Standard deviation of the values.
        step: Standard deviation of the changes, at most ``sqrt(2) * spread``.
        generator: Random generator; a longer series begins with the same values.
    """
    draws = generator.standard_normal(n)
    values = np.zeros(n)
    if spread == 0 or n == 0:
        return values
    kept = 1 - step**2 / (2 * spread**2)  # correlation of neighbours
    values[0] = spread * draws[0]
    for k in range(1, n):
        values[k] = kept * values[k - 1] + math.sqrt(1 - kept**2) * spread * draws[k]
    return values


def video_gains(effects: CameraEffects, video: str, n_frames: int) -> npt.NDArray[np.float32]:
    """Return the gains of the colours of every frame of a video, in linear light.

    Args:
        effects: The effects.
        video: Name of the video.
        n_frames: Number of its frames.

    Returns:
        ``(n_frames, 3)``, factors of red, green and blue.
    """
    streams = [np.random.default_rng((CAMERA_STREAM, effects.seed, _key(video), k)) for k in range(3)]
    spread, step = effects.white_balance_stops, effects.white_balance_step_stops
    exposure = series(n_frames, spread=effects.exposure_stops, step=effects.exposure_step_stops, generator=streams[0])
    red, blue = (series(n_frames, spread=spread, step=step, generator=stream) for stream in streams[1:])
    return np.exp2(np.stack([exposure + red, exposure, exposure + blue], axis=1)).astype(np.float32)


def noise_generator(effects: CameraEffects, video: str, frame: int) -> np.random.Generator:
    """Return the generator of the noise of one frame."""
    return np.random.default_rng((CAMERA_STREAM, effects.seed, _key(video), 3, frame))


def expose(
    image: npt.NDArray[np.uint8],
    effects: CameraEffects,
    *,
    gains: npt.NDArray[np.float32],
    motion: npt.NDArray[np.float32] | None,
    generator: np.random.Generator,
) -> npt.NDArray[np.uint8]:
    """Return a frame as the camera would store it.

    Args:
        image: ``(H, W, 3)`` RGB.
        effects: The effects.
        gains: ``(3,)``, factors of the colours in linear light.
        motion: ``(H, W, 2)``, image motion (x, y) to the next frame in pixels; None does not blur.
        generator: Generator of the noise.
    """
    if effects.changes_light:
        light = _LINEAR[image]
        if effects.shutter > 0 and motion is not None:
            light = motion_blur(light, effects.shutter * motion)
        light = light * gains
        if effects.shot_noise > 0 or effects.read_noise > 0:
            variance = effects.shot_noise * light + effects.read_noise**2
            light = light + np.sqrt(variance) * generator.standard_normal(light.shape, dtype=np.float32)
        image = (to_display(light) * 255 + 0.5).astype(np.uint8)
    if effects.jpeg_quality is not None:
        image = compress(image, effects.jpeg_quality)
    return image


def motion_blur(light: npt.NDArray[np.float32], path: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the mean of an image along a straight path through every pixel, which is its middle.

    Args:
        light: ``(H, W, C)`` linear light.
        path: ``(H, W, 2)``, the path (x, y) of every pixel, in pixels. Objects before the pixel that cross it are not
            seen: every pixel is blurred by its own motion.
    """
    height, width = light.shape[:2]
    longest = float(np.hypot(path[..., 0], path[..., 1]).max())
    taps = min(MOST_TAPS, 1 + 2 * math.ceil(TAPS_PER_PX * longest / 2))
    if taps == 1:
        return light
    y, x = np.mgrid[:height, :width].astype(np.float32)
    total = np.zeros_like(light)
    for tap in range(taps):
        part = np.float32((tap + 0.5) / taps - 0.5)
        total += cv2.remap(
            light, x + part * path[..., 0], y + part * path[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    return total / np.float32(taps)


def compress(image: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    """Return an RGB image after compression as JPEG, with colours at half the size."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    _, content = cv2.imencode(".jpg", image[..., ::-1], flags)
    decoded = cv2.imdecode(content, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.ascontiguousarray(decoded[..., ::-1])


def _key(video: str) -> int:
    """Return a number for the name of a video that does not differ between processes, as ``hash`` does."""
    return zlib.crc32(video.encode())
