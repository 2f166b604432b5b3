"""`report.html` in a real browser: it filters, shows values, logs no error, runs nothing from data, fits and prints.

Screenshots go to the test's own folder, or to the folder that SURESTEP_SCREENSHOTS names.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import CONTRAST, NEEDS_BROWSER, complaints, screenshot, set_view, started_browser
from reports import ATTACK, make_rows, write_predictions
from surestep.config import EvalConfig
from surestep.evaluation.evaluate import evaluate_predictions

WIDTHS = (1280, 768, 360)

pytestmark = NEEDS_BROWSER


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with started_browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two datasets; one step of each problem of the first carries an attack."""
    folder = tmp_path_factory.mktemp("evaluation")
    rows = make_rows(70)
    for row in rows:
        if row["dataset"] == "first" and row["step"] == 0:
            row["text"] += f" {ATTACK}"
    written = evaluate_predictions(
        write_predictions(folder / "p.jsonl", rows),
        output_dir=folder,
        settings=EvalConfig(bootstrap_resamples=20, baselines=False),
        with_page=True,
    ).written
    assert written is not None
    return written.page.path


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    browser.get_log("browser")
    set_view(browser, 1280, "light")
    browser.get(page.as_uri())
    return browser


def shown(browser: Any) -> list[Any]:
    # One question, not one for each card.
    script = "return Array.from(document.querySelectorAll('.mistake')).filter(card => card.checkVisibility())"
    found: list[Any] = browser.execute_script(script)
    return found


def choose(browser: Any, name: str, text: str) -> None:
    from selenium.webdriver.support.select import Select

    (option,) = [o.text for o in Select(browser.find_element("id", name)).options if o.text.startswith(text)]
    Select(browser.find_element("id", name)).select_by_visible_text(option)


def test_the_mistakes_are_filtered_by_dataset_kind_and_text(opened: Any) -> None:
    everything = len(opened.find_elements("css selector", ".mistake"))
    assert len(shown(opened)) == 20 < everything
    choose(opened, "dataset", "second")
    choose(opened, "kind", "unsure and right")
    cards = shown(opened)
    assert cards
    for card in cards:
        tags = card.find_element("css selector", ".tags").text
        assert "second" in tags
        assert "unsure and right" in tags
    first = cards[0].find_element("css selector", ".snippet").text
    opened.find_element("id", "search").send_keys(first.lower().split()[0] + " " + first.split()[-1])
    (found,) = shown(opened)
    assert first == found.find_element("css selector", ".snippet").text
    assert opened.find_element("id", "count").text == "1 of 1 matching shown."
    opened.find_element("id", "search").send_keys(" no such words")
    assert shown(opened) == []
    assert opened.find_element("id", "count").text == "No mistake matches."
    opened.find_element("css selector", "button[type=reset]").click()
    assert len(shown(opened)) == 20


def test_the_mistakes_are_filtered_by_position(opened: Any) -> None:
    choose(opened, "position", "3")
    cards = shown(opened)
    assert cards
    assert all("step 3" in card.find_element("css selector", ".tags").text for card in cards)
    choose(opened, "dataset", "first")
    assert 0 < len(shown(opened)) < len(cards)


def test_the_figures_by_position_are_filtered(opened: Any) -> None:
    def rows() -> list[str]:
        script = (
            "return Array.from(document.querySelectorAll('#positions th')).filter(name => name.checkVisibility())"
            ".map(name => name.innerText)"
        )
        found: list[str] = opened.execute_script(script)
        return found

    everything = rows()
    choose(opened, "positions-dataset", "second")
    choose(opened, "positions-position", "2")
    assert rows() == ["second\nposition 2"]
    choose(opened, "positions-dataset", "all")
    assert rows() == ["first\nposition 2", "second\nposition 2", "overall\nposition 2"]
    assert len(shown(opened)) == 20, "the list of mistakes has filters of its own"
    opened.find_element("css selector", "form[data-narrows=positions] button").click()
    assert rows() == everything


def expected_tip(page: Path, number: int) -> str:
    """What the page must say of the filled bin `number` of all steps."""
    report = json.loads((page.parent / "eval_metrics.json").read_text(encoding="utf-8"))
    table = report["overall"]["reliability"]["equal_width"]
    row = [row for row in table if row["count"]][number]
    ends = row["intervals"]["mean_label"]
    return (
        f"confidence {row['lower']:.3g} to {row['upper']:.3g}: {row['count']} steps\n"
        f"mean confidence {row['mean_confidence']:.3f}\nmean label (share right) {row['mean_label']:.3f}\n"
        f"95 %: {ends['low']:.3f} to {ends['high']:.3f}"
    )


def tips(browser: Any) -> list[str]:
    found = [tip.text for tip in browser.find_elements("css selector", ".tip") if tip.is_displayed()]
    return [text.replace("\xa0", " ") for text in found]


def test_pointing_at_a_bin_shows_what_is_in_it(opened: Any, page: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    chart = opened.find_element("css selector", ".chart")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    for number in (1, 4):
        for kind in (".dot", ".bar"):
            ActionChains(opened).move_to_element(chart.find_elements("css selector", kind)[number]).perform()
            assert tips(opened) == [expected_tip(page, number)]
            assert len(chart.find_elements("css selector", ".active")) == 2, "the dot and its bar"
    # Beside a dot is near enough, and away from the chart it is gone.
    dot = chart.find_elements("css selector", ".dot")[4]
    ActionChains(opened).move_to_element(dot).move_by_offset(6, 15).perform()
    assert tips(opened) == [expected_tip(page, 4)]
    ActionChains(opened).move_to_element(opened.find_element("css selector", "#calibration h2")).perform()
    assert tips(opened) == []


def test_the_arrow_keys_go_through_the_bins(opened: Any, page: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(key: str) -> list[str]:
        ActionChains(opened).send_keys(key).perform()
        return tips(opened)

    opened.execute_script("document.querySelector('#figures details summary').focus()")
    assert press(Keys.TAB) == [expected_tip(page, 0)]
    assert press(Keys.ARROW_RIGHT) == [expected_tip(page, 1)]
    assert press(Keys.END) == [expected_tip(page, -1)]
    assert press(Keys.ARROW_LEFT) == [expected_tip(page, -2)]
    assert press(Keys.ESCAPE) == []
    assert press(Keys.HOME) == [expected_tip(page, 0)]
    assert press(Keys.TAB) == [], "the numbers behind the chart come next"


def test_a_finger_reads_a_bin_and_the_tip_stays_within_its_card(opened: Any, page: Path) -> None:
    set_view(opened, 360, "light")
    opened.refresh()
    opened.execute_script("document.querySelector('.chart').scrollIntoView()")
    for number in (0, -1):
        x, y = opened.execute_script(
            "const at = Array.from(document.querySelectorAll('.chart')[0].querySelectorAll('.dot')).at(arguments[0])"
            ".getBoundingClientRect(); return [at.x + at.width / 2, at.y + at.height / 2]",
            number,
        )
        opened.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
        opened.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        assert tips(opened) == [expected_tip(page, number)]
        assert opened.execute_script(
            "const tip = document.querySelector('.tip:not([hidden])').getBoundingClientRect();"
            "const card = document.querySelector('.chart').getBoundingClientRect();"
            "return tip.left >= card.left && tip.right <= card.right && tip.top >= card.top"
        )


EMPTY_PLACES = """
  // Rows of a grid's children that do not reach from one side of it to the other, gaps aside.
  const [selector, gap] = arguments;
  const found = [];
  for (const grid of document.querySelectorAll(selector)) {
    const box = grid.getBoundingClientRect();
    const rows = new Map();
    for (const child of grid.children) {
      const at = child.getBoundingClientRect();
      const top = Math.round(at.top);
      rows.set(top, [...(rows.get(top) || []), at]);
    }
    for (const row of rows.values()) {
      const filled = row.reduce((sum, at) => sum + at.width, 0) + (row.length - 1) * gap;
      if (Math.abs(filled - box.width) > 2) found.push([selector, grid.children.length, row.length, filled, box.width]);
    }
  }
  return found;
"""


@pytest.mark.parametrize("width", [*WIDTHS, 1920, 700])
def test_no_row_of_a_grid_has_an_empty_place(opened: Any, width: int) -> None:
    """However many charts there are: one, two, up to eleven."""
    set_view(opened, width, "light")
    gap = opened.execute_script("return parseFloat(getComputedStyle(document.querySelector('.tiles')).columnGap)")
    assert opened.execute_script(EMPTY_PLACES, ".tiles", gap) == []
    assert opened.execute_script(EMPTY_PLACES, ".charts", 16) == []
    opened.execute_script(
        "const grid = document.querySelector('.charts'); const one = grid.firstElementChild;"
        "grid.replaceChildren(); window.oneMore = () => grid.append(one.cloneNode(true));"
    )
    for _ in range(11):
        opened.execute_script("window.oneMore()")
        assert opened.execute_script(EMPTY_PLACES, ".charts", 16) == []


NAMES_OUT_OF_VIEW = """
  // Scrolls every table as far as it goes; returns the first cells that are not seen then, and how many tables moved.
  document.querySelectorAll('details').forEach(one => { one.open = true; });
  const lost = [];
  let moved = 0;
  for (const box of document.querySelectorAll('.scroll')) {
    box.scrollLeft = 10000;
    if (box.scrollLeft > 0) moved += 1;
    const frame = box.getBoundingClientRect();
    for (const name of box.querySelectorAll('tr > :first-child')) {
      if (!name.textContent.trim() || !name.checkVisibility()) continue;
      name.scrollIntoView({block: 'center', inline: 'nearest'});
      const at = name.getBoundingClientRect();
      const seen = document.elementFromPoint(at.left + at.width / 2, at.top + at.height / 2);
      const isWithin = at.left >= frame.left - 1 && at.right <= frame.right + 1 && at.width <= frame.width / 2;
      if (!isWithin || !name.contains(seen)) lost.push(name.textContent);
    }
  }
  return [lost, moved, document.documentElement.scrollWidth];
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_tables_of_a_phone_scroll_with_their_names_in_view(opened: Any, scheme: str) -> None:
    set_view(opened, 360, scheme)
    lost, moved, page_width = opened.execute_script(NAMES_OUT_OF_VIEW)
    assert lost == []
    assert moved >= 3
    assert page_width <= 360, "the tables scroll within their boxes, not the page"


def test_without_scripts_everything_can_be_read(opened: Any, page: Path) -> None:
    opened.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        opened.refresh()
        assert "js" not in (opened.find_element("tag name", "html").get_attribute("class") or "")
        cards = opened.find_elements("css selector", ".mistake")
        assert len(shown(opened)) == len(cards) > 20
        assert len(opened.find_elements("css selector", "#positions tr:not([hidden])")) == 18
        for control in opened.find_elements("css selector", "form, #theme, #more, .js-only"):
            assert not control.is_displayed()
        title = opened.find_element("css selector", ".chart .dot title").get_attribute("textContent")
        assert title.replace("\xa0", " ") == expected_tip(page, 0)
        opened.find_element("css selector", ".chart summary").click()
        assert opened.find_element("css selector", ".chart .numbers table").is_displayed()
    finally:
        opened.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


CUT_ON_PAPER = """
  const page = document.documentElement.clientWidth;
  return Array.from(document.querySelectorAll('th, td, .chart, .snippet, p'))
    .filter(one => one.checkVisibility() && one.getBoundingClientRect().right > page + 1)
    .map(one => one.textContent.trim());
"""


def test_it_prints_dark_on_white_with_nothing_cut(opened: Any) -> None:
    set_view(opened, 690, "dark")
    opened.find_element("id", "theme").click()
    opened.find_element("id", "theme").click()
    assert opened.execute_script("return document.documentElement.dataset.theme") == "dark"
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    try:
        assert opened.execute_script("return getComputedStyle(document.body).color") == "rgb(22, 24, 29)"
        for control in opened.find_elements("css selector", "form, nav, button"):
            assert not control.is_displayed()
        assert opened.execute_script(CUT_ON_PAPER) == []
        assert opened.execute_script(EMPTY_PLACES, ".charts", 16) == []
        printed = opened.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})
        assert base64.b64decode(printed["data"]).startswith(b"%PDF")
    finally:
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_more_are_shown_on_request(opened: Any) -> None:
    opened.find_element("id", "more").click()
    assert len(shown(opened)) == 40
    assert opened.switch_to.active_element == shown(opened)[20].find_element("css selector", "summary")


def test_the_keyboard_is_enough(opened: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    ActionChains(opened).send_keys("/").perform()
    assert opened.switch_to.active_element == opened.find_element("id", "search")
    assert opened.find_element("id", "search").get_attribute("value") == ""
    card = shown(opened)[1]
    assert card.get_attribute("open") is None
    for _ in range(6):
        ActionChains(opened).send_keys(Keys.TAB).perform()
        if opened.switch_to.active_element == card.find_element("css selector", "summary"):
            break
    ActionChains(opened).send_keys(Keys.ENTER).perform()
    assert card.get_attribute("open") is not None
    assert card.find_element("css selector", ".step.focus").is_displayed()


def test_what_data_says_is_shown_and_not_run(opened: Any) -> None:
    assert "broken" not in opened.title
    opened.find_element("id", "search").send_keys("<script>document.title")
    (card, *_) = shown(opened)
    opened.execute_script("arguments[0].open = true", card)
    assert ATTACK in card.text
    assert opened.find_elements("css selector", "main script, main img") == []


def test_the_theme_button_changes_the_page(opened: Any) -> None:
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = opened.execute_script(ground)
    opened.find_element("id", "theme").click()
    dark = opened.execute_script(ground)
    assert light != dark
    opened.find_element("id", "theme").click()
    assert opened.execute_script(ground) == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_and_reads_well(opened: Any, width: int, scheme: str, tmp_path: Path) -> None:
    """Nothing hangs over the side, no console error, and text stands out from its ground by the WCAG's 4.5 to 1."""
    set_view(opened, width, scheme)
    opened.refresh()
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    folder = Path(os.environ.get("SURESTEP_SCREENSHOTS", tmp_path))
    screenshot(opened, folder / f"report_{width}_{scheme}.png")
    assert (folder / f"report_{width}_{scheme}.png").stat().st_size > 50_000
    opened.execute_script("document.querySelector('.chart svg').focus()")
    for selector in (
        *("h1", ".lead p:last-child", ".tile .meaning", ".note", ".pill", ".label.wrong", ".label.right"),
        *("th", "td small", ".count", ".tags", ".legend li", ".tip"),
    ):
        assert opened.execute_script(CONTRAST, selector) >= 4.5, selector
    assert complaints(opened) == []
