"""Mode of W&B for a run: from the environment, the form of the key, and whether the server answers."""

import difflib
import netrc
import os
import re
import threading
import urllib.error
import urllib.request
from typing import Literal

PROBE_S = 2.0
"""Longest time to wait for the server before a run is logged offline, seconds."""
DEFAULT_SERVER = "https://api.wandb.ai"

Mode = Literal["online", "offline", "disabled"]

_MODES: dict[str, Mode] = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}
_MIN_KEY_LENGTH = 40


def wandb_mode() -> Mode:
    """Mode of W&B: ``WANDB_MODE``, else online if there is a key or a login, else offline.

    Raises:
        ValueError: If ``WANDB_MODE`` is not a mode of W&B, ``WANDB_BASE_URL`` not an address, or the mode is online and
            ``WANDB_API_KEY`` cannot be a key.
    """
    wanted = os.environ.get("WANDB_MODE", "")
    if wanted and wanted not in _MODES:
        near = difflib.get_close_matches(wanted.lower(), _MODES, n=1)
        raise ValueError(
            f"WANDB_MODE is {wanted!r}, but has to be online, offline or disabled"
            + (f": did you mean '{near[0]}'?" if near else "")
        )
    key = os.environ.get("WANDB_API_KEY", "")
    mode = _MODES[wanted] if wanted else "online" if key or _has_login() else "offline"
    server = os.environ.get("WANDB_BASE_URL", "")
    if server and mode != "disabled" and not re.match(r"https?://\w", server):
        raise ValueError(f"WANDB_BASE_URL is {server!r}, but has to be an address such as {DEFAULT_SERVER}")
    if mode == "online" and key:
        _check_key(key)
    return mode


def why_unreachable(timeout_s: float = PROBE_S) -> str | None:
    """The reason why the W&B server does not answer, or None if it does.

    Args:
        timeout_s: Longest wait in seconds, including name resolution and dropped packets.

    Returns:
        None if it answers, with any content; else the reason.
    """
    server = os.environ.get("WANDB_BASE_URL", "") or DEFAULT_SERVER
    answer = [f"{server} did not answer within {timeout_s:g} s"]

    def probe() -> None:
        try:
            with urllib.request.urlopen(f"{server.rstrip('/')}/healthz", timeout=timeout_s):
                answer.clear()
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 407:  # not from a proxy without access
                answer.clear()
            else:
                answer[0] = f"{server} answers {error.code}"
        except TimeoutError:
            pass
        except Exception as error:  # no error of network or address may stop a run
            reason = getattr(error, "reason", error)
            if not isinstance(reason, TimeoutError):
                answer[0] = f"{server} cannot be reached ({reason})"

    # Resolving a name may block for longer than the timeout of the socket.
    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return answer[0] if answer else None


def _has_login() -> bool:
    try:
        logins = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return any("wandb" in host for host in logins)


def _check_key(key: str) -> None:
    """Refuse a text that cannot be a key, without printing it.

    Raises:
        ValueError: If it is too short for a key of W&B or has characters that keys do not have.
    """
    if re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", key):  # a token that W&B makes for its own jobs
        return
    secret = key.split("-", 1)[-1]  # keys of self-hosted servers have a prefix and a dash
    if not re.fullmatch(r"[\w-]*", secret, flags=re.ASCII):
        what = "holds characters that no key of W&B has"
    elif len(secret) < _MIN_KEY_LENGTH:
        what = f"has {len(secret)} characters, but a key of W&B has at least {_MIN_KEY_LENGTH}"
    else:
        return
    raise ValueError(
        f"WANDB_API_KEY {what}: copy it anew from the W&B settings, or set WANDB_MODE=offline to train without it"
    )
