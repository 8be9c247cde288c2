"""Debian's Chromium, headless, for the emulator's page. Waits are for changes of the page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver.remote.webelement import WebElement

_PATIENCE = 20.0  # seconds that only a failing test waits for
_ARGUMENTS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
)
_WAIT = """
const told = arguments[arguments.length - 1];
const watch = new MutationObserver(look);
function look() {
  if (!(%s)) return;
  watch.disconnect();
  told(true);
}
watch.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
look();
"""


class Browser:
    """A window of the browser."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        """Drive this one."""
        self._driver = driver

    def open(self, url: str) -> None:
        """Open a page, anew even when it is open."""
        self._driver.get("about:blank")
        self._driver.get(url)

    def tell(self, expression: str) -> Any:
        """Return what a JavaScript expression gives."""
        return self._driver.execute_script(f"return ({expression});")

    def wait(self, condition: str) -> None:
        """Wait until a JavaScript condition on the document holds."""
        self._driver.execute_async_script(_WAIT % condition)

    def wait_for_text(self, selector: str, text: str) -> None:
        """Wait until the first element of a CSS selector shows a text."""
        element = f"document.querySelector({selector!r})"
        self.wait(f"{element} && {element}.innerText.includes({text!r})")

    def text(self, selector: str) -> str:
        """Return the text that an element shows."""
        return str(self.find(selector).text)

    def find(self, selector: str) -> WebElement:
        """Return the first element of a CSS selector."""
        return self._driver.find_element("css selector", selector)

    @property
    def focused(self) -> WebElement:
        """The element that has the keyboard."""
        return self._driver.switch_to.active_element

    def resize(self, width: int, height: int, scale: float = 1.0) -> None:
        """Give the page so many CSS pixels, also fewer than a window may have."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme: str) -> None:
        """Prefer `light` or `dark`."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def save(self, path: Path) -> None:
        """Write what the window shows as a PNG file."""
        assert self._driver.save_screenshot(str(path))

    def complaints(self) -> list[str]:
        """Return the warnings and errors of the console since the last time."""
        return [
            str(entry["message"])
            for entry in self._driver.get_log("browser")  # type: ignore[no-untyped-call]
            if entry["level"] in {"WARNING", "SEVERE"}
        ]


def missing() -> str:
    """Say why there is no browser to test with; empty when there is one."""
    versions = [_version("chromium"), _version("chromedriver")]
    if None in versions:
        return "needs chromium and chromedriver (on Debian: chromium and chromium-driver)"
    if versions[0] != versions[1]:
        return f"chromium {versions[0]} and chromedriver {versions[1]} do not go together"
    return ""


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Run a browser whose profile is in `folder`."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (*_ARGUMENTS, f"--user-data-dir={folder}"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # The driver listens on this machine, whatever proxy leads out of it.
    direct = dict.fromkeys(("no_proxy", "NO_PROXY"), "localhost,127.0.0.1")
    with patch.dict(os.environ, direct):
        driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        driver.set_script_timeout(_PATIENCE)
        driver.set_page_load_timeout(_PATIENCE)
        yield Browser(driver)
    finally:
        driver.quit()


def _version(command: str) -> str | None:
    """Return the first number of a command's version, None when there is no such command."""
    path = shutil.which(command)
    if path is None:
        return None
    result = subprocess.run(
        [path, "--version"], capture_output=True, text=True, check=False, timeout=60
    )
    found = re.search(r"\d+", result.stdout)
    return found.group() if found else None
