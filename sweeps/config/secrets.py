"""Secrets: read from the environment or from a file that it names, and shown nowhere.

`read_secret("DPO_SWEEPS_WEBHOOK")` reads one. `redact` is applied to every text from elsewhere (an
exception, a URL) before it goes to a log, the ledger or a report.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from dpo_core.errors import SettingsError

HIDDEN = "***"
# Names of environment variables that hold secrets: HF_TOKEN, AWS_SECRET_ACCESS_KEY, …
_SECRET_NAME = re.compile(
    r"(TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIAL|WEBHOOK|CONNECTION_STRING"
    r"|(API|ACCESS|PRIVATE|APPLICATION|ACCOUNT|STORAGE|SIGNING|ENCRYPTION|MASTER)_?KEY)S?(_|$)"
    r"|_(PASS|PAT|SAS|DSN)$",
    re.IGNORECASE,
)
_NO_SECRETS = re.compile(r"_(FILE|PATH|DIR|MODE|URL|HOST|PARALLELISM)$", re.IGNORECASE)
_PASSWORD_NAMES = re.compile(r"^(PGPASSWORD|MYSQL_PWD|REDISCLI_AUTH)$")
# Shorter values occur in ordinary words, and no secret is that short.
_SHORTEST = 8
# Group 1 stands before the secret and stays; the rest is the secret.
_SHAPES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # A webhook's path is its password. Lengths have limits, so that hostile texts take linear time.
        r"(https?://hooks\.[^\s/'\"<>]{1,300}/)[^\s'\"<>)]+",
        r"(https?://[^\s/'\"<>]{1,300}/(?:[\w.-]{1,100}/){0,9}[\w-]{0,50}webhook\w{0,50}/)[^\s'\"<>)]+",
        # A password may hold slashes, and then it is no part of what `urlsplit` takes for the host.
        r"(\b[a-z][a-z0-9+.-]{0,30}://[^\s/:@'\"<>]{0,300}:)[^\s'\"<>@]{1,500}(?=@)",
        r"(\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}",
        r"(\b(?:hf_|sk-|gh[pousr]_|glpat-|xox[a-z]-|akia))[\w-]{8,}",
        r"((?:password|passwd|\bpwd|db_?pass|secret|token|shared_?access_?signature|\bsig"
        r"|(?:api|access|private|application|account|storage|shared)_?key)"
        r"['\"]?\s{0,9}[=:]\s{0,9}['\"]?)[^\s'\",;&)]+",
    )
]
_PASSWORD_IN_URL = re.compile(r"[a-z][a-z0-9+.-]{0,30}://[^\s/:@]*:(\S+)@", re.IGNORECASE)
_URL = re.compile(r"\b[a-z][a-z0-9+.-]{0,30}://[^\s'\"<>\\`]+", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Tell whether an environment variable of that name holds a secret."""
    if _PASSWORD_NAMES.match(name):
        return True
    is_webhook = "WEBHOOK" in name.upper()  # the whole URL is the secret
    return bool(_SECRET_NAME.search(name)) and (is_webhook or not _NO_SECRETS.search(name))


def read_secret(name: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the variable `name`, or the content of the file that `name`_FILE names; else None.

    Raises:
        SettingsError: the file cannot be read.
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


def redact(text: str, *secrets: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return `text` without secrets.

    It replaces the values of secret variables, passwords and queries in URLs, paths of webhooks, and
    tokens of well-known shapes.

    Args:
        text: anything that comes from elsewhere.
        secrets: further secrets that no variable holds, as `read_secret` read them from a file.
        environment: the variables.

    Returns:
        The text with `***` in the place of each.
    """
    for value in _values(secrets, environment):
        text = text.replace(value, HIDDEN)
    text = _URL.sub(lambda url: _without_credentials(url[0]), text)
    for shape in _SHAPES:
        text = shape.sub(rf"\1{HIDDEN}", text)
    return text


def redact_url(url: str) -> str:
    """Return scheme and host of a URL: every other part of a webhook may be its key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{_host(parts.netloc)}/{HIDDEN}"


def password_in(url: str) -> bool:
    """Tell whether a URL has a password, in front of its host or in its query."""
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
    """Tell whether a text, such as a value of a config, has a password or a token in it."""
    has_password = any(password_in(url[0]) for url in _URL.finditer(text))
    return has_password or any(shape.search(text) for shape in _SHAPES)


def _values(secrets: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """Return the secrets, longest first, so that one that contains another is hidden whole."""
    from_environment = [value for name, value in environment.items() if is_secret_name(name)]
    from_environment += filter(None, map(_password_of, environment.values()))
    values = {value for value in (*secrets, *from_environment) if len(value) >= _SHORTEST}
    return sorted(values, key=len, reverse=True)


def _password_of(value: str) -> str | None:
    """Return the password of a variable's value that is a URL, such as DATABASE_URL."""
    match = _PASSWORD_IN_URL.match(value)
    return match[1] if match else None


def _without_credentials(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that are no IPv6 address
        return HIDDEN
    # Text is replaced in the URL: `urlunsplit` would drop the empty host of `journal:///file`.
    if parts.query:
        url = url.replace(f"?{parts.query}", f"?{HIDDEN}", 1)
    user = parts.netloc.rpartition("@")[0]
    if not user:
        return url
    name, colon, _ = user.partition(":")
    if parts.scheme in ("http", "https"):  # there a token may stand in the place of the name
        name, colon = HIDDEN, ""
    return url.replace(f"://{user}@", f"://{name}{f':{HIDDEN}' if colon else ''}@", 1)


def _host(netloc: str) -> str:
    return netloc.rpartition("@")[2]
