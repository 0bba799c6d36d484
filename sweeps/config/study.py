"""Checks of `search.study`, the study that sweeps share, without opening it.

Tested in tests/unit/sweeps/config/test_load.py.
"""

from __future__ import annotations

import importlib.util
import re

from dpo_core.errors import SettingsError
from sweeps.config.secrets import password_in, redact

_FORMS = (
    "postgresql://user@host/database, journal:///shared/study.log or sqlite:////folder/study.db"
)


def check_study_url(url: str) -> str:
    """Return the URL of a study.

    Raises:
        ValueError: it has a password, which the message does not repeat, or is no URL of a study.
    """
    if password_in(url):
        raise ValueError(
            "the URL holds a password, and a config is copied and shown; leave it out and give it "
            "in PGPASSWORD, or in the file that PGPASSFILE names"
        )
    if not re.match(r"postgresql://[^/]+/[^/?]+|journal:///.+|sqlite:////.+", url):
        raise ValueError(f"{redact(url)}: is no study; use {_FORMS}")
    return url


def check_study_driver(url: str | None) -> None:
    """Raise a SettingsError when the database driver is not installed."""
    if (
        url is not None
        and url.startswith("postgresql:")
        and not importlib.util.find_spec("psycopg")
    ):
        raise SettingsError(
            f"search.study: {url} needs psycopg; pip install 'dpo-sweeps[postgres]' on the node "
            "that runs the sweep's driver"
        )
