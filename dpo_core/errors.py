"""The project's own exceptions, sorted by who can mend the cause.

Exception
├── UserError            a mistake of the user: the message names the value, the rule and the way out
│   ├── DataError        preference data: a file, a row, a split
│   ├── ModelError       a model, its tokenizer or its template
│   ├── SettingsError    a value in a config or on the command line
│   ├── StorageError     a storage that is full or out of reach
│   └── ReferenceMismatch  an untouched model that scores otherwise than the kept reference
└── TrialFailed          one trial ended early; the sweep records the reason and continues
"""

from __future__ import annotations


class UserError(Exception):
    """A mistake that the user can mend; printed as one line, without a traceback."""

    exit_code = 2
    """Exit code of a command that ends with this error."""


class DataError(UserError):
    """Preference data that cannot be used as it is."""


class ModelError(UserError):
    """A model or tokenizer that cannot be used as it is."""


class SettingsError(UserError):
    """A setting that breaks a rule."""


class StorageError(UserError):
    """A storage that is full, or was out of reach for too long; no file is left half-written."""


class ReferenceMismatch(UserError):
    """An untouched model that scores otherwise than the kept reference, so no trial can be compared."""


class TrialFailed(Exception):
    """A trial that ended without a result.

    `reason` is a short kind that reports count ("nan", "out of memory", "exception"); `detail` is
    text for a reader.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        # Both go to `args`, so that the exception survives pickling between Ray processes.
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason
