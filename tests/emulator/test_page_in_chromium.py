"""The emulator's page in headless Chromium.

Skipped where Debian's `chromium` and `chromedriver` are not installed; a failure instead with
`REQUIRE_CHROMIUM=1`, which `.ci/run` sets.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.emulator import Emulator
from tests.emulator.wire import KEY, Client, lines, room
from tests.running import lines as singer_lines
from tests.running import record, run, schema, state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.emulator.browser import Browser

SCRIPT = "<script>window.hacked = 1</script>"
IMAGE = "<img src=x onerror='window.hacked = 1'>"

# The lowest contrast of a visible text to its background.
CONTRAST = """(() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((part) => {
      const value = part / 255;
      return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const color = parse(getComputedStyle(each).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const worst = [99, ""];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.checkVisibility()) continue;
    const pair = [light(parse(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (ratio < worst[0]) worst.splice(0, 2, ratio, element.outerHTML);
  }
  return worst;
})()"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests of this file."""
    from tests.emulator.browser import browser, missing  # noqa: PLC0415 selenium is slow to load

    if why := missing():
        if os.environ.get("REQUIRE_CHROMIUM"):
            pytest.fail(why)
        pytest.skip(why)
    with browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def window(chromium: Browser) -> Browser:
    """The browser with a desktop's size and light colours, and an empty console."""
    chromium.resize(1280, 900)
    chromium.prefer("light")
    chromium.complaints()
    return chromium


@pytest.fixture(params=["memory", "warehouse"])
def segment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Emulator]:
    """An emulator with its page, over both stores."""
    warehouse = tmp_path / "hotel.duckdb" if request.param == "warehouse" else None
    with Emulator(page=True, warehouse=warehouse) as running:
        yield running


def test_a_sync_is_seen_as_it_comes(window: Browser, segment: Emulator, tmp_path: Path) -> None:
    """What a real sync sends appears on the open page: session, requests, rows and types."""
    window.open(segment.url)
    window.wait_for_text("#status", "Live")
    assert segment.url in window.text("#collections-empty")
    assert window.text("#refusals-empty") == "No request was refused."
    assert window.text("#sessions-empty") == "No session was started."
    window.tell("window.loadedOnce = true")

    rooms = [record("rooms", id=n, name=f"Room {n}", price=n + 0.5) for n in (1, 2, 3)]
    fed = singer_lines(schema("rooms", id="integer", name="string", price="number"), *rooms)
    config = {"write_key": KEY, "bulk_url": segment.url, "objects_url": segment.url}
    assert run(tmp_path, config, fed + singer_lines(state(1))).code == 0
    window.wait_for_text("#rows tbody tr", "Room 3")
    assert window.text("#rows caption") == "rooms: the 3 newest, newest first"
    assert window.text("#rows tbody tr:last-child") == "1 Room 1 1.5"
    head = " ".join(window.text("#rows thead").split())
    assert head == "id VARCHAR name VARCHAR price DOUBLE"
    window.wait_for_text("#sessions", "finished")
    assert "1 part · 3 objects" in window.text("#sessions")
    for call in ("start-1", "upload-1", "finish-1"):
        window.wait_for_text("#requests", call)

    more = singer_lines(schema("guests", id="integer", vip="boolean"), record("guests", id=7))
    assert run(tmp_path, {**config, "method": "set"}, more).code == 0
    window.wait_for_text("#tables", "guests")
    window.wait_for_text("#requests", "set-1")
    window.wait_for_text("#total-objects", "4")
    assert window.tell("window.loadedOnce") is True
    assert window.complaints() == []


def test_a_refusal_is_shown_with_its_reason(window: Browser, segment: Emulator) -> None:
    """A refused call is among the refusals, with its status, number and reason."""
    window.open(segment.url)
    window.wait_for_text("#status", "Live")
    with Client(segment) as client:
        assert client.one("", a=1).status == 400
    window.wait_for_text("#refusals", "id must have 1 to 100 characters")
    assert window.text("#refusals li").startswith("400\nset-1")
    assert window.text("#total-refused") == "1"


def test_nothing_that_was_sent_is_html(window: Browser, tmp_path: Path) -> None:
    """A value, a name, an error and a path with HTML are shown as text."""
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "w.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute(f'CREATE TABLE "{SCRIPT}" (id VARCHAR, "{IMAGE}" VARCHAR)')
        connection.execute(f'INSERT INTO "{SCRIPT}" VALUES (?, ?)', [SCRIPT, IMAGE])  # noqa: S608
    with Emulator(page=True, warehouse=path) as segment, Client(segment) as client:
        client.one(SCRIPT, note=IMAGE)
        client.finish(client.start(), IMAGE)
        client.send(f"/{SCRIPT.replace(' ', '%20')}{IMAGE.replace(' ', '%20')}")
        segment.flush()
        window.open(segment.url)
        window.wait_for_text("#rows", IMAGE)
        assert window.text("#rows caption").startswith(SCRIPT)
        assert IMAGE in window.text("#rows thead")
        window.wait_for_text("#sessions", IMAGE)
        window.wait_for_text("#refusals", "<script>window.hacked")
        window.open(f"{segment.url}/#rooms")
        window.wait_for_text("#rows tbody", IMAGE)
        assert window.text("#rows tbody th") == SCRIPT
        assert window.tell("document.querySelectorAll('script, main img').length") == 1
        assert window.tell("window.hacked === undefined") is True
        assert window.complaints() == []


def test_a_stopped_emulator_is_shown_as_such(window: Browser) -> None:
    """The page shows that there is no response, and continues with the port's next emulator."""
    with Emulator(page=True) as segment, Client(segment) as client:
        client.one("1", name="Beach")
        window.open(segment.url)
        window.wait_for_text("#rows", "Beach")
        port = int(segment.url.rpartition(":")[2])
    window.wait_for_text("#status", "No response")
    assert window.find("#status").get_attribute("data-state") == "stopped"
    assert "Beach" in window.text("#rows")
    with Emulator(page=True, port=port) as segment, Client(segment) as client:
        client.one("2", name="Garden")
        window.wait_for_text("#rows", "Garden")
        assert window.text("#status") == "Live"
        assert "Beach" not in window.text("#rows")


def fill(segment: Emulator) -> None:
    """Create everything that the page can show."""
    with Client(segment) as client:
        wide: dict[str, Any] = {
            f"property_number_{'abcdefghijkl'[n]}": "word " * 30 for n in range(12)
        }
        client.one("a" * 100, **wide)
        client.one("2", number=1, note=None, unbroken="x" * 3000)
        client.set({"id": "1", "properties": {"a": 1}}, collection="guests")
        client.one("x" * 101, a=1)
        client.finish(client.start(), "could not go on: " + "y" * 500)
        client.load(lines(room("5", a=1)))
        client.start()
        client.send("/v1/" + "long" * 100)
    segment.flush()


def test_a_narrow_window_needs_no_sideways_scrolling(window: Browser, segment: Emulator) -> None:
    """At 360 pixels the page is not wider than the window, however wide its tables are."""
    fill(segment)
    window.resize(360, 740)
    window.open(f"{segment.url}/#rooms")
    window.wait_for_text("#rows", "property_number_a")
    assert window.tell("innerWidth") == 360
    root = "document.documentElement"
    assert window.tell(f"{root}.scrollWidth <= {root}.clientWidth") is True
    assert window.tell("document.querySelector('.scroll').scrollWidth > 400") is True


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(window: Browser, scheme: str) -> None:
    """Each text has a contrast of at least 4.5 to its background, in light and dark (WCAG AA)."""
    with Emulator(page=True) as segment:
        fill(segment)
        window.prefer(scheme)
        window.open(segment.url)
        window.wait_for_text("#rows", "property_number_a")
        ratio, worst = window.tell(CONTRAST)
        ground = window.tell("getComputedStyle(document.body).backgroundColor")
    assert ratio >= 4.5, worst
    assert (ground == "rgb(245, 246, 244)") is (scheme == "light")


def test_the_keyboard_is_enough(window: Browser, segment: Emulator) -> None:
    """Tab and Enter select a collection, and new rows do not move the focus."""
    with Client(segment) as client:
        client.one("1", name="Beach")
        segment.flush()
        client.set({"id": "2", "properties": {"name": "Amara"}}, collection="guests")
        segment.flush()
        window.open(segment.url)
        window.wait_for_text("#rows", "Beach")
        reached: list[str] = []
        for _ in range(3):
            window.find("body" if not reached else ":focus").send_keys("\ue004")
            reached.append(window.focused.text)
        assert reached == ["Pause", "rooms1", "guests1"]
        window.focused.send_keys("\ue007")
        window.wait_for_text("#rows", "Amara")
        assert window.focused.get_attribute("aria-pressed") == "true"
        client.set({"id": "3", "properties": {"name": "Yuki"}}, collection="guests")
        window.wait_for_text("#rows", "Yuki")
        assert window.focused.text == "guests2"


def test_it_can_be_paused(window: Browser, segment: Emulator) -> None:
    """While paused, the page sends no requests; afterwards it shows what has arrived meanwhile."""
    window.open(segment.url)
    window.wait_for_text("#status", "Live")
    window.tell("[window.asks = 0, window.fetched = fetch]")
    window.tell("window.fetch = (...what) => { asks += 1; return window.fetched(...what); }")
    window.find("#pause").click()
    assert window.text("#status") == "Paused"
    before = window.tell("asks")
    with Client(segment) as client:
        client.one("1", name="Beach")
    window.tell("dispatchEvent(new Event('hashchange'))")
    assert window.tell("asks") == before
    assert "Beach" not in window.text("main")
    window.find("#pause").click()
    window.wait_for_text("#rows", "Beach")
    assert window.tell("asks") > before


def test_it_speaks_to_its_own_server_alone(window: Browser, segment: Emulator) -> None:
    """Everything that the page loads comes from the emulator."""
    fill(segment)
    window.open(segment.url)
    window.wait_for_text("#rows", "property_number_a")
    loaded = window.tell("performance.getEntriesByType('resource').map((each) => each.name)")
    assert {url.partition("?")[0] for url in loaded} == {
        f"{segment.url}/page/{name}" for name in ("page.css", "page.js", "icon.svg", "state.json")
    }
    assert window.complaints() == []
