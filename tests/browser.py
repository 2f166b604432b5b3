"""A headless Chromium for tests of pages: its start, its view, its pictures, and how far text stands out.

Needs Debian's `chromium` and `chromium-driver` (.ci/run installs them where it may).
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)

NEEDS_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None,
        reason="no Chromium here: apt-get install chromium chromium-driver",
    ),
]


@contextmanager
def started_browser(profile: Path) -> Iterator[Any]:
    """A headless Chromium with a profile of its own."""
    from selenium import webdriver

    with pytest.MonkeyPatch.context() as patch:
        # The driver's path is given below, so selenium looks for none; this keeps it from asking the network at all.
        patch.setenv("SE_OFFLINE", "true")
        patch.setenv("SE_AVOID_STATS", "true")
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = _started(lambda: webdriver.Chrome(options, webdriver.ChromeService(executable_path=str(DRIVER))))
    try:
        yield driver
    finally:
        driver.quit()


def _started(start: Callable[[], Any], attempts: int = 3) -> Any:
    """A browser; on a busy machine it may not answer in time, and the next attempt finds its files in memory."""
    from selenium.common.exceptions import WebDriverException

    for attempt in range(1, attempts + 1):
        try:
            return start()
        except WebDriverException:
            if attempt == attempts:
                raise
    raise AssertionError("unreachable")


def set_view(browser: Any, width: int, scheme: str, *, motion: str = "no-preference") -> None:
    """A window of `width` CSS pixels, a phone's below 500, for people who prefer a `scheme`."""
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": motion},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def screenshot(browser: Any, path: Path) -> None:
    """The whole page, at most 6,000 pixels of it, as PNG."""
    height = min(browser.execute_script("return document.documentElement.scrollHeight"), 6000)
    width = browser.execute_script("return window.innerWidth")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    path.write_bytes(base64.b64decode(taken["data"]))


def complaints(browser: Any) -> list[Any]:
    """Warnings and errors of the console since the last call."""
    return [entry for entry in browser.get_log("browser") if entry["level"] in {"SEVERE", "WARNING"}]


CONTRAST = """
  // The least contrast of any shown element against what lies behind it (WCAG 2.2, 1.4.3).
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  function rgb(colour) {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return Array.from(canvas.getImageData(0, 0, 1, 1).data);
  }
  function luminance(c) {
    const [r, g, b] = c.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }
  let least = 21;
  for (const element of document.querySelectorAll(arguments[0])) {
    if (!element.checkVisibility()) continue;
    let behind = element;
    while (behind && rgb(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
    const a = luminance(rgb(getComputedStyle(element).color).slice(0, 3));
    const b = luminance(rgb(getComputedStyle(behind || document.body).backgroundColor).slice(0, 3));
    least = Math.min(least, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  }
  return least;
"""
