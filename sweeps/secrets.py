"""Secrets: where they may come from, and how they are kept out of everything that is written.

They come from the environment or from files, never from a config: what a config says is copied into
the sweep's folder, and Ray's Jobs and Train APIs tell it to whoever asks. `redact` is for texts that
others made (an exception, a URL) on their way to a log, the ledger or a message.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

HIDDEN = "***"

# Names of variables and of query parameters whose value is nobody's business.
_SECRET_NAME = re.compile(
    r"passw(or)?d$|"
    r"(^|[_.-])(token|secret|pwd|passphrase|(api|access|account|private)?_?key|credentials?|"
    r"webhook(_?url)?|signature|sig|auth|dsn)$",
    re.IGNORECASE,
)
# Shorter values would be found in ordinary words.
_SHORTEST = 8

_USER_INFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/?#@'\"<>]*@", re.IGNORECASE)
_QUERY = re.compile(r"([?&])([\w.%-]+)=([^\s&#'\"<>]+)")
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


def is_secret_name(name: str) -> bool:
    """Whether the value of a variable or parameter of this name must not be written down."""
    return _SECRET_NAME.search(name) is not None


def redact(text: str, environment: Mapping[str, str] | None = None) -> str:
    """`text` without what lets others in; hosts and the rest of a URL stay readable.

    Hidden are the secrets of `environment` (by default this process's, by the names of its
    variables), user and password of URLs, values of a query that are secret by name, paths of
    webhooks and well-known shapes of tokens.
    """
    for secret in _secrets(os.environ if environment is None else environment):
        text = text.replace(secret, HIDDEN)
    text = _USER_INFO.sub(rf"\1{HIDDEN}@", text)
    text = _QUERY.sub(_parameter, text)
    for shape in _SHAPES:
        text = shape.sub(rf"\1{HIDDEN}", text)
    return text


def _secrets(environment: Mapping[str, str]) -> list[str]:
    """Longest first: one may be part of another."""
    named = {v.strip() for name, v in environment.items() if is_secret_name(name)}
    return sorted((v for v in named if len(v) >= _SHORTEST), key=len, reverse=True)


def _parameter(found: re.Match[str]) -> str:
    start, name, value = found.groups()
    return f"{start}{name}={HIDDEN if is_secret_name(name) else value}"
