"""The table of known markups: how chat templates and written dialogues mark turns in one text.

A turn begins with a header, which names its role, and ends at the next header or at an end token.
Literals are as the templates of the publishers write them; white space around a turn is left out,
because it belongs to the markup.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Format = Literal["rendered", "dialogue"]
RENDERED: Format = "rendered"
DIALOGUE: Format = "dialogue"

SYSTEM, USER, ASSISTANT, TOOL, REASONING = "system", "user", "assistant", "tool", "reasoning"


@dataclass(frozen=True, eq=False)  # so that functions of it can be cached
class Markup:
    """One way of marking turns in a text."""

    name: str
    format: Format
    """The value of `data.format` that reads it."""
    headers: dict[str, str]
    """The role of the turn that each header begins."""
    ends: tuple[str, ...] = ()
    """Tokens that end a turn."""
    begins: tuple[str, ...] = ()
    """Tokens that begin a text, in the order in which they stand."""
    has_preface: bool = False
    """Whether the system message is text before the first header. That of a dialogue always is."""
    inserted: str | None = None
    """A pattern of what the template itself puts at the start of the system message."""
    separators: tuple[str, ...] = ("",)
    """What stands before a header that does not begin the text: the first of these that a text has."""

    @cached_property
    def own_headers(self) -> tuple[str, ...]:
        """Return the headers, longest first, because one may begin another."""
        return tuple(sorted(self.headers, key=lambda header: (-len(header), header)))

    def headers_of(self, *roles: str) -> tuple[str, ...]:
        """Return the headers of these roles, longest first."""
        return tuple(header for header in self.own_headers if self.headers[header] in roles)


def _by_role(pattern: str, **words: str) -> dict[str, str]:
    """Return headers that differ in one word: `pattern` with each role's word in place of `*`."""
    return {pattern.replace("*", word): role for role, word in words.items()}


def _speakers(user: str, assistant: str) -> dict[str, str]:
    return {user: USER, assistant: ASSISTANT}


_CHAT_ROLES = {SYSTEM: "system", USER: "user", ASSISTANT: "assistant", TOOL: "tool"}
_LLAMA_ROLES = {SYSTEM: "system", USER: "user", ASSISTANT: "assistant", TOOL: "ipython"}
_LINES = ("\n\n", "\n")

HUMAN_ASSISTANT = Markup(  # Anthropic's hh-rlhf
    "Human/Assistant", DIALOGUE, _speakers("Human:", "Assistant:"), separators=_LINES
)
MARKUPS = (
    Markup(
        "ChatML",  # OpenAI; Qwen, Yi, Hermes, SmolLM, InternLM 2, LFM 2, DBRX, Phi-4
        RENDERED,
        _by_role("<|im_start|>*\n", **_CHAT_ROLES)
        | _by_role("<|im_start|>*<|im_sep|>", **_CHAT_ROLES),
        ends=("<|im_end|>", "<|endoftext|>", "</s>"),
        begins=("<s>", "<|startoftext|>", "<|endoftext|>"),
    ),
    Markup(
        "Llama 3",
        RENDERED,
        _by_role("<|start_header_id|>*<|end_header_id|>", **_LLAMA_ROLES)
        | {"<|start_header_id|>tool<|end_header_id|>": TOOL},
        ends=("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"),
        begins=("<|begin_of_text|>",),
        inserted=r"Cutting Knowledge Date: \w+ \d{4}\nToday Date: \d+ \w+ \d{4}\n*",
    ),
    Markup(
        "Llama 4",
        RENDERED,
        _by_role("<|header_start|>*<|header_end|>", **_LLAMA_ROLES),
        ends=("<|eot|>", "<|eom|>", "<|end_of_text|>"),
        begins=("<|begin_of_text|>",),
    ),
    Markup(
        "Llama 2 or Mistral",
        RENDERED,
        {
            "[INST] <<SYS>>": SYSTEM,
            "[INST]<<SYS>>": SYSTEM,
            "[INST]\n<<SYS>>": SYSTEM,
            "<</SYS>>": USER,
            "[SYSTEM_PROMPT]": SYSTEM,
            "[/SYSTEM_PROMPT][INST]": USER,
            "[/SYSTEM_PROMPT]": USER,
            "[INST]": USER,
            "[/INST]": ASSISTANT,
            "[TOOL_RESULTS]": TOOL,
            "[/TOOL_RESULTS]": ASSISTANT,
        },
        ends=("</s>",),
        begins=("<s>",),
        has_preface=True,
    ),
    Markup(
        "Gemma",
        RENDERED,
        {"<start_of_turn>system\n": SYSTEM, "<start_of_turn>developer\n": SYSTEM}
        | _by_role("<start_of_turn>*\n", user="user", assistant="model", tool="tool"),
        ends=("<end_of_turn>", "<eos>"),
        begins=("<bos>",),
    ),
    Markup(
        "Gemma 4",
        RENDERED,
        _by_role("<|turn>*\n", system="system", user="user", assistant="model", tool="tool")
        | {
            "<|channel>thought\n": REASONING,
            "<channel|>": ASSISTANT,
            "<|channel>final\n": ASSISTANT,
        },
        ends=("<turn|>", "<eos>"),
        begins=("<bos>",),
    ),
    Markup(
        "Zephyr, Phi-3, Tülu, GLM or Falcon 3",  # they differ in the tokens that end a turn
        RENDERED,
        _by_role("<|*|>", **_CHAT_ROLES) | {"<|observation|>": TOOL, "<|prompter|>": USER},
        ends=("</s>", "<|end|>", "<|endoftext|>", "<|end_of_text|>"),
        begins=("<s>", "<|endoftext|>", "[gMASK]<sop>", "[gMASK]sop"),
    ),
    Markup(
        "Command R",
        RENDERED,
        _by_role(
            "<|START_OF_TURN_TOKEN|><|*_TOKEN|>", system="SYSTEM", user="USER", assistant="CHATBOT"
        )
        | {
            "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|><|START_RESPONSE|>": ASSISTANT,
            "<|START_THINKING|>": REASONING,
            "<|END_THINKING|><|START_RESPONSE|>": ASSISTANT,
            "<|START_RESPONSE|>": ASSISTANT,
        },
        ends=("<|END_OF_TURN_TOKEN|>", "<|END_RESPONSE|>", "<EOS_TOKEN>"),
        begins=("<BOS_TOKEN>",),
    ),
    Markup(
        "DeepSeek",
        RENDERED,
        {"<｜User｜>": USER, "<｜Assistant｜>": ASSISTANT},
        ends=("<｜end▁of▁sentence｜>",),
        begins=("<｜begin▁of▁sentence｜>",),
        has_preface=True,
    ),
    Markup(
        "Granite",
        RENDERED,
        _by_role("<|start_of_role|>*<|end_of_role|>", **_CHAT_ROLES)
        | {"<|start_of_role|>tool_response<|end_of_role|>": TOOL},
        ends=("<|end_of_text|>",),
    ),
    Markup(
        "gpt-oss",
        RENDERED,
        _by_role("<|start|>*<|message|>", **_CHAT_ROLES)
        | {
            "<|start|>developer<|message|>": SYSTEM,
            "<|start|>assistant": ASSISTANT,
            "<|start|>assistant<|channel|>final<|message|>": ASSISTANT,
            "<|start|>assistant<|channel|>analysis<|message|>": REASONING,
            "<|channel|>final<|message|>": ASSISTANT,
            "<|channel|>analysis<|message|>": REASONING,
        },
        ends=("<|end|>", "<|return|>"),
    ),
    Markup(
        "OpenChat",
        RENDERED,
        _by_role("GPT4 Correct *:", user="User", assistant="Assistant")
        | _by_role("GPT4 *:", user="User", assistant="Assistant"),
        ends=("<|end_of_turn|>", "</s>"),
        begins=("<s>",),
        has_preface=True,
    ),
    Markup(
        "EXAONE",
        RENDERED,
        _by_role("[|*|]", **_CHAT_ROLES),
        ends=("[|endofturn|]",),
        begins=("[BOS]",),
    ),
    Markup(
        "Kimi",
        RENDERED,
        _by_role("<|im_*|>*<|im_middle|>", **{k: v for k, v in _CHAT_ROLES.items() if k != TOOL}),
        ends=("<|im_end|>",),
        begins=("[BOS]",),
    ),
    Markup(
        "MiniMax",
        RENDERED,
        _by_role("]~b]*\n", system="system", user="user", assistant="ai", tool="tool"),
        ends=("[e~[",),
        begins=("]~!b[",),
    ),
    Markup(
        "Seed",
        RENDERED,
        _by_role("<seed:bos>*\n", **_CHAT_ROLES),
        ends=("<seed:eos>",),
    ),
    Markup(
        "Baichuan",
        RENDERED,
        {"<reserved_106>": USER, "<reserved_107>": ASSISTANT},
        ends=("</s>",),
        has_preface=True,
    ),
    Markup(
        "Saiga or Monarch",
        RENDERED,
        _by_role("<s>*\n", **_CHAT_ROLES) | {"<s>bot\n": ASSISTANT},
        ends=("</s>",),
    ),
    # Dialogues: speakers' names instead of tokens.
    HUMAN_ASSISTANT,
    Markup("User/Assistant", DIALOGUE, _speakers("User:", "Assistant:"), separators=_LINES),
    Markup("Human/AI", DIALOGUE, _speakers("Human:", "AI:"), separators=_LINES),
    Markup("User/Bot", DIALOGUE, _speakers("User:", "Bot:"), separators=_LINES),
    Markup(
        "USER/ASSISTANT",  # Vicuna
        DIALOGUE,
        _speakers("USER:", "ASSISTANT:"),
        separators=(*_LINES, " ", "</s>"),
    ),
    Markup(
        "### Human/### Assistant",  # Guanaco
        DIALOGUE,
        _speakers("### Human:", "### Assistant:") | _speakers("###Human:", "###Assistant:"),
    ),
    Markup("### User/### Assistant", DIALOGUE, _speakers("### User:", "### Assistant:")),
    Markup(
        "### Instruction/### Response",  # Alpaca
        DIALOGUE,
        _speakers("### Instruction:", "### Response:"),
    ),
    Markup("<human>/<bot>", DIALOGUE, _speakers("<human>:", "<bot>:")),
)

BEGINS = tuple(dict.fromkeys(token for markup in MARKUPS for token in markup.begins))
"""Every known token that begins a text. `<|endoftext|>` is both a beginning and an end."""

_OTHER_ENDS = (
    "<|end_of_sentence|>",
    "<end_of_sentence>",
    "<|EOT|>",
    "<eoa>",
    "<|role_end|>",
    "<|eos|>",
)
ENDS = tuple(dict.fromkeys(token for markup in MARKUPS for token in markup.ends)) + _OTHER_ENDS
"""Every known token that ends a turn."""
