"""Conversations become the text that the chat template of a model writes for them.

Templates run in a process of their own, which `template_process` describes; it is shared by all
renderings of this process and ends when they do.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dpo_core.encoding.template_process import REFUSED, TOO_MUCH, Job
from dpo_core.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from dpo_core.preferences.messages import Message

JOBS_AT_ONCE = 64
MOST_WAIT_S = 600.0
"""Seconds without an answer after which the process counts as lost; it has far stricter limits."""

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "SYSTEMROOT")


class Conversation(NamedTuple):
    """The input of a chat template: a prompt, answers to it, and what applies to all of them."""

    prompt: Sequence[Message]
    answers: Sequence[Sequence[Message]] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    template_kwargs: Mapping[str, Any] = {}


class RenderedTexts(NamedTuple):
    """The text of the prompt, up to where the model goes on, and of the prompt with each answer."""

    prompt: str
    with_answers: tuple[str, ...]


class Refusal(NamedTuple):
    """A conversation that a template does not render, in the template's own words."""

    words: str


class LimitBroken(Exception):
    """A template took too long or wrote too much. It would for other conversations too."""

    def __init__(self, number: int, words: str) -> None:
        """Keep which of the conversations it was, from 0, and which limit."""
        super().__init__(number, words)
        self.number, self.words = number, words


Rendered = RenderedTexts | Refusal


def render(
    conversations: Sequence[Conversation], tokenizer: PreTrainedTokenizerBase
) -> list[Rendered]:
    """Render conversations as `apply_chat_template` does.

    Args:
        conversations: What to render.
        tokenizer: Its template renders.

    Returns:
        The texts of each conversation, or why there are none.

    Raises:
        LimitBroken: The template takes too long or writes too much.
        ModelError: Templates cannot be rendered at all.
    """
    from transformers import PreTrainedTokenizerBase

    own_method = (
        type(tokenizer).apply_chat_template is not PreTrainedTokenizerBase.apply_chat_template
    )
    if own_method:  # the code of a library, or one that model.trust_remote_code allows
        return [_render_here(conversation, tokenizer) for conversation in conversations]
    special_tokens = dict(tokenizer.special_tokens_map)
    results: list[Rendered | None] = [None] * len(conversations)
    jobs: dict[int, Job] = {}
    for i, each in enumerate(conversations):
        try:
            template = str(tokenizer.get_chat_template(None, [{}] if each.tools else None))
        except ValueError as error:  # it has several templates, and none of them is the default one
            results[i] = Refusal(" ".join(str(error).split()))
        else:
            answers = [[*answer] for answer in each.answers]
            jobs[i] = Job(template, special_tokens, [*each.prompt], answers, *_settings(each))
    try:
        rendered = _PROCESS.answers([*jobs.values()])
    except LimitBroken as error:
        raise LimitBroken([*jobs][error.number], error.words) from None
    rest = iter(rendered)
    return [next(rest) if result is None else result for result in results]


def template_texts(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the source of the tokenizer's template, or of all where it has several."""
    template = getattr(tokenizer, "chat_template", None) or ""
    return "\n".join(template.values()) if isinstance(template, Mapping) else str(template)


def _settings(conversation: Conversation) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    return [dict(tool) for tool in conversation.tools], dict(conversation.template_kwargs)


def _render_here(conversation: Conversation, tokenizer: PreTrainedTokenizerBase) -> Rendered:
    tools, settings = _settings(conversation)
    settings |= {"tokenize": False, "tools": tools or None}
    prompt = [*conversation.prompt]
    try:
        texts = [
            str(
                tokenizer.apply_chat_template(
                    [*prompt, *answer], add_generation_prompt=not answer, **settings
                )
            )
            for answer in ((), *conversation.answers)
        ]
    except Exception as error:  # whatever such code raises
        return Refusal(" ".join(f"{type(error).__name__}: {error}".split()))
    return RenderedTexts(texts[0], tuple(texts[1:]))


class _Lost(Exception):
    """The process ended or does not answer; the message says what is known."""


class _Idle(Exception):
    """The process ended because it was idle, just before a job came."""


class TemplateProcess:
    """The process that renders, started when it is first needed and again when it was lost."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def answers(self, jobs: Sequence[Job]) -> list[Rendered]:
        """Return the answer to each job, in order. Raises LimitBroken, also for a lost process."""
        answers: list[Rendered] = []
        at_once = JOBS_AT_ONCE
        with self._lock:
            while len(answers) < len(jobs):
                batch = jobs[len(answers) : len(answers) + at_once]
                try:
                    for kind, first, *rest in self._exchange(batch):
                        if kind == TOO_MUCH:
                            raise LimitBroken(len(answers), first)
                        answers.append(Refusal(first) if kind == REFUSED else _texts(first, rest))
                except _Idle:
                    continue
                except _Lost as error:
                    if len(batch) == 1:
                        raise LimitBroken(len(answers), str(error)) from None
                    at_once = 1  # finds out which job it is
        return answers

    def _exchange(self, jobs: Sequence[Job]) -> list[list[Any]]:
        """Return the answers as they come: those up to the first that breaks a limit."""
        process = self._running()
        assert process.stdin
        try:
            # The process reads all jobs before it answers, so neither waits for the other.
            with contextlib.suppress(BrokenPipeError):  # it ended; reading finds out why
                sent = json.dumps(jobs, default=str)  # a special token may be an object
                process.stdin.write(f"{sent}\n".encode())
                process.stdin.flush()
            line = self._line(process)
        except (
            BaseException
        ):  # also when this process is interrupted, which leaves an answer unread
            process.kill()
            raise
        answers: list[list[Any]] = json.loads(line.decode(errors="surrogatepass"))
        return answers

    def _running(self) -> subprocess.Popen[bytes]:
        """Return the process; another one where the last ended, as it does when it is idle."""
        if self._process is None or self._process.poll() is not None:
            self._close()
            self._process = _start()
        return self._process

    def _close(self) -> None:
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
                with contextlib.suppress(OSError):
                    assert pipe
                    pipe.close()
            self._process.wait()

    def _line(self, process: subprocess.Popen[bytes]) -> bytes:
        """Return the one line that answers what was sent."""
        assert process.stdout
        parts = [b""]
        while not parts[-1].endswith(b"\n"):
            if not select.select([process.stdout], [], [], MOST_WAIT_S)[0]:
                raise _Lost(f"gives no answer within {MOST_WAIT_S:g} s")
            part = os.read(process.stdout.fileno(), 1 << 20)
            if not part:
                raise _Lost(_last_words(process))
            parts.append(part)
        return b"".join(parts)


_PROCESS = TemplateProcess()


def _start() -> subprocess.Popen[bytes]:
    """Start the process without the secrets that this one's environment may have."""
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment |= {
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "OPENBLAS_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "dpo_core.encoding.template_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,  # Ctrl-C is for this process, whose end closes the pipes
    )


def _texts(prompt: str, rest: Sequence[tuple[int, str]]) -> RenderedTexts:
    return RenderedTexts(prompt, tuple(f"{prompt[:shared]}{text}" for shared, text in rest))


def _last_words(process: subprocess.Popen[bytes]) -> str:
    """Return how the process ended. Raises _Idle, or ModelError where it did not even start."""
    code = process.wait()
    if code == -signal.SIGALRM:
        raise _Idle
    if code > 0:
        assert process.stderr
        words = process.stderr.read().decode(errors="replace").strip().rpartition("\n")[2]
        raise ModelError(f"the process that renders chat templates did not start: {words}")
    name = signal.Signals(-code).name if code else "no error"
    return f"ended the process that renders it ({name})"
