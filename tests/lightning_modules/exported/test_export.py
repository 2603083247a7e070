"""Files of the three formats: written, compared, read back and used for prediction."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_modules.command_line.extends import read_settings
from lightning_modules.exported import export as exporting
from lightning_modules.exported.export import export
from lightning_modules.exported.formats import SUFFIXES, ExportError, read_metadata
from lightning_modules.exported.loading import load_trained
from lightning_modules.runs.loading import build_module, load_module
from lightning_modules.supervised_depth import SupervisedDepth
from tests.data.make_odd_networks import Bessel, WideOrNot
from tests.data.make_teachers import save, save_affine_checkpoint, save_instances_checkpoint, save_segmenter_checkpoint

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
FORMATS = list(SUFFIXES)


def with_data(path, **settings):
    content = torch.load(path, weights_only=True)
    content["plumbline"]["data"] = settings
    torch.save(content, path)
    return path


@pytest.fixture
def affine(tmp_path):
    path = tmp_path / "affine.ckpt"
    save_affine_checkpoint(path)
    return with_data(path, image_size=[64, 96], assumed_field_of_view_degrees=50.0)


@pytest.mark.parametrize("format_", FORMATS)
def test_an_exported_file_replaces_its_checkpoint(tmp_path, affine, format_):
    path = tmp_path / "out" / f"net{SUFFIXES[format_]}"
    done = export(affine, path, format_)
    assert done.dynamic
    assert done.difference <= 1e-4
    assert [file.name for file in path.parent.iterdir()] == [path.name]

    metadata = read_metadata(path)
    assert metadata["recipe"]["class_path"] == "lightning_modules.supervised_depth.SupervisedDepth"
    assert (metadata["unit"], metadata["outputs"], metadata["task"]) == ("metres", ["depth"], "depth")
    assert set(metadata["inputs"]) == {"image", "K"}
    assert "RGB in [0, 1]" in metadata["inputs"]["image"]
    assert metadata["commit"]

    module, settings = load_trained(path)
    assert settings == {"image_size": (64, 96), "assumed_field_of_view_degrees": 50.0}
    wanted = load_module(affine)
    image, K = torch.rand(3, 3, 40, 56), torch.eye(3).repeat(3, 1, 1) * torch.tensor([30.0, 40.0, 50.0])[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(module(image, K), wanted(image, K), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(module(image), wanted(image), rtol=1e-5, atol=1e-5)  # the assumed camera
        module.flip_postprocessing = wanted.flip_postprocessing = True
        batch = {"image": image, "K": K}
        torch.testing.assert_close(module.predict_step(batch, 0), wanted.predict_step(batch, 0), rtol=1e-5, atol=1e-5)


def test_exported_instances_are_detected_as_before(tmp_path):
    checkpoint = tmp_path / "instances.ckpt"
    torch.manual_seed(0)
    save_instances_checkpoint(checkpoint)
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["network.head.logits.bias"].fill_(0.5)
    torch.save(content, checkpoint)
    done = export(checkpoint, tmp_path / "net.ts", "torchscript")
    assert done.dynamic
    module, _ = load_trained(done.path)
    wanted = load_module(checkpoint)
    assert module.class_names == ["person", "Fahrrad Ü"]
    image = torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for ours, theirs in zip(wanted(image), module(image), strict=True):
            assert len(ours["scores"]) > 0
            assert ours["labels"].tolist() == theirs["labels"].tolist()
            torch.testing.assert_close(ours["scores"], theirs["scores"], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(ours["boxes"], theirs["boxes"], rtol=1e-3, atol=1e-3)
            assert (ours["masks"] != theirs["masks"]).float().mean() < 1e-3


def odd(tmp_path, network):
    path = tmp_path / "odd.ckpt"
    name = f"tests.data.make_odd_networks.{type(network).__name__}"
    save(path, SupervisedDepth(network), "odd", {"network": {"class_path": name}})
    return with_data(path, image_size=[32, 48])


def test_an_operator_without_a_counterpart_is_named(tmp_path):
    checkpoint = odd(tmp_path, Bessel())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "net.onnx").write_bytes(b"earlier")
    with pytest.raises(ExportError, match=r"operator prims\.bessel_j0 of the network has no counterpart in onnx"):
        export(checkpoint, tmp_path / "out" / "net.onnx", "onnx")
    assert [file.read_bytes() for file in (tmp_path / "out").iterdir()] == [b"earlier"]
    assert export(checkpoint, tmp_path / "out" / "net.pt2", "pt2").dynamic


@pytest.mark.parametrize("format_", ["torchscript", "pt2"])
def test_a_graph_of_one_size_is_said_and_takes_no_other(tmp_path, format_):
    path = tmp_path / f"net{SUFFIXES[format_]}"
    checkpoint = odd(tmp_path, WideOrNot())
    done = export(checkpoint, path, format_)
    assert not done.dynamic
    assert done.note
    module, _ = load_trained(path)
    wide, high = torch.rand(1, 3, 32, 48), torch.rand(1, 3, 48, 32)
    with torch.no_grad():
        torch.testing.assert_close(module(wide), load_module(checkpoint)(wide))
    with pytest.raises(ValueError, match=r"takes images of 32x48 .* alone, but this one is 48x32"):
        module(high)
    with pytest.raises(ValueError, match="one image at a time, but the batch has 2"):
        module(torch.cat([wide, wide]))


def test_a_file_that_differs_from_pytorch_is_not_written(tmp_path, affine, monkeypatch):
    loaded = exporting.runner
    monkeypatch.setattr(exporting, "runner", lambda path: lambda *inputs: (loaded(path)(*inputs)[0] + 0.01,))
    with pytest.raises(ExportError, match=r"differs from PyTorch by .* in 'depth' for an image of 1x3x"):
        export(affine, tmp_path / "out" / "net.ts", "torchscript")
    assert not list((tmp_path / "out").glob("*"))


def test_what_is_no_exported_file_is_one_sentence(tmp_path, affine):
    for suffix in SUFFIXES.values():
        (tmp_path / f"bad{suffix}").write_bytes(b"not a network")
        with pytest.raises(ValueError, match="it is damaged"):
            load_trained(tmp_path / f"bad{suffix}")
    with pytest.raises(FileNotFoundError, match="gone"):
        load_trained(tmp_path / "gone.onnx")
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.rand(1)), str(tmp_path / "foreign.ts"))
    with pytest.raises(ValueError, match=r"foreign.ts' was not exported by this project"):
        load_trained(tmp_path / "foreign.ts")
    extra = {"plumbline.json": json.dumps({"recipe": {"class_path": "os.system", "model": {}}, "dynamic": True})}
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.rand(1)), str(tmp_path / "evil.ts"), _extra_files=extra)
    with pytest.raises(ValueError, match=r"os\.system"):
        load_trained(tmp_path / "evil.ts")
    save_segmenter_checkpoint(tmp_path / "classes.ckpt", n_classes=3)
    with pytest.raises(ValueError, match="a Segmenter cannot be exported"):
        export(tmp_path / "classes.ckpt", tmp_path / "net.ts", "torchscript")


PAPERS = ["resnet_unet", "lite_unet", "gam_depth", "monodepth2", "sc_depth", "render_consistency", "boxinst_depth"]


@pytest.mark.slow
@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", PAPERS)
def test_the_network_of_every_paper_is_exported_with_any_size(tmp_path, name, format_):
    settings = read_settings(EXPERIMENTS / f"{name}.yaml")["model"]
    recipe = {"class_path": settings["class_path"], "model": settings["init_args"]}
    if name == "boxinst_depth":
        recipe["model"]["network"]["init_args"]["n_classes"] = 3
    torch.manual_seed(0)
    module = build_module(recipe, tmp_path)
    checkpoint = tmp_path / "best.ckpt"
    save(checkpoint, module, name, recipe["model"])
    done = export(checkpoint, tmp_path / f"net{SUFFIXES[format_]}", format_)
    assert done.dynamic, done.note
    loaded, _ = load_trained(done.path)
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        found, wanted = loaded(image), module.eval()(image)
    if name != "boxinst_depth":
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-3, atol=1e-4)
