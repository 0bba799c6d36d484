"""Rendering in a process of its own: what a template does wrong is told, and costs little."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from dpo_core.encoding import rendering, template_process
from dpo_core.encoding.encode import encode
from dpo_core.encoding.rendering import (
    Conversation,
    LimitBroken,
    Refusal,
    RenderedTexts,
    TemplateProcess,
    render,
)
from dpo_core.errors import DataError, ModelError
from dpo_core.preferences.messages import assistant, system, user
from dpo_core.preferences.pairs import make_pair
from tests.support import chat_templates
from tests.support.toys import toy_pairs, toy_tokenizer

HELLO = Conversation([user("May I?")], [[assistant("No.")], [assistant("Yes.")]])


def tokenizer_of(template: Any) -> Any:
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def test_texts_are_those_of_apply_chat_template() -> None:
    tokenizer = toy_tokenizer()
    [texts] = render([HELLO], tokenizer)
    assert isinstance(texts, RenderedTexts)

    def applied(messages: Any, **settings: Any) -> Any:
        return tokenizer.apply_chat_template(messages, tokenize=False, **settings)

    assert texts.prompt == applied([*HELLO.prompt], add_generation_prompt=True)
    assert texts.with_answers == tuple(applied([*HELLO.prompt, *a]) for a in HELLO.answers)


def test_a_template_that_needs_a_content_gets_an_empty_one() -> None:
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "leaflet"}}]}
    strict = "{% for m in messages %}{{ m['role'] + m['content'] }};{% endfor %}"
    [texts] = render([Conversation([user("Hi"), call])], tokenizer_of(strict))
    assert isinstance(texts, RenderedTexts)
    assert texts.prompt == "userHi;assistant;"
    lenient = "{% for m in messages %}{{ m.content | default('absent') }};{% endfor %}"
    [texts] = render([Conversation([user("Hi"), call])], tokenizer_of(lenient))
    assert isinstance(texts, RenderedTexts)
    assert texts.prompt == "Hi;absent;", "it stays as it is where the template takes it"


def test_a_refusal_has_the_words_of_the_template_and_stops_no_other_conversation() -> None:
    tokenizer = tokenizer_of(chat_templates.REFUSES_SYSTEM)
    with_system = HELLO._replace(prompt=[system("Be brief."), *HELLO.prompt])
    first, refused, last = render([HELLO, with_system, HELLO], tokenizer)
    assert refused == Refusal("This model takes no system text")
    assert first == last
    assert isinstance(first, RenderedTexts)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ messages[0].missing.more }}", "has no attribute 'missing'"),
        ("{{ messages[0]['content'] + 1 }}", "TypeError: "),
        (chat_templates.NO_TEMPLATE, "syntax error in line 1: "),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError: "),
        ("{{ messages.append(1) }}", "of 'list' object is unsafe"),
    ],
)
def test_whatever_a_template_raises_is_a_refusal(template: str, words: str) -> None:
    [refused] = render([HELLO], tokenizer_of(template))
    assert isinstance(refused, Refusal)
    assert words in refused.words


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (chat_templates.FOR_EVER, r"takes more than 5 s"),
        (chat_templates.A_GIGABYTE, r"needs more than 512 MiB of memory"),
        ("{{ 'x' * 1000000000 }}", r"needs more than 512 MiB of memory"),
        ("{{ 'x' * 30000000 }}", r"writes 30,000,000 characters, of at most 20,000,000"),
    ],
)
def test_a_limit_is_an_error_with_the_row(template: str, words: str) -> None:
    began = time.process_time()
    with pytest.raises(ModelError, match=rf"^data:1: the model's chat template {words}; "):
        list(encode(toy_pairs(2000), tokenizer_of(template), 512, on_refused=lambda _: None))
    assert time.process_time() - began < 5, "it stops at the first row, and takes another process"


def test_after_a_limit_other_templates_are_rendered() -> None:
    with pytest.raises(LimitBroken):
        render([HELLO], tokenizer_of(chat_templates.A_GIGABYTE))
    assert isinstance(render([HELLO], toy_tokenizer())[0], RenderedTexts)


def job(text: str) -> template_process.Job:
    return template_process.Job("{{ messages[0].content }}", {}, [user(text)], [], [], {})


def test_a_process_that_is_killed_is_started_again() -> None:
    process = TemplateProcess()
    assert process.answers([job("a")]) == [RenderedTexts("a", ())]
    running = process._process
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert process.answers([job("b")]) == [RenderedTexts("b", ())]


def test_a_job_that_kills_the_process_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    process = TemplateProcess()
    whole = process._exchange

    def dies(jobs: Any) -> Any:
        if any(each == job("kills") for each in jobs):
            raise rendering._Lost("ended the process that renders it (SIGKILL)")
        return whole(jobs)

    monkeypatch.setattr(process, "_exchange", dies)
    with pytest.raises(LimitBroken, match="SIGKILL") as raised:
        process.answers([job("a"), job("b"), job("kills"), job("c")])
    assert raised.value.number == 2


def test_an_idle_process_ends_and_the_next_job_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    process = TemplateProcess()
    process.answers([job("a")])
    assert process._process is not None
    os.kill(process._process.pid, signal.SIGALRM)  # as its own alarm does
    assert process.answers([job("b")]) == [RenderedTexts("b", ())]


def test_no_secret_reaches_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    process = rendering._start()
    try:
        content = open(f"/proc/{process.pid}/environ", "rb").read()  # noqa: SIM115
        assert b"hf_secret" not in content
    finally:
        process.kill()
        process.communicate()


def test_a_tokenizer_with_several_templates_uses_that_for_tools() -> None:
    tokenizer = tokenizer_of({"default": "plain", "tool_use": "with {{ tools[0].name }}"})
    plain, with_tools = render([HELLO, HELLO._replace(tools=[{"name": "stock"}])], tokenizer)
    assert plain == RenderedTexts("plain", ("plain", "plain"))
    assert with_tools == RenderedTexts("with stock", ("with stock", "with stock"))


def test_a_tokenizer_without_a_default_template_refuses() -> None:
    [refused] = render([HELLO], tokenizer_of({"tool_use": "x"}))
    assert isinstance(refused, Refusal)


def test_a_tokenizer_with_a_method_of_its_own_is_asked_itself() -> None:
    tokenizer = toy_tokenizer()

    class Own(type(tokenizer)):  # type: ignore[misc]
        def apply_chat_template(self, messages: Any, **settings: Any) -> str:
            if len(messages) > 2:
                raise KeyError("no more than two")
            return f"{len(messages)} {settings['enable_thinking']}"

    tokenizer.__class__ = Own
    settings = {"enable_thinking": False}
    short = HELLO._replace(template_kwargs=settings)
    rendered, refused = render([short, short._replace(prompt=[*HELLO.prompt] * 2)], tokenizer)
    assert rendered == RenderedTexts("1 False", ("2 False", "2 False"))
    assert refused == Refusal("KeyError: 'no more than two'")


def test_a_row_that_a_template_refuses_is_an_error_of_that_row() -> None:
    prompt = (system("Be brief."), user("May I?"))
    pair = make_pair(prompt, (assistant("No."),), (assistant("Yes."),), line=3)
    with pytest.raises(DataError) as raised:
        list(encode([pair], tokenizer_of(chat_templates.REFUSES_SYSTEM), 512))
    assert str(raised.value) == (
        "data:3: the model's chat template refuses this row: 'This model takes no system text'; put "
        "its system text before the user's with data.system: fold, or leave it out with "
        "data.on_bad_row: skip"
    )
