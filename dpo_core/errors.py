"""What can go wrong, and whose it is to mend.

Exception
├── UserError            the user's to mend: the message says what, which rule, and the way out
│   ├── DataError        preference data: a file, a row, a split
│   ├── ModelError       a model, its tokenizer or its template
│   ├── SettingsError    a value in a config or on the command line
│   └── StorageError     a storage that is full or out of reach
└── TrialFailed          one trial ended early; the sweep records why and goes on
"""

from __future__ import annotations


class UserError(Exception):
    """A mistake that the user can mend; shown as one line, without a traceback."""

    exit_code = 2
    """Exit code of a command that ends with this error."""


class DataError(UserError):
    """Preference data that cannot be used as it is."""


class ModelError(UserError):
    """A model or tokenizer that cannot be used as it is."""


class SettingsError(UserError):
    """A setting that breaks a rule."""


class StorageError(UserError):
    """A storage that is full, or was out of reach for too long; nothing is half-written."""


class TrialFailed(Exception):
    """One trial ended without a result.

    `reason` is a short kind to count by ("nan", "out of memory", "exception"), `detail` is for
    reading.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        # Both go to `args`, so that the exception survives pickling between Ray processes.
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason
