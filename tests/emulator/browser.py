"""Debian's Chromium, headless, for the emulator's page; waits end when the page changes."""

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

_PATIENCE = 20.0  # seconds; only a failing test waits that long
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
        """Use this driver."""
        self._driver = driver

    def open(self, url: str) -> None:
        """Open a page, or load it again if it is open."""
        self._driver.get("about:blank")
        self._driver.get(url)

    def tell(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        return self._driver.execute_script(f"return ({expression});")

    def wait(self, condition: str) -> None:
        """Wait until a JavaScript condition on the document holds."""
        self._driver.execute_async_script(_WAIT % condition)

    def wait_for_text(self, selector: str, text: str) -> None:
        """Wait until the first element of a CSS selector contains a text."""
        element = f"document.querySelector({selector!r})"
        self.wait(f"{element} && {element}.innerText.includes({text!r})")

    def text(self, selector: str) -> str:
        """Return the text of an element."""
        return str(self.find(selector).text)

    def find(self, selector: str) -> WebElement:
        """Return the first element of a CSS selector."""
        return self._driver.find_element("css selector", selector)

    @property
    def focused(self) -> WebElement:
        """The element with the keyboard focus."""
        return self._driver.switch_to.active_element

    def resize(self, width: int, height: int, scale: float = 1.0) -> None:
        """Set the page's size in CSS pixels, which may be smaller than a window can be."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme: str) -> None:
        """Set the preferred colour scheme, `light` or `dark`."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def save(self, path: Path) -> None:
        """Write what the window shows as a PNG file."""
        assert self._driver.save_screenshot(str(path))

    def complaints(self) -> list[str]:
        """Return the console's warnings and errors since the last call."""
        return [
            str(entry["message"])
            for entry in self._driver.get_log("browser")  # type: ignore[no-untyped-call]
            if entry["level"] in {"WARNING", "SEVERE"}
        ]


def missing() -> str:
    """Return why there is no browser for the tests; empty if there is one."""
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
    # The driver listens on this machine, so no proxy is used.
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
    """Return the first number in a command's version; None if there is no such command."""
    path = shutil.which(command)
    if path is None:
        return None
    result = subprocess.run(
        [path, "--version"], capture_output=True, text=True, check=False, timeout=60
    )
    found = re.search(r"\d+", result.stdout)
    return found.group() if found else None
