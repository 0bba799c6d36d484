"""The table of published layouts of preference data; each is written as `data.columns` would be.

Each has an example of ten rows in tests/data/layouts/<name>.jsonl, whose first canonical pair is in
tests/data/layouts/canonical.json. A source is read as the first of the table that its rows fit. Every
layout also reads the columns of `OPTIONAL_COLUMNS`.

Tested in tests/unit/dpo_core/columns/test_published.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dpo_core.columns.mapping import ColumnMapping

AUTO = "auto"

OPTIONAL_COLUMNS = {
    "system": (
        "system",
        "system_prompt",
        "system_message",
        "system_instruction",
        "systemInstruction",
    ),
    "tools": ("tools",),
    "chat_template_kwargs": ("chat_template_kwargs",),
    "category": ("category",),
}
"""Columns that mean the same wherever they occur; of several, the first that has a value is used."""


@dataclass(frozen=True)
class PublishedLayout:
    """A layout that people publish preference data in."""

    name: str
    """The value of `data.layout`."""
    title: str
    """What it is called in sentences."""
    publisher: str
    written: Mapping[str, object]
    """The value of `data.columns` that reads it."""
    columns: ColumnMapping


def _layout(
    name: str, title: str, publisher: str, columns: Mapping[str, object]
) -> PublishedLayout:
    return PublishedLayout(name, title, publisher, columns, ColumnMapping.parse(columns))


_CHOSEN = {"chosen": "chosen", "rejected": "rejected"}

_ARENA_WINNER = {
    "column": "winner",
    "a": "model_a",
    "b": "model_b",
    "tie": ["tie", "tie (bothbad)"],
}

PUBLISHED = (
    _layout(
        "hh_prompt_column",
        "Human/Assistant dialogues with a prompt column",
        "Dahoas/full-hh-rlhf, static-hh, rm-static; yitingxie/rlhf-reward-datasets",
        {"prompt": {"column": "prompt", "read": "dialogue"}, **_CHOSEN},
    ),
    _layout(
        "pairs",
        "pairs",
        "TRL, oumi, unsloth, Tulu 3, axolotl prompt_pairs and ultra, UltraFeedback binarized",
        {"prompt": "prompt", **_CHOSEN},
    ),
    _layout(
        "orca",
        "Orca pairs",
        "Intel/orca_dpo_pairs; axolotl chatml.intel",
        {"prompt": "question", **_CHOSEN},
    ),
    _layout(
        "alpaca",
        "Alpaca ranking",
        "LLaMA-Factory",
        {"prompt": ["instruction", "input"], "history": "history", **_CHOSEN},
    ),
    _layout(
        "orca_input",
        "Orca pairs of distilabel",
        "argilla/distilabel-intel-orca-dpo-pairs; axolotl chatml.icr",
        {"prompt": "input", **_CHOSEN},
    ),
    _layout(
        "argilla",
        "argilla's pairs",
        "argilla/ultrafeedback-binarized-preferences; axolotl chatml.argilla",
        {"prompt": "instruction", "chosen": "chosen_response", "rejected": "rejected_response"},
    ),
    _layout(
        "nemo_rl_pairs",
        "pairs of two responses",
        "NVIDIA NeMo-RL",
        {"prompt": "prompt", "chosen": "chosen_response", "rejected": "rejected_response"},
    ),
    _layout(
        "sharegpt",
        "ShareGPT ranking",
        "LLaMA-Factory dpo_en_demo",
        {"prompt": "conversations", **_CHOSEN},
    ),
    _layout(
        "messages_and_answers",
        "messages and two answers",
        "axolotl chat_template.default",
        {"prompt": "messages", **_CHOSEN},
    ),
    _layout(
        "trajectory",
        "a trajectory and two actions",
        "openbmb/UltraInteract_pair",
        {"prompt": "trajectory", **_CHOSEN},
    ),
    _layout(
        "context_and_answers",
        "context and two answers",
        "PKU-Alignment/processed-hh-rlhf",
        {"prompt": "context", **_CHOSEN},
    ),
    _layout(
        "openai",
        "OpenAI's preference rows",
        "OpenAI, Azure, Together, Fireworks",
        {
            "prompt": "input.messages",
            "tools": "input.tools",
            "chosen": "preferred_output",
            "rejected": "non_preferred_output",
        },
    ),
    _layout(
        "fireworks_chosen",
        "two conversations",
        "Fireworks",
        {"chosen": "chosen.messages", "rejected": "rejected.messages"},
    ),
    _layout(
        "rejected_message",
        "a conversation and a rejected message",
        "OpenPipe",
        {
            "prompt": "messages[:-1]",
            "chosen": "messages[-1]",
            "rejected": "rejected_message",
        },
    ),
    _layout(
        "nova",
        "messages that end in two candidates",
        "Amazon Nova",
        {
            "prompt": "messages[:-1]",
            "a": "messages[-1].candidates[0].content",
            "b": "messages[-1].candidates[1].content",
            "winner": {
                "column": "messages[-1].candidates[0].preferenceLabel",
                "a": "preferred",
                "b": "non-preferred",
            },
        },
    ),
    _layout(
        "rejected_messages",
        "two conversations",
        "ms-swift",
        {"chosen": "messages", "rejected": "rejected_messages"},
    ),
    _layout(
        "rejected_answer",
        "a conversation and messages of a rejected answer",
        "ms-swift",
        {
            "prompt": "messages[:-1]",
            "chosen": "messages[-1]",
            "rejected": "rejected_messages",
        },
    ),
    _layout(
        "rejected_response",
        "messages and a rejected response",
        "ms-swift",
        {
            "prompt": "messages[:-1]",
            "chosen": "messages[-1]",
            "rejected": "rejected_response",
        },
    ),
    _layout(
        "query_response",
        "query, response and rejected response",
        "ms-swift 2",
        {
            "prompt": "query",
            "history": "history",
            "chosen": "response",
            "rejected": "rejected_response",
        },
    ),
    _layout(
        "two_conversations",
        "two conversations",
        "torchtune",
        {"chosen": "chosen_conversations", "rejected": "rejected_conversations"},
    ),
    _layout(
        "two_outputs",
        "Alpaca comparison",
        "LLaMA-Factory comparison_gpt4_data",
        {
            "prompt": ["instruction", "input"],
            "history": "history",
            "chosen": "output[0]",
            "rejected": "output[1]",
        },
    ),
    _layout(
        "stack_exchange",
        "Stack Exchange pairs",
        "lvwerra/stack-exchange-paired; torchtune",
        {"prompt": "question", "chosen": "response_j", "rejected": "response_k"},
    ),
    _layout(
        "ultrafeedback",
        "UltraFeedback ratings",
        "openbmb/UltraFeedback",
        {
            "prompt": "instruction",
            "responses": "completions[].response",
            "scores": "completions[].overall_score",
        },
    ),
    _layout(
        "distilabel",
        "distilabel's ratings",
        "distilabel UltraFeedback task",
        {"prompt": "instruction", "responses": "generations", "scores": "ratings"},
    ),
    _layout(
        "nectar",
        "Nectar ranks",
        "berkeley-nest/Nectar; axolotl zephyr.nectar",
        {
            "prompt": {"column": "prompt", "read": "dialogue"},
            "responses": "answers[].answer",
            "ranks": "answers[].rank",
        },
    ),
    _layout(
        "nemo_rl",
        "ranked completions",
        "NVIDIA NeMo-RL",
        {
            "prompt": "context",
            "responses": "completions[].completion",
            "ranks": "completions[].rank",
        },
    ),
    _layout(
        "gemini",
        "scored completions of contents",
        "Google Gemini (Vertex AI)",
        {
            "prompt": "contents",
            "responses": "completions[].completion",
            "scores": "completions[].score",
        },
    ),
    _layout(
        "paddle",
        "questions, the answers between them, and sorted responses",
        "PaddleNLP, ERNIEKit",
        {
            "prompt": {"column": ["src", "tgt"], "read": "turns"},
            "responses": "response",
            "scores": "sort",
        },
    ),
    _layout(
        "stack_exchange_answers",
        "Stack Exchange answers with scores",
        "HuggingFaceH4/stack-exchange-preferences",
        {
            "prompt": "question",
            "responses": "answers[].text",
            "scores": "answers[].pm_score",
        },
    ),
    _layout(
        "fireworks_samples",
        "scored samples",
        "Fireworks",
        {"responses": "samples[].messages", "scores": "samples[].evals.score"},
    ),
    _layout(
        "helpsteer2_preference",
        "HelpSteer 2 preferences",
        "nvidia/HelpSteer2",
        {
            "prompt": {"column": "prompt", "read": "nemo_dialogue"},
            "a": "response_1",
            "b": "response_2",
            "winner": {"column": "preference_strength", "a": "< 0", "b": "> 0", "tie": 0},
        },
    ),
    _layout(
        "helpsteer2",
        "HelpSteer ratings",
        "nvidia/HelpSteer, nvidia/HelpSteer2",
        {
            "prompt": {"column": "prompt", "read": "nemo_dialogue"},
            "response": "response",
            "score": "helpfulness",
        },
    ),
    _layout(
        "helpsteer3",
        "HelpSteer 3 preferences",
        "nvidia/HelpSteer3",
        {
            "prompt": "context",
            "a": "response1",
            "b": "response2",
            "winner": {"column": "overall_preference", "a": "< 0", "b": "> 0", "tie": 0},
        },
    ),
    _layout(
        "arena",
        "Arena votes",
        "lmsys/chatbot_arena_conversations, lmarena-ai/arena-human-preference, mt_bench_human_judgments",
        {
            "a": "conversation_a",
            "b": "conversation_b",
            "winner": {
                "column": "winner",
                "a": "model_a",
                "b": "model_b",
                "tie": ["tie", "tie (bothbad)", "both_bad"],
            },
        },
    ),
    _layout(
        "arena_55k",
        "Arena votes",
        "lmsys/lmsys-arena-human-preference-55k",
        {
            "prompt": {"column": "prompt", "read": "turns"},
            "responses": {"column": ["response_a", "response_b"], "read": "turns"},
            "scores": ["winner_model_a", "winner_model_b"],
        },
    ),
    _layout(
        "arena_wsdm",
        "Arena votes",
        "the WSDM Cup of LMArena",
        {
            "prompt": "prompt",
            "a": "response_a",
            "b": "response_b",
            "winner": _ARENA_WINNER,
        },
    ),
    _layout(
        "arena_ppe",
        "Arena votes",
        "lmarena-ai/PPE-Human-Preference-V1",
        {
            "prompt": "prompt",
            "a": "response_1",
            "b": "response_2",
            "winner": _ARENA_WINNER,
        },
    ),
    _layout(
        "prometheus",
        "judged responses",
        "prometheus-eval/Preference-Collection",
        {
            "prompt": "orig_instruction",
            "a": "orig_response_A",
            "b": "orig_response_B",
            "winner": {"column": "orig_preference", "a": "A", "b": "B"},
        },
    ),
    _layout(
        "align_anything",
        "align-anything votes",
        "PKU-Alignment/align-anything",
        {
            "prompt": "question",
            "a": "response_1",
            "b": "response_2",
            "winner": {"column": "overall_response", "a": 1, "b": 2},
        },
    ),
    _layout(
        "safe_rlhf",
        "PKU-SafeRLHF votes",
        "PKU-Alignment/PKU-SafeRLHF",
        {
            "prompt": "prompt",
            "a": "response_0",
            "b": "response_1",
            "winner": {"column": "better_response_id", "a": 0, "b": 1},
        },
    ),
    _layout(
        "shp",
        "SHP votes",
        "stanfordnlp/SHP, SHP-2",
        {
            "prompt": "history",
            "a": "human_ref_A",
            "b": "human_ref_B",
            "winner": {"column": "labels", "a": 1, "b": 0},
        },
    ),
    _layout(
        "webgpt",
        "WebGPT comparisons",
        "openai/webgpt_comparisons",
        {
            "prompt": "question.full_text",
            "a": "answer_0",
            "b": "answer_1",
            "winner": {"column": "score_0", "a": "> 0", "b": "< 0", "tie": 0},
        },
    ),
    _layout(
        "summarize_feedback",
        "summaries with a choice",
        "openai/summarize_from_feedback",
        {
            "prompt": ["info.title", "info.post", "info.article"],
            "a": "summaries[0].text",
            "b": "summaries[1].text",
            "winner": {"column": "choice", "a": 0, "b": 1},
        },
    ),
    _layout(
        "alpaca_farm",
        "AlpacaFarm preferences",
        "tatsu-lab/alpaca_farm",
        {
            "prompt": ["instruction", "input"],
            "a": "output_1",
            "b": "output_2",
            "winner": {"column": "preference", "a": 1, "b": 2},
        },
    ),
    _layout(
        "unpaired",
        "unpaired labels",
        "TRL and oumi KTO; trl-lib/kto-mix-14k; axolotl kto",
        {"prompt": "prompt", "response": "completion", "label": "label"},
    ),
    _layout(
        "orca_kto",
        "Orca rows with a label",
        "argilla/distilabel-intel-orca-kto; axolotl chatml.intel",
        {"prompt": "question", "response": "completion", "label": "label"},
    ),
    _layout(
        "argilla_kto",
        "argilla's rows with a label",
        "axolotl chatml.argilla",
        {"prompt": "instruction", "response": "completion", "label": "label"},
    ),
    _layout(
        "beaver_tails",
        "BeaverTails labels",
        "PKU-Alignment/BeaverTails",
        {
            "prompt": "prompt",
            "response": "response",
            "label": "is_safe",
            "ignore": ["category"],
        },
    ),
    _layout(
        "alpaca_kto",
        "Alpaca rows with a label",
        "LLaMA-Factory",
        {
            "prompt": ["instruction", "input"],
            "history": "history",
            "response": "output",
            "label": "kto_tag",
        },
    ),
    _layout(
        "sharegpt_kto",
        "ShareGPT conversations with a label",
        "LLaMA-Factory kto_en_demo",
        {
            "prompt": "conversations[:-1]",
            "response": "conversations[-1]",
            "label": "kto_tag",
        },
    ),
    _layout(
        "messages_kto",
        "messages with a label",
        "LLaMA-Factory, ms-swift",
        {"prompt": "messages[:-1]", "response": "messages[-1]", "label": "label"},
    ),
    _layout(
        "spin",
        "real and generated conversations",
        "UCLA-AGI/SPIN",
        {"chosen": "real", "rejected": "generated"},
    ),
    _layout(
        "implicit_prompt",
        "two texts or conversations with the same beginning, which is the prompt",
        "TRL, Anthropic/hh-rlhf, argilla/dpo-mix-7k, Skywork",
        dict(_CHOSEN),
    ),
)

LAYOUTS = {layout.name: layout for layout in PUBLISHED}
