"""Small real things for tests: a tokenizer, a Llama, preference pairs, packed rows.

Nothing here is a mock and nothing comes from a network. Torch and Transformers are imported where
they are used, so that tests without a model start at once.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dpo_core.encoding.token_table import EncodedPair
from dpo_core.preferences.pairs import PreferencePair, make_pair

if TYPE_CHECKING:
    from dpo_core.training.trial_data import TrialData

# Threads wait for each other longer than toy matrices take: six times slower with two. Read when
# torch is first imported, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Toys learn three answers by heart, so they drift far: guardrails that only warn, for tests of sweeps,
# and few and short answers, which take time.
LENIENT = {
    "guardrails": {
        name: {"action": "warn"}
        for name in (
            "drift_chosen",
            "drift_rejected",
            "length_bias",
            "length_growth",
            "loops",
        )
    },
    "sample_prompts": 8,
    "sample_tokens": 16,
}

VOCABULARY = 400
END_OF_TURN = "<|im_end|>"
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", END_OF_TURN)
# ChatML with a default system turn, as SmolLM2 has it.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou answer questions at a pharmacy<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_MEDICINES = ("ibuprofen", "aspirin", "the syrup", "the ointment", "the drops", "paracetamol")
_QUESTIONS = (
    "Can I take {0} with milk?",
    "How often may a child have {0}?",
    "Is it safe to drive after {0}?",
    "I forgot {0} this morning, what now?",
)
_GOOD = (
    "Please ask the pharmacist about {0} first.",
    "Read the leaflet of {0} and keep to the dose it gives.",
    "Yes, but wait four hours before you take {0} again, and drink enough water.",
)
_BAD = (
    "Just take {0}.",
    "Nobody reads leaflets, so take twice as much of {0} and see what happens.",
    "I do not care about {0}.",
)


def toy_pairs(count: int = 16, seed: int = 0) -> list[PreferencePair]:
    """Chat pairs with distinct prompts (a number sees to that), longer or shorter at random.

    The prompts are nearly the same: sweeps of them set `data.min_similarity: 1.0`.
    """
    rng = random.Random(seed)
    pairs = []
    for number in range(count):
        medicine = rng.choice(_MEDICINES)
        question = f"{rng.choice(_QUESTIONS).format(medicine)} Customer {number} asks."
        good, bad = rng.choice(_GOOD).format(medicine), rng.choice(_BAD).format(medicine)
        pairs.append(
            make_pair(
                ({"role": "user", "content": question},),
                ({"role": "assistant", "content": good},),
                ({"role": "assistant", "content": bad},),
                line=number + 1,
            )
        )
    return pairs


def write_toy_pairs(path: Path, count: int = 60, seed: int = 0) -> Path:
    """The same as JSONL, with plain strings for prompt, chosen and rejected."""
    with path.open("w", encoding="utf-8") as file:
        for pair in toy_pairs(count, seed):
            sides = (pair.prompt, pair.chosen, pair.rejected)
            texts = [side if isinstance(side, str) else side[0]["content"] for side in sides]
            row = dict(zip(("prompt", "chosen", "rejected"), texts, strict=True))
            file.write(json.dumps(row) + "\n")
    return path


def text_pair(prompt: str, chosen: str, rejected: str) -> PreferencePair:
    return make_pair(prompt, chosen, rejected, line=1)


def toy_encoded(count: int = 12, seed: int = 0, longest: int = 16) -> list[EncodedPair]:
    """Random token ids; prompts of 2 to `longest` tokens, answers of 1 to `longest`."""
    rng = np.random.default_rng(seed)

    def ids(low: int) -> tuple[int, ...]:
        return tuple(int(i) for i in rng.integers(3, VOCABULARY, rng.integers(low, longest + 1)))

    pairs = []
    for number in range(count):
        prompt, chosen, rejected = ids(2), ids(1), ids(1)
        while chosen == rejected:
            rejected = ids(1)
        pairs.append(EncodedPair(f"pair-{number}", prompt, chosen, rejected))
    return pairs


def toy_tokenizer(chat_template: str | None = CHAT_TEMPLATE) -> Any:
    """Byte-level BPE trained on the toy sentences, with ChatML's special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    sentences = [t.format(m) for t in (*_QUESTIONS, *_GOOD, *_BAD) for m in _MEDICINES]
    backend.train_from_iterator([*sentences, "system user assistant pharmacy"], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<|endoftext|>",
        bos_token="<|im_start|>",
        eos_token=END_OF_TURN,
        pad_token=END_OF_TURN,
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def toy_llama(seed: int = 0, **changes: Any) -> Any:
    """A Llama of 2 layers in eval mode, float32; `changes` go to its config."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        **{
            "vocab_size": VOCABULARY,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "tie_word_embeddings": True,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 2,
            # Wider than the default 0.02, so that answers differ by more than float noise.
            "initializer_range": 0.1,
            **changes,
        }
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def toy_data(model: Any, train: int = 24, select: int = 10, row_tokens: int = 96) -> TrialData:
    """Two splits of random tokens, and the reference that `model` is."""
    from dpo_core.scoring.logprobs import score_pairs
    from dpo_core.training.trial_data import TrialData

    pairs = toy_encoded(train + select)
    splits = pairs[:train], pairs[train:]
    return TrialData(*splits, *(score_pairs(model, s, row_tokens).numpy() for s in splits))


def save_toy_model(folder: Path, seed: int = 0, chat_template: str | None = CHAT_TEMPLATE) -> Path:
    """A directory that `model.path` can name: safetensors, config and tokenizer."""
    tokenizer = toy_tokenizer(chat_template)
    toy_llama(seed, vocab_size=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
