"""Whether W&B is online: modes, keys, and servers that answer, refuse, hang or are not there."""

import http.server
import socket
import threading
import time

import pytest

from lightning_modules.runs.wandb_access import wandb_mode, why_unreachable

KEY = "0123456789" * 4


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "NETRC", "http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_the_mode_is_what_is_said_else_what_a_key_or_a_login_allows(monkeypatch, tmp_path):
    assert wandb_mode() == "offline"
    (tmp_path / ".netrc").write_text("machine api.wandb.ai\n  login user\n  password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert wandb_mode() == "online"
    for said, mode in [("disabled", "disabled"), ("dryrun", "offline"), ("run", "online"), ("offline", "offline")]:
        monkeypatch.setenv("WANDB_MODE", said)
        assert wandb_mode() == mode
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert wandb_mode() == "offline"
    monkeypatch.delenv("WANDB_MODE")
    (tmp_path / ".netrc").unlink()
    assert wandb_mode() == "online"


@pytest.mark.parametrize(
    ("said", "meant"), [("ofline", "offline"), ("Online", "online"), ("dissabled", "disabled"), ("x", None)]
)
def test_an_unknown_mode_is_one_sentence_with_the_nearest(monkeypatch, said, meant):
    monkeypatch.setenv("WANDB_MODE", said)
    with pytest.raises(ValueError, match=f"WANDB_MODE is '{said}', but has to be online, offline or disabled") as error:
        wandb_mode()
    assert (f"did you mean '{meant}'?" in str(error.value)) is (meant is not None)


@pytest.mark.parametrize(
    "key", ["abc", KEY[:-1], "local-" + KEY[:39], f"{KEY[:20]} {KEY[20:]}", KEY + "\n", "häß" * 20]
)
def test_what_cannot_be_a_key_is_said_without_showing_it(monkeypatch, key):
    monkeypatch.setenv("WANDB_API_KEY", key)
    with pytest.raises(ValueError, match="WANDB_API_KEY") as error:
        wandb_mode()
    assert key.strip() not in str(error.value)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert wandb_mode() == "offline"


@pytest.mark.parametrize("key", [KEY, "local-" + KEY, KEY * 2, "head.body.signature"])
def test_what_may_be_a_key_is_taken(monkeypatch, key):
    monkeypatch.setenv("WANDB_API_KEY", key)
    assert wandb_mode() == "online"


def asked(timeout_s=0.5):
    started = time.monotonic()
    why = why_unreachable(timeout_s)
    assert time.monotonic() - started < timeout_s + 1
    return why


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers every request with the server's status."""

    def do_GET(self):
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(("status", "reachable"), [(200, True), (404, True), (401, True), (503, False), (407, False)])
def test_whoever_answers_is_there_but_for_a_proxy_without_a_way_out(monkeypatch, status, reachable):
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        server.status = status
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}/")
        why = asked(5.0)
        server.shutdown()
    assert (why is None) is reachable
    assert why is None or str(status) in why


def test_a_closed_port_is_said_at_once(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
    assert "cannot be reached" in asked()


def test_a_server_that_never_answers_costs_the_timeout(monkeypatch):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "did not answer within 0.5 s" in asked()


def test_a_name_that_is_never_resolved_costs_the_timeout(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(5))
    assert "https://api.wandb.ai did not answer" in asked()


def test_an_address_that_is_none_is_no_crash(monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "api.wandb.ai")
    assert "api.wandb.ai" in asked()


def test_an_address_that_is_none_is_named(monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "notaurl")
    with pytest.raises(ValueError, match=r"WANDB_BASE_URL is 'notaurl', but has to be an address such as https://"):
        wandb_mode()
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode() == "disabled"
