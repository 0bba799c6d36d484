"""A real headless Chromium for tests of pages; tests that need it skip where there is none."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_NEEDED = ("chromium", "chromedriver")


@contextmanager
def chromium(width: int, height: int = 900) -> Iterator[Any]:
    """A Selenium driver whose pages are `width` pixels wide."""
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no browser here: {', '.join(missing)} (Debian: chromium, chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(str(shutil.which("chromedriver")))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        set_width(driver, width, height)
        yield driver
    finally:
        driver.quit()


def set_width(driver: Any, width: int, height: int = 900) -> None:
    """Of the page itself: a window cannot be narrower than Chromium's own controls."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def open_report(driver: Any, page: Path) -> None:
    """Returns once every plot is drawn."""
    driver.get(page.as_uri())
    wait_for(driver, "return document.documentElement.dataset.drawn === 'yes'")


def wait_for(driver: Any, script: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if driver.execute_script(script):
            return
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {script}; {driver.get_log('browser')}")


def requested(driver: Any) -> set[str]:
    """Every URL that the page asked for."""
    events = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    sent = (e["params"] for e in events if e["method"] == "Network.requestWillBeSent")
    return {event["request"]["url"] for event in sent}
