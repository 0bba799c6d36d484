"""What TRL would refuse when a trial begins is refused before, with what it takes."""

from __future__ import annotations

import pytest

from dpo_core.errors import SettingsError
from dpo_core.training.trl_fields import check_trl_fields


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("weight_decy", 0.1, "TRL's DPOConfig has no such field; did you mean weight_decay?"),
        ("foo", 1, "TRL's DPOConfig has no such field; give one that the installed TRL documents"),
        (
            "lr_scheduler_type",
            "cosin",
            "'cosin' is unknown; did you mean cosine? (linear, cosine, ",
        ),
        ("lr_scheduler_type", "zigzag", "'zigzag' is unknown; use one of linear, cosine, "),
        ("lr_scheduler_type", 3, "3 is unknown; use one of linear, cosine, "),
        ("optim", "adamw", "'adamw' is unknown; "),
        ("weight_decay", "0.1", "'0.1' is text; write the number without quotes"),
        ("max_grad_norm", None, "null is no value here; write a number"),
        ("tf32", "yes", "'yes' is text; write true or false, without quotes"),
        ("ddp_timeout", 1.5, "1.5 is a number with a fraction; write a whole number"),
        ("lr_scheduler_kwargs", 3, "3 is a number; write a mapping"),
        ("label_names", "labels", "'labels' is text; write a list: [labels]"),
    ],
)
def test_a_field_that_trl_would_refuse(name: str, value: object, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_trl_fields({name: value})
    assert str(caught.value).startswith(f"training.trl.{name}: {said}")


def test_what_trl_takes() -> None:
    check_trl_fields(
        {
            "weight_decay": 0,
            "max_grad_norm": 1.0,
            "lr_scheduler_type": "cosine",
            "lr_scheduler_kwargs": {"num_cycles": 2},
            "optim": "adamw_torch",
            "tf32": None,
            "logging_steps": 5,
            "optim_target_modules": ["a", "b"],
            "torch_empty_cache_steps": 4,
        }
    )
