"""TorchScript files as depth networks: what they are asked, and what their answers mean."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from networks.torchscript import TorchScriptDepth, is_torchscript

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated")


class Red(nn.Module):
    """The red channel as it arrives, twice."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 2 * image[:, :1]


def save(path, module, size=(8, 12)):
    torch.jit.trace(module, torch.rand(2, 3, *size), check_trace=False, strict=False).save(str(path))
    return path


def images(count=2, height=8, width=12):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1)) + 0.5


def test_images_are_normalised_and_the_answer_is_in_metres(tmp_path):
    network = TorchScriptDepth(save(tmp_path / "red.ts", Red()), mean=(0.1, 0, 0), std=(0.5, 1, 1), units_per_metre=4)
    assert not network.relative
    torch.testing.assert_close(network(images()), 2 * (images()[:, :1] - 0.1) / 0.5 / 4)


def test_inverse_depth_is_inverted(tmp_path):
    path = save(tmp_path / "red.ts", Red())
    metric = TorchScriptDepth(path, units_per_metre=3.0, inverse=True)
    torch.testing.assert_close(metric(images()), 3 / (2 * images()[:, :1]))
    relative = TorchScriptDepth(path, inverse=True)
    values = images()[:, :1]
    torch.testing.assert_close(relative(images()), values.amax(dim=(1, 2, 3), keepdim=True) / values)
    assert relative.relative
    common = TorchScriptDepth(path, inverse=True, common_unit=True)
    torch.testing.assert_close(common(images()), 1 / (2 * values))


def test_the_network_sees_the_size_asked_for_and_its_answer_spans_the_image(tmp_path):
    path = save(tmp_path / "red.ts", Red(), (4, 6))
    depth = TorchScriptDepth(path, input_size=(4, 6), units_per_metre=1)(images())
    small = F.interpolate(images()[:, :1], size=(4, 6), mode="bilinear", align_corners=False, antialias=True)
    torch.testing.assert_close(depth, F.interpolate(2 * small, size=(8, 12), mode="bilinear", align_corners=False))


class Flat(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image[:, 0]


class Pair(nn.Module):
    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return image.mean(dim=(1, 2, 3)), image[:, :1]


class Named(nn.Module):
    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"depth": image[:, :1], "features": image}


@pytest.mark.parametrize("kind", [Flat, Pair, Named])
def test_one_map_is_found_alone_or_among_others(tmp_path, kind):
    network = TorchScriptDepth(save(tmp_path / "x.ts", kind()), units_per_metre=1)
    torch.testing.assert_close(network(images()), images()[:, :1])


class Classes(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([image, image], dim=1)


class Two(nn.Module):
    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return image[:, :1], image[:, 1:2]


class Nothing(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 0 * image[:, :1] / 0


class Negative(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return -image[:, :1]


class Whole(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image[:, :1].long()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Classes, r"no map of depth: .*\(B, 1, h, w\) or \(B, h, w\).* it gives \(2, 6, 8, 12\) torch.float32"),
        (Two, "2 maps, of which one cannot be chosen, of depth: .*it gives 0 .*, 1 "),
        (Whole, "no map of depth: .*torch.int64"),
        (Nothing, "gives NaN everywhere in an image, so its output is no depth"),
        (Negative, "gives no positive value everywhere in an image"),
    ],
)
def test_answers_that_are_no_depth_are_named(tmp_path, kind, said):
    network = TorchScriptDepth(save(tmp_path / "x.ts", kind()), units_per_metre=1)
    with pytest.raises(ValueError, match=said) as caught:
        network(images())
    assert "x.ts" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_few_pixels_of_nan_are_unknown(tmp_path):
    class Hole(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.where(image[:, :1] > 1, image[:, :1], torch.full_like(image[:, :1], float("nan")))

    depth = TorchScriptDepth(save(tmp_path / "x.ts", Hole()), units_per_metre=1)(images())
    torch.testing.assert_close(depth, torch.where(images()[:, :1] > 1, images()[:, :1], 0.0))


def test_a_network_that_cannot_take_the_size_says_so(tmp_path):
    class Fixed(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image[:, :1] + torch.ones(8, 12)

    network = TorchScriptDepth(save(tmp_path / "x.ts", Fixed()), units_per_metre=1)
    with pytest.raises(ValueError, match=r"cannot take images of 10x14 \(height x width; --input-size H W\): "):
        network(images(2, 10, 14))


def test_files_that_are_no_torchscript_are_told_without_running_them(tmp_path):
    path = save(tmp_path / "red.ts", Red())
    assert is_torchscript(path)
    torch.save(Red().state_dict(), tmp_path / "weights.pt")
    (tmp_path / "torn.ts").write_bytes(path.read_bytes()[:700])
    for name in ("weights.pt", "torn.ts", "none.ts"):
        assert not is_torchscript(tmp_path / name)
    with pytest.raises(ValueError, match=r"torn.ts' is no TorchScript file, or it is damaged"):
        TorchScriptDepth(tmp_path / "torn.ts")


@pytest.mark.parametrize(
    "settings",
    [
        {"std": (0.0, 1, 1)},
        {"mean": (float("nan"), 0, 0)},
        {"mean": (1, 2)},
        {"input_size": (0, 4)},
        {"units_per_metre": 0},
    ],
)
def test_settings_out_of_range_are_refused(tmp_path, settings):
    with pytest.raises(ValueError, match=r"must be|are needed|is needed"):
        TorchScriptDepth(save(tmp_path / "red.ts", Red()), **settings)
