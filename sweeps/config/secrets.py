"""Secrets come from the environment or from a file that it names, and show up nowhere else.

`read_secret("DPO_SWEEPS_WEBHOOK")` is the way in; `redact` is what every text passes that may carry
what somebody else wrote (an exception, a URL) on its way to a log, a ledger or a report.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from dpo_core.errors import SettingsError

HIDDEN = "***"
# Names under which environments keep what must not be told: HF_TOKEN, AWS_SECRET_ACCESS_KEY, …
_SECRET_NAME = re.compile(
    r"(TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIAL|WEBHOOK|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY)"
    r"S?(_|$)",
    re.IGNORECASE,
)
_NO_SECRETS = re.compile(r"_(FILE|PATH|DIR|MODE|URL|HOST|PARALLELISM)$", re.IGNORECASE)
_PASSWORD_NAMES = re.compile(r"^(PGPASSWORD|MYSQL_PWD|REDISCLI_AUTH)$")
# Shorter values would be found in ordinary words; nobody's secret is that short.
_SHORTEST = 8
# What stands before a secret, and stays; then the secret.
_SHAPES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(https?://hooks\.[^\s/'\"<>]+/)[^\s'\"<>)]+",  # a webhook's path is its password
        r"(https?://[^\s'\"<>]*?/(?:[\w-]*webhooks?\w*)/)[^\s'\"<>)]+",
        r"(\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}",
        r"(\b(?:hf_|sk-|gh[pousr]_|glpat-|xox[a-z]-|akia))[\w-]{8,}",
        r"((?:password|passwd|secret|token|api_?key)['\"]?\s*[=:]\s*['\"]?)[^\s'\",;&)]+",
    )
]
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>\\`]+", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether an environment variable of that name holds what must not be told."""
    if _PASSWORD_NAMES.match(name):
        return True
    is_webhook = "WEBHOOK" in name.upper()  # the whole URL is the secret
    return bool(_SECRET_NAME.search(name)) and (is_webhook or not _NO_SECRETS.search(name))


def read_secret(name: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """The variable `name`, or the content of the file that `name`_FILE gives; None without both.

    Raises SettingsError when the file cannot be read.
    """
    if environment.get(name):
        return environment[name]
    file = environment.get(f"{name}_FILE")
    if not file:
        return None
    try:
        return Path(file).read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{name}_FILE: {file} cannot be read ({type(error).__name__}); give a readable file or "
            f"set {name}"
        ) from None


def redact(text: str, *known: str, environment: Mapping[str, str] = os.environ) -> str:
    """`text` without the value of any secret variable, without passwords and queries in URLs, paths
    of webhooks and well-known shapes of tokens.

    `known` are secrets that did not come from a variable: what `read_secret` read from a file.
    """
    for value in _values(known, environment):
        text = text.replace(value, HIDDEN)
    text = _URL.sub(lambda found: _without_credentials(found[0]), text)
    for shape in _SHAPES:
        text = shape.sub(rf"\1{HIDDEN}", text)
    return text


def redact_url(url: str) -> str:
    """Scheme and host alone: of a webhook, every other part may be its key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{_host(parts.netloc)}/{HIDDEN}"


def password_in(url: str) -> bool:
    """Whether a URL carries a password, in front of its host or in its query."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that are no IPv6 address
        return False
    return ":" in parts.netloc.rpartition("@")[0] or bool(
        re.search(
            r"(^|&)(password|passwd|pwd|sslpassword|token|secret)=", parts.query, re.IGNORECASE
        )
    )


def holds_secret(text: str) -> bool:
    """Whether a text, such as a value of a config, carries a password or a token."""
    has_password = any(password_in(found[0]) for found in _URL.finditer(text))
    return has_password or any(shape.search(text) for shape in _SHAPES)


def _values(known: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """Longest first: a secret that contains another is hidden whole."""
    named = (value for name, value in environment.items() if is_secret_name(name))
    found = {value for value in (*known, *named) if len(value) >= _SHORTEST}
    return sorted(found, key=len, reverse=True)


def _without_credentials(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that are no IPv6 address
        return HIDDEN
    user, at, _ = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    if parts.scheme in ("http", "https"):  # there a token may stand in the place of the name
        name, colon = HIDDEN if user else "", ""
    netloc = f"{name}{f':{HIDDEN}' if colon else ''}{at}{_host(parts.netloc)}"
    return urlunsplit(parts._replace(netloc=netloc, query=HIDDEN if parts.query else ""))


def _host(netloc: str) -> str:
    return netloc.rpartition("@")[2]
