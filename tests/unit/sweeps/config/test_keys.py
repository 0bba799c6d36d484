"""An unknown key is answered with the key that was meant, by its full path."""

from __future__ import annotations

import pytest

from sweeps.config.keys import describe_unknown_key


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("search.trails", "did you mean search.trials?"),
        ("modle", "did you mean model?"),
        ("trials", "did you mean search.trials?"),
        ("trails", "did you mean search.trials?"),
        ("adapter", "did you mean model.adapter?"),
        ("data.kind", "did you mean data.sources[].kind or model.adapter.kind?"),
        ("search.seed", "did you mean seed?"),
        ("training.learning_rate", "did you mean space.learning_rate?"),
        ("beta", "did you mean space.beta?"),
        ("data.sources[0].wieght", "did you mean data.sources[].weight?"),
        (
            "selection.guardrails.drift_chosen.limits",
            "did you mean selection.guardrails.drift_chosen",
        ),
        ("training.per_device_train_batch_size", "use `training.batch_pairs`"),
        ("training.hub_token", "secrets do not belong in a config that is stored and shown"),
        ("model.adapter.bias", "known are alpha, dropout, kind, rank, targets"),
        (
            "training.weight_decay",
            "known are batch_pairs, epochs, evaluations, gradient_checkpointing, max_steps, "
            "row_tokens, trl, warmup_fraction; other fields of TRL's DPOConfig stand under training.trl",
        ),
    ],
)
def test_unknown_key(path: str, advice: str) -> None:
    assert describe_unknown_key(path).startswith(f"is an unknown key; {advice}")


def test_a_key_of_many_sections_is_named_a_few_times() -> None:
    assert describe_unknown_key("limit") == (
        "is an unknown key; did you mean data.limit, data.sources[].limit, "
        "selection.guardrails.drift_chosen.limit or one of 5 more?"
    )
