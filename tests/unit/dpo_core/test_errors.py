"""Which errors are the user's to mend, and what a failed trial carries."""

from __future__ import annotations

import pickle

from dpo_core.errors import (
    DataError,
    ModelError,
    SettingsError,
    StorageError,
    TrialFailed,
    UserError,
)


def test_the_hierarchy_of_errors() -> None:
    for kind in (DataError, ModelError, SettingsError, StorageError):
        assert issubclass(kind, UserError)
    assert not issubclass(TrialFailed, UserError)


def test_a_failed_trial_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(TrialFailed("nan", "loss at step 3")))
    assert (error.reason, error.detail) == ("nan", "loss at step 3")
    assert str(error) == "nan: loss at step 3"
    assert str(TrialFailed("out of memory")) == "out of memory"
