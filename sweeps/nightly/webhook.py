"""Sends a message to a chat: one POST of {"text": …}, the format of Slack and compatible chats.

Whoever has the URL can write to the channel. It comes from DPO_SWEEPS_WEBHOOK or from the file that
DPO_SWEEPS_WEBHOOK_FILE names, and no message shows more of it than its host. HTTP libraries log the
path of a URL when they retry, so this module retries by itself.
"""

from __future__ import annotations

import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from http import HTTPStatus

from sweeps.config.secrets import read_secret, redact, redact_url

log = logging.getLogger("dpo_sweeps")

VARIABLE = "DPO_SWEEPS_WEBHOOK"
WAITS_S = (1.0, 4.0, 16.0)
_TIMEOUT_S, _LONGEST_WAIT_S = 10.0, 60.0
_MOST_ANSWER_BYTES = 64 * 2**10
_TRY_AGAIN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


def notify(
    text: str,
    *,
    waits_s: Iterable[float] = WAITS_S,
    timeout_s: float = _TIMEOUT_S,
) -> bool:
    """Post `text` to the webhook, without secrets. Never raises: a chat that is down fails no sweep.

    Args:
        text: the message, in the chat's markup.
        waits_s: seconds to wait before each retry; their number is the number of retries.
        timeout_s: seconds until one request is given up.

    Returns:
        Whether the chat accepted the message; False too when no webhook is set.
    """
    try:
        url = read_secret(VARIABLE)
        if url is None:
            return False
        problem = _post(url, {"text": redact(text, url)}, list(waits_s), timeout_s)
    except Exception as error:  # a URL that is none, a file that cannot be read
        url, problem = None, type(error).__name__
    if problem:
        log.warning(f"webhook {redact_url(url) if url else VARIABLE}: message not sent: {problem}")
    return not problem


def _post(url: str, content: Mapping[str, str], waits_s: list[float], timeout_s: float) -> str:
    """Post and retry; return why the last request failed, or an empty text."""
    if not url.startswith(("https://", "http://")):
        return "its URL must begin with https:// or http://"
    while True:
        problem, retry_after_s = _post_once(url, content, timeout_s)
        if not problem or retry_after_s is None or not waits_s:
            return problem
        time.sleep(min(max(waits_s.pop(0), retry_after_s), _LONGEST_WAIT_S))


def _post_once(url: str, content: Mapping[str, str], timeout_s: float) -> tuple[str, float | None]:
    """Post once; return the problem, and the seconds until a retry makes sense (None: never)."""
    request = urllib.request.Request(
        url, json.dumps(content).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with _OPENER.open(request, timeout=timeout_s) as answer:
            answer.read(_MOST_ANSWER_BYTES)  # and no more, whatever it sends
        return "", None
    except urllib.error.HTTPError as error:
        again = error.code >= HTTPStatus.INTERNAL_SERVER_ERROR or error.code in _TRY_AGAIN
        return f"HTTP {error.code}", _seconds(error.headers["Retry-After"]) if again else None
    except OSError as error:  # refused, unknown host, timed out
        return type(error).__name__, 0.0


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after and retry_after.isdecimal() else 0.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, which would send the message to a host that nobody configured."""

    def redirect_request(self, *_: object) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)
