"""The untouched policy scores as the kept reference does, or the sweep ends and says what differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dpo_core.errors import ReferenceMismatch
from dpo_core.models.load import load_model, weights_fingerprint
from dpo_core.models.reusable import ReusableModel
from dpo_core.scoring.scorer import Scorer
from dpo_core.settings import ModelSettings
from dpo_core.training.trial_data import TrialData
from sweeps.run_dir.prepared import Prepared
from sweeps.trials.untouched_policy import CHECKED_PAIRS, _some_rows, check_untouched_policy
from tests.support.toys import toy_encoded

ROW_TOKENS = 96
PAIRS = toy_encoded(CHECKED_PAIRS + 20)


def prepared_of(settings: ModelSettings, **changes: Any) -> Prepared:
    values = {
        "weights_sha256": weights_fingerprint(settings),
        "row_tokens": ROW_TOKENS,
        "score_dtype": settings.dtype,
        **changes,
    }
    return Prepared(
        "d", tokenizer_sha256="t", reports={}, reference_keys={}, reference_computed={}, **values
    )


def data_of(settings: ModelSettings, dtype: str = "") -> TrialData:
    reference = Scorer(settings, ROW_TOKENS)(PAIRS, dtype)
    return TrialData([], PAIRS, {}, reference, score_dtype=dtype)


def settings_of(toy_model: Path, **changes: Any) -> ModelSettings:
    return ModelSettings(path=str(toy_model), **changes)


CASES = pytest.mark.parametrize(
    ("dtype", "score_dtype"),
    [("float32", "float32"), ("bfloat16", "float32"), ("bfloat16", "bfloat16")],
)


@CASES
def test_an_untouched_model_passes(toy_model: Path, dtype: Any, score_dtype: str) -> None:
    settings = settings_of(toy_model, dtype=dtype)
    reusable = ReusableModel(settings, "cpu")
    with reusable.restored_after_use() as model:
        check_untouched_policy(
            model, data_of(settings, score_dtype), settings, prepared_of(settings)
        )
        assert not model.training


@CASES
def test_a_changed_weight_ends_the_sweep_and_is_named(
    toy_model: Path, dtype: Any, score_dtype: str
) -> None:
    settings = settings_of(toy_model, dtype=dtype)
    data, model = data_of(settings, score_dtype), load_model(settings)
    weight = model.model.layers[1].mlp.up_proj.weight
    with torch.no_grad():
        weight[3] += 0.5
    with pytest.raises(ReferenceMismatch) as error:
        check_untouched_policy(model, data, settings, prepared_of(settings, margin_noise=1e-3))
    text = str(error.value)
    assert "model.layers.1.mlp.up_proj.weight (by 0.5" in text
    assert "layers.0" not in text
    assert "start a new sweep with resources.trials_per_lane=1" in text
    assert "\n" not in text


def test_a_sweep_whose_noise_was_not_measured_goes_on(toy_model: Path) -> None:
    """What an earlier version prepared in half precision can be resumed on another machine."""
    settings = settings_of(toy_model, dtype="bfloat16")
    data = data_of(settings)
    data.select_reference["chosen"][:] -= 1.0
    prepared = prepared_of(settings, score_dtype="")
    check_untouched_policy(load_model(settings), data, settings, prepared)


def test_few_of_many_tensors_are_named(toy_model: Path) -> None:
    settings = settings_of(toy_model)
    data, model = data_of(settings), load_model(settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1.5
    with pytest.raises(ReferenceMismatch, match=r"\(by [\d.]+\), .* and \d+ more"):
        check_untouched_policy(model, data, settings, prepared_of(settings))


def test_other_files_than_those_that_were_prepared_are_named(toy_model: Path) -> None:
    """Loaded again they give the same tensors, so only their fingerprint tells."""
    settings = settings_of(toy_model)
    data = data_of(settings)
    data.select_reference["chosen"][:] -= np.linspace(0, 1, len(PAIRS))
    prepared = prepared_of(settings, weights_sha256="of other files")
    with pytest.raises(ReferenceMismatch, match=r"files of .* have changed since"):
        check_untouched_policy(load_model(settings), data, settings, prepared)


def test_equal_weights_that_compute_otherwise_are_another_machine(toy_model: Path) -> None:
    settings = settings_of(toy_model)
    data = data_of(settings)
    data.select_reference["chosen"][:] -= np.linspace(0, 1, len(PAIRS))
    with pytest.raises(ReferenceMismatch, match=r"no tensor differs .* one kind of device"):
        check_untouched_policy(load_model(settings), data, settings, prepared_of(settings))


@pytest.mark.parametrize(("noise", "passes"), [(0.101, True), (0.099, False)])
def test_the_root_mean_square_decides_and_not_each_pair(
    toy_model: Path, noise: float, passes: bool
) -> None:
    """One pair in a hundred is off by more than three times the noise in a good sweep."""
    settings = settings_of(toy_model)
    data = data_of(settings)
    checked = [i for row in _some_rows(data, ROW_TOKENS) for i in row.indices]
    # One pair is off by four times what is allowed for all of them together.
    data.select_reference["chosen"][checked[0]] += 0.3 * len(checked) ** 0.5
    prepared = prepared_of(settings, margin_noise=noise)
    model = load_model(settings)
    if passes:
        check_untouched_policy(model, data, settings, prepared)
    else:
        with pytest.raises(ReferenceMismatch, match=r"0\.3 nats"):
            check_untouched_policy(model, data, settings, prepared)


def test_only_some_pairs_are_scored_in_rows_of_the_reference(
    toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeps.trials import untouched_policy as module

    settings = settings_of(toy_model, dtype="bfloat16")
    scored: list[int] = []
    original = module.score_rows

    def counted(model: Any, rows: Any, shared: bool) -> Any:
        scored.append(sum(row.pairs for row in rows))
        return original(model, rows, shared)

    monkeypatch.setattr(module, "score_rows", counted)
    # Other rows would round otherwise: bit for bit equal, without any noise to hide in.
    monkeypatch.setattr(module, "FLOAT32_NOISE", 0.0)
    data = data_of(settings, "bfloat16")
    check_untouched_policy(load_model(settings), data, settings, prepared_of(settings))
    assert CHECKED_PAIRS <= scored[0] < CHECKED_PAIRS + 8
