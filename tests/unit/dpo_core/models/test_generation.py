"""Generated answers do not depend on the batch, and sampled ones on the seed alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dpo_core.encoding.pair_encoder import PairEncoder
from dpo_core.encoding.rules import EncodingRules
from dpo_core.models import generation
from dpo_core.models.generation import generate, generate_greedily
from dpo_core.preferences.pairs import make_pair
from tests.support.architectures import toy
from tests.support.toys import toy_llama, toy_tokenizer


def test_generation_is_batched_and_seeded() -> None:
    model, tokenizer = toy_llama(vocab_size=len(toy_tokenizer())), toy_tokenizer()
    texts = ("Hello", "May I take two of it?")
    pairs = [make_pair(({"role": "user", "content": text},), (), ()) for text in texts]
    prompts = PairEncoder(tokenizer, 512, EncodingRules()).prompt_tokens(pairs)
    greedy = generate(model, tokenizer, prompts, 8)
    alone = [generate(model, tokenizer, [prompt], 8)[0] for prompt in prompts]
    assert greedy == alone, "padding changes nothing"
    state = torch.get_rng_state()
    hot = [generate(model, tokenizer, prompts, 8, temperature=1.0, seed=s) for s in (1, 1, 2)]
    assert hot[0] == hot[1] != hot[2]
    assert torch.equal(torch.get_rng_state(), state)


def test_a_batch_that_becomes_smaller_gives_the_same_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An answer that has ended is left out of what follows, and the others go on where they were."""
    tokenizer = toy_tokenizer()
    model = toy_llama(vocab_size=len(tokenizer))
    prompts = [tuple(range(3 + n, 13 + 3 * n)) for n in range(12)]
    alone = [generate(model, tokenizer, [prompt], 38)[0] for prompt in prompts]
    early = sorted(len(answer.tokens) for answer in alone)[4]
    after = alone[0].tokens[early // 2]  # now it ends an answer here and there
    tokenizer.eos_token_id = model.generation_config.eos_token_id = after
    once = [generate(model, tokenizer, [prompt], 38)[0] for prompt in prompts]
    assert 0 < sum(answer.ended for answer in once) < 12
    monkeypatch.setattr(generation, "_STOP_EVERY", 4)
    sizes, stepwise = [], model.generate

    def counted(**arguments: Any) -> Any:
        sizes.append((len(arguments["input_ids"]), arguments["max_new_tokens"]))
        return stepwise(**arguments)

    monkeypatch.setattr(model, "generate", counted)
    assert generate_greedily(model, tokenizer, prompts, 38) == once
    assert [stop for _, stop in sizes] == [4] * 9 + [2]
    assert sizes[0][0] == 12 > sizes[-1][0] == sum(len(answer.tokens) >= 36 for answer in once)


def test_a_batch_of_which_every_answer_ends_is_done() -> None:
    tokenizer, model = toy_tokenizer(), toy_llama(vocab_size=len(toy_tokenizer()))
    prompts = [tuple(range(3, 9)), tuple(range(5, 11))]
    free = [generate(model, tokenizer, [prompt], 8)[0] for prompt in prompts]
    model.generation_config.eos_token_id = [answer.tokens[-1] for answer in free]
    answers = generate_greedily(model, tokenizer, prompts, 100)
    assert all(answer.ended for answer in answers)
    assert max(len(answer.tokens) for answer in answers) < 8


def test_answers_end_where_the_context_of_the_model_ends() -> None:
    tokenizer = toy_tokenizer()
    model = toy_llama(vocab_size=len(tokenizer), max_position_embeddings=24)
    model.generation_config.eos_token_id = tokenizer.eos_token_id = None
    prompts = [tuple(range(3, 13)), tuple(range(3, 8))]
    answers = generate(model, tokenizer, prompts, 100)
    assert [len(answer.tokens) for answer in answers] == [14, 14], "24 − 10, the longest prompt"
    assert not any(answer.ended for answer in answers)
    assert generate_greedily(model, tokenizer, prompts, 100) == answers


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma2", "gemma3_text", "qwen3", "gpt2"])
def test_every_architecture_answers_alike_in_a_batch_that_becomes_smaller(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sliding windows and absolute positions included."""
    tokenizer, model = toy_tokenizer(), toy(kind, "eager")
    prompts = [tuple(range(3 + n, 9 + 2 * n)) for n in range(6)]
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    free = [generate(model, tokenizer, [prompt], 24)[0] for prompt in prompts]
    end = free[0].tokens[5]
    tokenizer.eos_token_id = model.generation_config.eos_token_id = end
    once = [generate(model, tokenizer, [prompt], 24)[0] for prompt in prompts]
    assert once[0].ended
    monkeypatch.setattr(generation, "_STOP_EVERY", 4)
    assert generate_greedily(model, tokenizer, prompts, 24) == once
