"""When a night begins, and what it learns from earlier ones. No torch, no ray."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from dpo_core.settings import Settings


class NightSettings(Settings):
    """Read by `dpo-sweeps nightly` alone."""

    time_zone: str = "UTC"
    """In which `turns_at` is meant, such as Europe/Vienna."""
    turns_at: str = Field("12:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    """A new night begins then. Until then, what starts belongs to the night of the day before."""
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
        """The date of the evening on which the night of `now` (with a time zone) began."""
        local = now.astimezone(ZoneInfo(self.time_zone))
        begun = local.time() >= time.fromisoformat(self.turns_at)
        return local.date() if begun else local.date() - timedelta(days=1)
