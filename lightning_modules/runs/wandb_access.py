"""Whether W&B is online for a run: what the environment asks for, whether its key can be one, who answers."""

import difflib
import netrc
import os
import re
import threading
import urllib.error
import urllib.request
from typing import Literal

PROBE_S = 2.0
"""Longest time that a run waits to hear from the server before it goes offline, seconds."""
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
    """W&B mode: what ``WANDB_MODE`` says, else online if a key or a login is there, else offline.

    Raises:
        ValueError: If ``WANDB_MODE`` is no mode of W&B, ``WANDB_BASE_URL`` no address, or the run is to be online and
            ``WANDB_API_KEY`` is no key.
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
    """Why the W&B server does not answer.

    Args:
        timeout_s: Longest wait in seconds, for a name that is not resolved and a packet that is swallowed as well.

    Returns:
        None if it answers, whatever it says; else the reason.
    """
    server = os.environ.get("WANDB_BASE_URL", "") or DEFAULT_SERVER
    answer = [f"{server} did not answer within {timeout_s:g} s"]

    def ask() -> None:
        try:
            with urllib.request.urlopen(f"{server.rstrip('/')}/healthz", timeout=timeout_s):
                answer.clear()
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 407:  # not from a proxy that has no way out
                answer.clear()
            else:
                answer[0] = f"{server} answers {error.code}"
        except TimeoutError:
            pass
        except Exception as error:  # whatever is wrong with the network or the address, the run goes on without it
            reason = getattr(error, "reason", error)
            if not isinstance(reason, TimeoutError):
                answer[0] = f"{server} cannot be reached ({reason})"

    # A name that cannot be resolved blocks for longer than any timeout of a socket.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(timeout_s)
    return answer[0] if answer else None


def _has_login() -> bool:
    try:
        logins = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return any("wandb" in host for host in logins)


def _check_key(key: str) -> None:
    """Refuse what cannot be a key, without showing it.

    Raises:
        ValueError: If it is shorter than any key of W&B or has characters that none has.
    """
    if re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", key):  # a token that W&B makes for its own jobs
        return
    secret = key.split("-", 1)[-1]  # a server of one's own puts a prefix before a dash
    if not re.fullmatch(r"[\w-]*", secret, flags=re.ASCII):
        what = "holds characters that no key of W&B has"
    elif len(secret) < _MIN_KEY_LENGTH:
        what = f"has {len(secret)} characters, but a key of W&B has at least {_MIN_KEY_LENGTH}"
    else:
        return
    raise ValueError(
        f"WANDB_API_KEY {what}: copy it anew from the W&B settings, or set WANDB_MODE=offline to train without it"
    )
