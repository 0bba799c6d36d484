"""What half precision does to margins, and what it costs to know: on SmolLM2 in bfloat16.

Select pairs are scored in both precisions, as preparing a sweep does; then some of them again, as each
worker does before its first trial.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dpo_core.preferences import PreferencePair
from tests.bench.table import Row

PAIRS = 64
MAX_TOKENS = 512
_DTYPE = "bfloat16"
T = TypeVar("T")


def measure(model_dir: Path, pairs: Sequence[PreferencePair], count: int) -> dict[str, Any]:
    """Score the first `count` pairs; seconds, tokens, and nats a margin."""
    from dpo_core.encoding.encode import encode, uses_chat_template
    from dpo_core.models.load import load_tokenizer, silence_libraries
    from dpo_core.models.reusable import ReusableModel
    from dpo_core.scoring.reference_cache import margins, root_mean_square
    from dpo_core.scoring.scorer import Scorer
    from dpo_core.settings import FLOAT32, ModelSettings
    from dpo_core.training.trial_data import TrialData
    from sweeps.run_dir.prepared import Prepared
    from sweeps.trials.untouched_policy import check_untouched_policy

    silence_libraries()
    settings = ModelSettings(path=str(model_dir), dtype=_DTYPE)
    tokenizer, scorer = load_tokenizer(settings), Scorer(settings)
    chat = uses_chat_template(tokenizer, "auto")
    chosen = [as_pair(pair, chat) for pair in pairs[:count]]
    encoded = list(encode(chosen, tokenizer, MAX_TOKENS))
    load_s, _ = _timed(lambda: scorer.model)
    rounded_s, rounded = _timed(lambda: scorer(encoded, _DTYPE))
    exact_s, exact = _timed(lambda: scorer(encoded, FLOAT32))
    noise = root_mean_square(margins(rounded) - margins(exact))
    check_s = {}
    for dtype, reference in ((_DTYPE, rounded), (FLOAT32, exact)):
        data = TrialData([], encoded, {}, reference, score_dtype=dtype)
        prepared = Prepared("", "", "", {}, {}, {}, score_dtype=dtype, margin_noise=noise)
        with ReusableModel(settings, scorer.device).restored_after_use() as model:
            check = (model, data, settings, prepared)
            check_s[dtype], _ = _timed(lambda: check_untouched_policy(*check))  # noqa: B023
    return {
        "pairs": len(encoded),
        "tokens": sum(pair.tokens for pair in encoded),
        "noise": noise,
        "load_s": load_s,
        "rounded_s": rounded_s,
        "exact_s": exact_s,
        "check_s": check_s,
    }


def as_pair(pair: PreferencePair, chat: bool) -> PreferencePair:
    """Return the pair as a chat where the model has a template."""
    from dpo_core.preferences import as_chat

    return as_chat(pair) if chat else pair


def rows(raw: dict[str, Any]) -> list[Row]:
    pairs = raw["pairs"]
    return [
        Row(f"a margin in {_DTYPE}, root mean square, {pairs} pairs", raw["noise"], unit="nats"),
        Row(f"{pairs} pairs scored in {_DTYPE}", raw["rounded_s"], unit="s"),
        Row(f"{pairs} pairs scored in float32", raw["exact_s"], unit="s"),
        *(
            Row(f"check of the untouched policy in {dtype}", seconds, unit="s")
            for dtype, seconds in raw["check_s"].items()
        ),
    ]


def _timed(function: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result
