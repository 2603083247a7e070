"""Hugging Face networks against their own processors' results, on tiny random models."""

import importlib

import numpy as np
import pytest
import torch

from geometry.written_depth import depth_from_inverse
from networks.huggingface import HuggingFaceDepth, HuggingFaceSegmenter
from tests.data.make_huggingface import make_depth_anything, make_segformer

try:
    import transformers
except ImportError:
    transformers = None

needs_transformers = pytest.mark.skipif(transformers is None, reason="the optional package transformers is missing")


def make_pixels(height=48, width=80, batch=2):
    return np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)


def as_image(pixels):
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def segformer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segformer")
    make_segformer(folder)
    return folder


@pytest.fixture(scope="module")
def depth_anything(tmp_path_factory):
    folder = tmp_path_factory.mktemp("depth_anything")
    make_depth_anything(folder)
    return folder


@needs_transformers
def test_classes_are_those_of_the_processors_own_way_shifted_by_one(segformer):
    pixels = make_pixels()
    processor = transformers.AutoImageProcessor.from_pretrained(segformer)
    network = transformers.AutoModelForSemanticSegmentation.from_pretrained(segformer, dtype=torch.float32).eval()
    with torch.no_grad():
        outputs = network(**processor(images=list(pixels), return_tensors="pt"))
        expected = torch.stack(processor.post_process_semantic_segmentation(outputs, target_sizes=[(48, 80)] * 2))
        labels = HuggingFaceSegmenter(str(segformer))(as_image(pixels))
    assert labels.dtype == torch.int64
    assert labels.shape == (2, 48, 80)
    assert len(labels.unique()) > 1
    # rescaling before or after resizing rounds differently, which may turn a tie
    assert (labels == expected + 1).float().mean() > 0.995


@needs_transformers
def test_class_names_are_shifted_with_the_ids(segformer):
    assert HuggingFaceSegmenter(str(segformer)).class_names == {i + 1: f"label {i}" for i in range(5)}


@needs_transformers
def test_an_image_is_never_cropped(segformer, tmp_path):
    make_segformer(tmp_path)
    cropping = transformers.MobileNetV2ImageProcessor(
        size={"shortest_edge": 64}, do_center_crop=True, crop_size={"height": 32, "width": 32}
    )
    cropping.save_pretrained(tmp_path)
    segmenter = HuggingFaceSegmenter(str(tmp_path))
    assert segmenter.processor.do_center_crop
    seen = []
    segmenter.network.register_forward_pre_hook(lambda _m, _a, kw: seen.append(kw["pixel_values"]), with_kwargs=True)
    with torch.no_grad():
        assert segmenter(as_image(make_pixels(48, 96))).shape == (2, 48, 96)
    assert seen[0].shape[-2:] == (64, 128)


@needs_transformers
def test_relative_depth_is_the_inverse_of_the_networks_output(depth_anything):
    pixels = make_pixels(56, 70)
    processor = transformers.AutoImageProcessor.from_pretrained(depth_anything)
    network = transformers.AutoModelForDepthEstimation.from_pretrained(depth_anything, dtype=torch.float32).eval()
    wrapped = HuggingFaceDepth(str(depth_anything))
    assert wrapped.inverse
    seen = []
    wrapped.network.register_forward_pre_hook(lambda _m, _a, kw: seen.append(kw["pixel_values"]), with_kwargs=True)
    with torch.no_grad():
        inputs = processor(images=list(pixels), return_tensors="pt")
        raw = network(**inputs).predicted_depth
        raw = torch.nn.functional.interpolate(raw[:, None], (56, 70), mode="bicubic", align_corners=False)
        depth = wrapped(as_image(pixels))
        plain = HuggingFaceDepth(str(depth_anything), inverse=False)(as_image(pixels))
    assert raw.min() > 0
    # resizing bytes rounds and cuts off what overshoots
    assert (seen[0] - inputs["pixel_values"]).abs().mean() < 0.01
    torch.testing.assert_close(plain, raw, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(depth, plain.amax(dim=(1, 2, 3), keepdim=True) / plain)


@needs_transformers
def test_metric_depth_is_taken_as_it_is(tmp_path):
    make_depth_anything(tmp_path, estimation="metric")
    network = HuggingFaceDepth(str(tmp_path))
    assert not network.inverse
    with torch.no_grad():
        depth = network(as_image(make_pixels()))
    assert depth.shape == (2, 1, 48, 80)
    assert 0 < depth.min() < depth.max() < 10


def test_inverse_depth_has_a_floor_and_no_depth_without_a_value():
    inverse = torch.tensor([[4.0, 2.0, 0.004, 0.0], [0.0, 0.0, 0.0, 0.0]]).view(2, 1, 1, 4)
    expected = torch.tensor([[1.0, 2.0, 1000.0, 1000.0], [0.0, 0.0, 0.0, 0.0]]).view(2, 1, 1, 4)
    torch.testing.assert_close(depth_from_inverse(inverse), expected)


@needs_transformers
def test_weights_are_frozen(segformer):
    network = HuggingFaceSegmenter(str(segformer))
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not network.network.training


@needs_transformers
def test_sources_that_do_not_fit_are_named(segformer, tmp_path):
    with pytest.raises(ValueError, match="AutoModelForDepthEstimation can load: Unrecognized"):
        HuggingFaceDepth(str(segformer))
    with pytest.raises(ValueError, match="'some/where' has to be a folder or the id of a model"):
        HuggingFaceSegmenter("some/where")
    with pytest.raises(ValueError, match="has to be a folder"):
        HuggingFaceSegmenter(str(tmp_path))
    make_segformer(tmp_path, headless=True)
    with pytest.raises(ValueError, match=r"lacks \d+ weights of a Segformer\w+, such as decode_head"):
        HuggingFaceSegmenter(str(tmp_path))


@needs_transformers
def test_wrong_shapes_are_named(segformer):
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\), got \(1, 1, 8, 8\)"):
        HuggingFaceSegmenter(str(segformer))(torch.zeros(1, 1, 8, 8))


def test_a_missing_package_is_named(monkeypatch):
    def refuse(name, *args):
        if name == "transformers":
            raise ModuleNotFoundError(name)
        return importlib.__import__(name, *args)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(ImportError, match=r"need the package transformers: pip install 'plumbline\[teacher\]'"):
        HuggingFaceSegmenter("some/where")
