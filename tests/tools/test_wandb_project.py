"""Projects of W&B, and the reason why W&B cannot be used."""

import argparse

import pytest

from tools import wandb_project
from tools.wandb_project import NO_LOGIN, project, why_offline


@pytest.mark.parametrize(
    "text", ["", "plumbline", "a/b/c", "/b", "a/", "a b/c", "https://wandb.ai/a/b", "a/" + 129 * "x", "a/b?"]
)
def test_anything_but_entity_and_project_is_refused_in_one_sentence(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is no project of W&B: entity/project is needed") as error:
        project(text)
    assert "\n" not in str(error.value)


def test_a_project_prints_as_it_is_given():
    assert str(project("my-team/plumb.line_2")) == "my-team/plumb.line_2"


def test_reasons(monkeypatch):
    assert why_offline() == "WANDB_MODE is offline"
    monkeypatch.setenv("WANDB_MODE", "dryrun")  # another name of it
    assert why_offline() == "WANDB_MODE is offline"
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", "missing")
    assert why_offline() == NO_LOGIN
    monkeypatch.setenv("WANDB_API_KEY", 40 * "a")
    monkeypatch.setattr(wandb_project, "why_unreachable", lambda: "the server sleeps")
    assert why_offline() == "the server sleeps"
    monkeypatch.setattr(wandb_project, "why_unreachable", lambda: None)
    assert why_offline() is None
    monkeypatch.setenv("WANDB_MODE", "on")
    with pytest.raises(ValueError, match="WANDB_MODE"):
        why_offline()
