"""`report.html` in a real browser: it filters, it logs no error, it runs nothing from data, it fits a phone.

Screenshots go to the test's own folder, or to the folder that SURESTEP_SCREENSHOTS names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import CONTRAST, NEEDS_BROWSER, complaints, screenshot, set_view, started_browser
from reports import ATTACK, make_rows, write_predictions
from surestep.config import EvalConfig
from surestep.evaluation.evaluate import evaluate_predictions

WIDTHS = (1280, 390)

pytestmark = NEEDS_BROWSER


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with started_browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two datasets; one step of each problem of the first carries an attack."""
    folder = tmp_path_factory.mktemp("evaluation")
    rows = make_rows(120)
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
    return [card for card in browser.find_elements("css selector", ".mistake") if card.is_displayed()]


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
    for selector in ("h1", ".lead p:last-child", ".tile .meaning", ".note", ".pill", ".label.wrong", ".label.right"):
        assert opened.execute_script(CONTRAST, selector) >= 4.5, selector
    assert complaints(opened) == []
