"""Generated answers do not depend on the batch, and sampled ones on the seed alone."""

from __future__ import annotations

import torch

from dpo_core.encoding.encode import prompt_tokens
from dpo_core.models.generation import generate
from tests.support.toys import toy_llama, toy_tokenizer


def test_generation_is_batched_and_seeded() -> None:
    model, tokenizer = toy_llama(vocab_size=len(toy_tokenizer())), toy_tokenizer()
    texts = ("Hello", "May I take two of it?")
    prompts = [prompt_tokens(({"role": "user", "content": t},), tokenizer) for t in texts]
    greedy = generate(model, tokenizer, prompts, 8)
    alone = [generate(model, tokenizer, [prompt], 8)[0] for prompt in prompts]
    assert greedy == alone, "padding changes nothing"
    state = torch.get_rng_state()
    hot = [generate(model, tokenizer, prompts, 8, temperature=1.0, seed=s) for s in (1, 1, 2)]
    assert hot[0] == hot[1] != hot[2]
    assert torch.equal(torch.get_rng_state(), state)


def test_answers_end_where_the_context_of_the_model_ends() -> None:
    tokenizer = toy_tokenizer()
    model = toy_llama(vocab_size=len(tokenizer), max_position_embeddings=24)
    model.generation_config.eos_token_id = tokenizer.eos_token_id = None
    prompts = [tuple(range(3, 13)), tuple(range(3, 8))]
    answers = generate(model, tokenizer, prompts, 100)
    assert [len(answer.tokens) for answer in answers] == [14, 14], "24 − 10, the longest prompt"
    assert not any(answer.ended for answer in answers)
