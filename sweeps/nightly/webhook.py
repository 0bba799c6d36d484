"""Tells a chat how the night went: one POST of {"text": …}, which Slack and its likes take.

The URL is the key to the channel. It comes from DPO_SWEEPS_WEBHOOK or from the file that
DPO_SWEEPS_WEBHOOK_FILE names, and no message shows more of it than its host. Retries are our own
for that reason: those of the HTTP libraries warn with the path, which is the key.
"""

from __future__ import annotations

import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from sweeps.config.secrets import read_secret, redact, redact_url

log = logging.getLogger("dpo_sweeps")

VARIABLE = "DPO_SWEEPS_WEBHOOK"
WAITS_S = (1.0, 4.0, 16.0)
_TIMEOUT_S, _LONGEST_WAIT_S = 10.0, 60.0
_TRY_AGAIN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


def notify(
    text: str,
    *,
    waits_s: Iterable[float] = WAITS_S,
    timeout_s: float = _TIMEOUT_S,
) -> bool:
    """Whether somebody was told. Never raises: a chat that is down fails no sweep."""
    try:
        url = read_secret(VARIABLE)
        if url is None:
            return False
        problem = _post(url, {"text": redact(text, url)}, list(waits_s), timeout_s)
    except Exception as error:  # a URL that is none, a file that cannot be read
        url, problem = None, type(error).__name__
    if problem:
        log.warning(f"webhook {redact_url(url) if url else VARIABLE}: not told: {problem}")
    return not problem


def _post(url: str, content: dict[str, Any], waits_s: list[float], timeout_s: float) -> str:
    """Why it failed in the end; empty when it did not."""
    if not url.startswith(("https://", "http://")):
        return "its URL must begin with https:// or http://"
    while True:
        problem, retry_after_s = _post_once(url, content, timeout_s)
        if not problem or retry_after_s is None or not waits_s:
            return problem
        time.sleep(min(max(waits_s.pop(0), retry_after_s), _LONGEST_WAIT_S))


def _post_once(url: str, content: dict[str, Any], timeout_s: float) -> tuple[str, float | None]:
    """What went wrong, and after how long another try makes sense; None: never."""
    request = urllib.request.Request(
        url, json.dumps(content).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with _OPENER.open(request, timeout=timeout_s) as answer:
            answer.read()
        return "", None
    except urllib.error.HTTPError as error:
        again = error.code >= HTTPStatus.INTERNAL_SERVER_ERROR or error.code in _TRY_AGAIN
        return f"HTTP {error.code}", _seconds(error.headers["Retry-After"]) if again else None
    except OSError as error:  # refused, unknown host, timed out
        return type(error).__name__, 0.0


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after and retry_after.isdecimal() else 0.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the message to somebody whom nobody named."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)
