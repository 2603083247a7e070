"""Refuses passwords and keys in settings, since settings are copied into records, logs and checkpoints."""

import os
import re
from collections.abc import Mapping
from typing import Any

from jsonargparse import Namespace

_SETTING = re.compile(r"(?:^|_)(?:api_?key|access_?key|password|passwd|secret|token)$", flags=re.IGNORECASE)
"""Last part of the key of a setting that is a secret."""

_TEXT = re.compile(
    r"""
    (?P<login>\w+://[^/\s:@]*:[^/\s@]+@)                                    # scheme://user:password@host
    | (?P<query>[?&](?:[\w-]*(?:token|key|signature|secret|password)|sig)=[^&\s]+)   # ?token=..., ?X-Amz-Signature=...
    | (?P<key>\b(?:hf_\w{20,}|gh[pousr]_\w{20,}|AKIA[0-9A-Z]{16}|wandb_v\d_\w{20,}|sk-[\w-]{20,}))
    """,
    flags=re.IGNORECASE | re.VERBOSE,
)
_WHAT = {"login": "a password in an address", "query": "a token in an address", "key": "an access key"}
_OF_ENVIRONMENT = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)$")
_SHORTEST = 16
"""Shorter values of the environment are not searched for: they occur by chance."""

HOW = (
    "settings are copied into config.yaml, W&B and checkpoints. Give it in the environment (WANDB_API_KEY, HF_TOKEN, "
    "AWS_SECRET_ACCESS_KEY) or in ~/.netrc"
)


def check_secrets(config: Any, key: str = "") -> None:
    """Make sure that no setting holds a password or a key; the message does not show it.

    Args:
        config: A namespace, mapping, list or plain value.
        key: Its dotted key, for the message.

    Raises:
        ValueError: If a text looks like a secret, is one of the environment, or is the value of a setting such as
            ``api_key``.
    """
    secrets = {
        name: value
        for name, value in os.environ.items()
        if _OF_ENVIRONMENT.search(name) and len(value) >= _SHORTEST and os.sep not in value
    }
    _check(config, key, secrets)


def _check(value: Any, key: str, secrets: Mapping[str, str]) -> None:
    value = vars(value) if isinstance(value, Namespace) else value
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check(name, key, secrets)
            _check(inner, f"{key}.{name}".removeprefix("."), secrets)
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            _check(inner, f"{key}[{position}]", secrets)
    elif isinstance(value, str):
        found = _TEXT.search(value)
        what = _WHAT[str(found.lastgroup)] if found is not None else None
        if what is None:
            name = next((name for name, secret in secrets.items() if secret in value), None)
            what = None if name is None else f"the value of the environment variable {name}"
        if what is None and value and _SETTING.search(key.rpartition(".")[2]):
            what = "a secret"
        if what is not None:
            raise ValueError(f"{key or 'a setting'} holds {what}, but {HOW}")
