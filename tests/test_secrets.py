"""What lets others in never reaches a log; what helps to find a mistake does."""

from __future__ import annotations

import pytest

from sweeps.secrets import is_secret_name, redact

CANARY = "cAnArY-0123456789"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "POST https://hooks.slack.com/services/T0/B0/cAnArY-0123456789 gave 500",
            "POST https://hooks.slack.com/*** gave 500",
        ),
        (
            "https://discord.com/api/webhooks/12/cAnArY-0123456789",
            "https://discord.com/api/webhooks/***",
        ),
        ("https://x.webhook.office.com/webhookb2/cAnArY-0123456789/y", None),
        ("postgresql://me:cAnArY-0123456789@db:5432/s", "postgresql://***@db:5432/s"),
        ("https://cAnArY-0123456789@github.com/a/b", "https://***@github.com/a/b"),
        ("s3://b/k?X-Amz-Signature=cAnArY-0123456789&n=1", "s3://b/k?X-Amz-Signature=***&n=1"),
        ("Authorization: Bearer cAnArY-0123456789", "Authorization: Bearer ***"),
        ("hub token hf_cAnArY0123456789 refused", None),
        ("FATAL: password=cAnArY-0123456789 host=db", "FATAL: password=*** host=db"),
        ('{"api_key": "cAnArY-0123456789"}', '{"api_key": "***"}'),
    ],
)
def test_shapes_of_secrets_are_hidden(text: str, told: str | None) -> None:
    found = redact(text, {})
    assert CANARY not in found
    assert CANARY.replace("-", "") not in found
    assert found == told or told is None


def test_secrets_of_the_environment_are_hidden_wherever_they_stand() -> None:
    secrets = {"WANDB_API_KEY": "abcdefgh12", "PGPASSWORD": "abcdefgh", "HF_TOKEN": "short"}
    told = redact("x abcdefgh12 y abcdefgh short", secrets)
    assert told == "x *** y *** short", "the longer one first, and no scrap of a word"


@pytest.mark.parametrize(
    "text",
    [
        "t0003 step 40/40   reward_accuracy 0.731   loss 0.4312   best 0.731 t0003 step 40",
        "data.max_tokens: 1024 is more than the model's 512; lower it",
        "https://example.org/a?page=2 and s3://bucket/runs/first-20260101-120000",
        "tokens: 12, token ids: [1, 2]",
    ],
)
def test_everything_else_stays_as_it_is(text: str) -> None:
    assert redact(text, {"HOME": "/home/somebody", "TOKENIZERS_PARALLELISM": "false-false"}) == text


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("HF_TOKEN", True),
        ("AWS_SECRET_ACCESS_KEY", True),
        ("PGPASSWORD", True),
        ("WANDB_API_KEY", True),
        ("SLACK_WEBHOOK_URL", True),
        ("TOKENIZERS_PARALLELISM", False),
        ("RAY_AUTH_TOKEN_PATH", False),
        ("max_tokens", False),
        ("MONKEY", False),
    ],
)
def test_names_of_secrets(name: str, secret: bool) -> None:
    assert is_secret_name(name) is secret
