"""Secrets do not reach the record of a run."""

import pytest

from lightning_modules.command_line.secret_values import check_secrets

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"data": {"root": "https://me:pass@host/x"}}, "data.root holds a password in an address, but settings are"),
        ({"data": ["s3://b/x?X-Amz-Signature=0a1b"]}, r"data\[0\] holds a token in an address"),
        ({"data": "https://host/x?a=1&token=abc"}, "data holds a token in an address"),
        ({"source": "hf_" + "a" * 34}, "source holds an access key"),
        ({"logger": {"api_key": "x"}}, "logger.api_key holds a secret"),
        ({"tags": [f"key={KEY}"]}, r"tags\[0\] holds the value of the environment variable WANDB_API_KEY"),
    ],
)
def test_secrets_are_refused_and_not_printed(settings, sentence, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with pytest.raises(ValueError, match=f"^{sentence}") as refused:
        check_secrets(settings)
    message = str(refused.value)
    assert "Give it in the environment" in message
    assert not [secret for secret in ("pass@", "0a1b", "abc", KEY, "hf_a") if secret in message]


def test_plain_settings_pass(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    check_secrets(
        {"root": "https://host:8080/a@b?size=3", "api_key": None, "content_key": "x", "tokens": 5, "lr": 1e-3}
    )
