"""Settings of the nights: when one begins, and which earlier ones it learns from.

Tested in tests/unit/sweeps/nightly/test_run_night.py.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from dpo_core.settings import Settings


class NightSettings(Settings):
    """Settings that only `dpo-sweeps nightly` reads."""

    time_zone: str = "UTC"
    """The time zone of `turns_at`, such as Europe/Vienna."""
    turns_at: str = Field(
        "12:00",
        pattern=r"^([01]\d|2[0-3]):[0-5]\d$",
        description="time of day from 00:00 to 23:59",
        examples=["12:00"],
    )
    """The time at which a new night begins; an earlier start belongs to the night of the day before."""
    warm_start_nights: int = Field(30, ge=0)
    """The search begins with the finished trials of so many earlier nights; 0: with none."""

    @field_validator("time_zone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{value} is no time zone; give one such as Europe/Vienna") from None
        return value

    def night_of(self, now: datetime) -> date:
        """Return the date of the evening on which the night of `now` (with a time zone) began."""
        zone = ZoneInfo(self.time_zone)
        evening = now.astimezone(zone).date()
        turn = datetime.combine(evening, time.fromisoformat(self.turns_at), zone)
        # In UTC: where clocks go back, a local time comes twice, and the night begins at the first.
        has_begun = now.astimezone(UTC) >= turn.astimezone(UTC)
        return evening if has_begun else evening - timedelta(days=1)
