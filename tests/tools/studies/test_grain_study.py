"""The study of fine ripple: waves of known length and origin, a table on written frames, and wrong calls."""

import cv2
import numpy as np
import pytest
import torch

from metrics.grain import flat_windows
from tests.data.make_manifest_data import write_rows
from tests.data.make_teachers import save_depth_checkpoint
from tools.studies.grain_study import BANDS, ROOMS, Spectrum, detrended, main

H, W = 48, 64


def plane() -> torch.Tensor:
    """A slanted plane, metres, ``(1, 1, H, W)``."""
    x, y = torch.arange(W).double().view(1, W), torch.arange(H).double().view(H, 1)
    return (1 / (0.4 + 0.002 * x + 0.001 * y))[None, None]


def wave(length: float) -> torch.Tensor:
    """A wave along the rows."""
    return torch.sin(2 * torch.pi * torch.arange(W) / length + 0.7).expand(H, W).double()[None, None]


def spectrum(depth: torch.Tensor, image: torch.Tensor) -> Spectrum:
    flat = flat_windows(plane(), torch.ones(1, 1, H, W, dtype=torch.bool), window=9)
    result = Spectrum()
    result.add(depth, image, flat)
    return result


def test_patches_lose_their_plane_and_nothing_else():
    wavy = 1 / plane() + 0.01 * wave(4)
    patches = detrended(wavy, 16)
    assert patches.shape == (1, 5 * 7, 16, 16)
    assert float(detrended(1 / plane(), 16).abs().max()) < 1e-12
    assert float(patches.std()) == pytest.approx(0.01 / 2**0.5, rel=0.05)


@pytest.mark.parametrize(("length", "band"), [(2.3, 0), (4.0, 1), (6.4, 2), (14.0, 3)])
def test_a_wave_has_its_power_in_its_band(length, band):
    shares = spectrum(plane() / (1 + 0.02 * wave(length)), torch.rand(1, 3, H, W)).shares()
    assert len(shares) == len(BANDS)
    assert sum(shares) == pytest.approx(1)
    assert shares[band] > 0.7


def test_ripple_that_follows_brightness_is_explained_by_it():
    generator = torch.Generator().manual_seed(0)
    noise, other = (torch.randn(1, 1, H, W, generator=generator) for _ in range(2))
    depth = plane() / (1 + 0.02 * noise)
    for image, low, high in ((0.5 + 0.1 * noise, 0.99, 1.0), (0.5 + 0.1 * other, 0.0, 0.05)):
        result = spectrum(depth, image.expand(1, 3, H, W))
        assert low <= result.explained / result.total <= high


def image_of(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (H, W, 3)).astype(np.uint8)


@pytest.fixture
def frames(tmp_path):
    """A manifest of two test frames of a slanted plane."""
    for index in range(2):
        cv2.imwrite(str(tmp_path / f"{index}.jpg"), image_of(index))
        cv2.imwrite(str(tmp_path / f"{index}.png"), (1000 * plane()[0, 0].numpy()).round().astype(np.uint16))
    rows = [
        {"image": f"{index}.jpg", "depth": f"{index}.png", "split": "test", "depth_scale": 1000, "fx": 60, "fy": 60}
        | {"cx": W / 2, "cy": H / 2}
        for index in range(2)
    ]
    write_rows(tmp_path / "frames.csv", rows)
    return ["--data", str(ROOMS.with_name("manifest.yaml")), f"--data.init_args.root={tmp_path / 'frames.csv'}",
            f"--data.init_args.image_size=[{H},{W}]"]  # fmt: skip


def test_the_table_of_a_constant_has_no_grain_and_that_of_the_sensor_has_some(frames, tmp_path, capsys):
    save_depth_checkpoint(tmp_path / "two.ckpt", depth_m=2.0)
    assert main(["--checkpoints", str(tmp_path / "two.ckpt"), *frames]) == 0
    table = [line[1:-1].split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len({len(row) for row in table}) == 1
    values = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in table[1:]}
    assert next(iter(values)) == "as it is"
    assert list(values)[-1] == "ground truth"
    assert values["as it is"][1:4] == ["0.00"] * 3
    assert values["ground truth"][0] == "0.000"
    # Rounding to millimetres has a standard deviation of 0.29 mm, at a median depth of about 2 m.
    assert 0.005 <= float(values["ground truth"][3]) <= 0.03
    assert float(values["ground truth"][4]) < 1.0
    assert float(values["as it is"][0]) == pytest.approx((2 / plane() - 1).abs().mean().item(), abs=2e-3)


def test_what_is_no_depth_paper_or_missing_is_one_sentence(frames, tmp_path, capsys):
    assert main(["--checkpoints", str(tmp_path / "nothing.ckpt"), *frames]) == 1
    assert "nothing.ckpt' does not exist" in capsys.readouterr().err
