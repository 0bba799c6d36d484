"""The process that renders chat templates, within limits on time, memory and length.

A chat template comes with a model and is a program: it may loop for ever or write gigabytes. So
`rendering.TemplateProcess` starts this module with `python -m` and talks to it through pipes. Lists of
jobs come as lines of JSON from the standard input; each is answered by one on the standard output.

Tested in tests/unit/dpo_core/encoding/test_rendering.py.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

MOST_SECONDS = 5.0
"""Seconds of CPU that one conversation may take; ordinary ones take some tens of microseconds."""
MOST_CHARACTERS = 20_000_000
MOST_BYTES = 512 * 2**20
"""Memory beyond that of the imported libraries."""
IDLE_S = 60
"""Seconds without a job after which the process ends; the next job starts another one."""

TEXTS, REFUSED, TOO_MUCH = "texts", "refused", "too much"
"""The kinds of answers: rendered texts; the template raised; a limit was broken."""

_WORDS_SHOWN = 300


class Job(NamedTuple):
    """A prompt, to be rendered alone and before each of some answers."""

    template: str
    special_tokens: dict[str, Any]
    prompt: list[dict[str, Any]]
    answers: list[list[dict[str, Any]]]
    tools: list[dict[str, Any]]
    template_kwargs: dict[str, Any]


Render = Callable[..., tuple[list[str], object]]


class _TooMuch(Exception):
    """A limit was broken; the message says which."""


def main() -> None:
    """Answer jobs until the standard input ends or nothing comes for a while."""
    from transformers.utils.chat_template_utils import render_jinja_template

    jobs, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing else may write between the answers
    os.dup2(1, 2)
    _limit_memory()
    signal.signal(signal.SIGPROF, _stop)
    while True:
        signal.alarm(IDLE_S)  # ends the process, unless it is called again before
        line = jobs.readline()
        signal.alarm(0)
        if not line:
            return
        lines = json.dumps(_answers(json.loads(line), render_jinja_template), ensure_ascii=False)
        answers.write(f"{lines}\n".encode(errors="surrogatepass"))
        answers.flush()


def _answers(jobs: Sequence[tuple[Any, ...]], render: Render) -> list[list[object]]:
    """Return the answers up to the first job that breaks a limit: others would take as long."""
    answers: list[list[object]] = []
    for job in jobs:  # as tuples, because here the class has another name
        answers.append(_answer(Job(*job), render))
        if answers[-1][0] == TOO_MUCH:
            break
    return answers


def _answer(job: Job, render: Render) -> list[object]:
    """Return the kind of answer, then texts, or words about why there are none.

    Of a text that begins with that of the prompt, as nearly all do, only the rest is returned, after
    the number of characters that it shares with the prompt.
    """
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    try:
        prompt, *texts = _texts(job, render)
    except _TooMuch as error:
        return [TOO_MUCH, str(error)]
    except MemoryError:
        return [TOO_MUCH, f"needs more than {MOST_BYTES / 2**20:.0f} MiB of memory"]
    except Exception as error:  # a template raises whatever its expressions raise
        filled = _with_contents(job)
        return [REFUSED, _words(error)] if filled == job else _answer(filled, render)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    shared = [len(prompt) if text.startswith(prompt) else 0 for text in texts]
    return [TEXTS, prompt, *([n, text[n:]] for n, text in zip(shared, texts, strict=True))]


def _with_contents(job: Job) -> Job:
    """Return the job with an empty content in each message without one.

    A message that only calls tools may have none, and then many templates raise.
    """

    def filled(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            message if "content" in message else {**message, "content": ""} for message in messages
        ]

    return job._replace(prompt=filled(job.prompt), answers=[filled(each) for each in job.answers])


def _texts(job: Job, render: Render) -> list[str]:
    settings = {**job.special_tokens, **job.template_kwargs}
    common = {"chat_template": job.template, "tools": job.tools or None, **settings}
    texts, _ = render([job.prompt], add_generation_prompt=True, **common)
    if job.answers:
        texts += render([[*job.prompt, *answer] for answer in job.answers], **common)[0]
    longest = max(map(len, texts))
    if longest > MOST_CHARACTERS:
        raise _TooMuch(f"writes {longest:,} characters, of at most {MOST_CHARACTERS:,}")
    return texts


def _words(error: Exception) -> str:
    from jinja2.exceptions import TemplateError, TemplateSyntaxError

    words = " ".join(str(error).split())[:_WORDS_SHOWN]
    if isinstance(error, TemplateSyntaxError):
        return f"syntax error in line {error.lineno}: {words}"
    # What a template raises on purpose is a TemplateError, whose type would tell nothing.
    return (
        words if words and isinstance(error, TemplateError) else f"{type(error).__name__}: {words}"
    )


def _stop(*_: object) -> None:
    raise _TooMuch(f"takes more than {MOST_SECONDS:g} s")


def _limit_memory() -> None:
    """Limit the address space, where the system tells how much of it is in use."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MOST_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (OSError, ValueError):
        return


if __name__ == "__main__":
    main()
