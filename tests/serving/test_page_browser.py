"""The page at `/` in a real browser, before a small made-up scorer: everything a person does with it.

Screenshots go to the test's own folder, or to the folder that SURESTEP_SCREENSHOTS names. The check by axe-core runs
where SURESTEP_AXE names `axe.min.js`, or `node_modules` has it (`npm install --no-save axe-core`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import JSONResponse

from browser import CONTRAST, NEEDS_BROWSER, complaints, screenshot, set_view, started_browser
from page_server import KEY, FakeServer, refusal, served

pytestmark = NEEDS_BROWSER

ROOT = Path(__file__).resolve().parents[2]
AXE = Path(os.environ.get("SURESTEP_AXE") or ROOT / "node_modules" / "axe-core" / "axe.min.js")
ATTACK = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
CHANGED = "document.title = 'broken'; export const RULES = new Map();"
VIEWS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with started_browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def running() -> Iterator[FakeServer]:
    with served(FakeServer()) as fake:
        yield fake


@pytest.fixture
def fake(running: FakeServer) -> FakeServer:
    running.asked, running.next_answers, running.needs_key, running.slow_answers = [], [], False, 0
    running.changed_files = {}
    running.slow.clear()
    return running


@pytest.fixture
def page(browser: Any, fake: FakeServer) -> Any:
    """The page as it opens, in light colours on a desktop; at the end the console holds no complaint."""
    set_view(browser, 1280, "light", motion="reduce")
    browser.get(fake.url)
    browser.execute_script("sessionStorage.clear()")
    until(browser, lambda: all_of(browser, ".chip"))
    complaints(browser)
    return browser


def until(browser: Any, condition: Callable[[], Any]) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 8, poll_frequency=0.02).until(lambda _: condition())


def all_of(browser: Any, selector: str) -> list[Any]:
    return list(browser.find_elements("css selector", selector))


def texts_of(browser: Any, selector: str) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map(e => e.value ?? e.textContent)"
    return list(browser.execute_script(script, selector))


def numbers(browser: Any, solution: int = 1) -> list[str]:
    return texts_of(browser, f".candidate:nth-child({solution}) .value")


def steps(browser: Any, solution: int = 1) -> list[str]:
    return texts_of(browser, f".candidate:nth-child({solution}) .text")


def summary(browser: Any, solution: int = 1) -> str:
    (text,) = texts_of(browser, f".candidate:nth-child({solution}) .summary")
    return text


def put(browser: Any, selector: str, text: str) -> None:
    """Text as if it were typed at once."""
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
    browser.execute_script(script, browser.find_element("css selector", selector), text)


def press(browser: Any, *keys: str) -> None:
    """Keys of which all but the last are held."""
    from selenium.webdriver.common.action_chains import ActionChains

    actions = ActionChains(browser, duration=0)
    for key in keys[:-1]:
        actions.key_down(key)
    actions.send_keys(keys[-1])
    for key in reversed(keys[:-1]):
        actions.key_up(key)
    actions.perform()


def click(browser: Any, text: str, within: str = "main") -> None:
    """The first shown button with this text."""
    script = """return [...document.querySelectorAll(arguments[0] + ' button')]
        .find(button => button.textContent === arguments[1] && button.checkVisibility({visibilityProperty: true}))"""
    found = browser.execute_script(script, within, text)
    assert found is not None, f"no button {text!r}"
    found.click()


def give(browser: Any, problem: str, *solutions: Sequence[str]) -> None:
    """A problem and its solutions, each pasted as lines, and waits for their scores."""
    put(browser, "#problem", problem)
    for i, solution in enumerate(solutions, start=1):
        if i > 1:
            click(browser, "Add a solution to compare")
        put(browser, f".candidate:nth-child({i}) .box textarea", "\n".join(solution))
        click(browser, "Split into steps", f".candidate:nth-child({i})")
    scored(browser, len(solutions))


def scored(browser: Any, count: int = 1) -> None:
    script = "return document.querySelectorAll('.candidate[aria-busy=false] .sums:not(.unknown)').length"
    until(browser, lambda: browser.execute_script(script) == count)


def place_cursor(browser: Any, step: int, at: int) -> None:
    browser.execute_script(
        "const area = document.querySelectorAll('.text')[arguments[0]]; area.focus();"
        "area.setSelectionRange(arguments[1], arguments[1])",
        *(step, at),
    )


def test_an_example_is_scored_and_its_first_doubtful_step_is_marked(page: Any, fake: FakeServer) -> None:
    fake.next_answers = [JSONResponse({"confidences": [0.999, 0.5, 0.4999, 0.7, 0.004], "raw": [], **SUMS})]
    all_of(page, ".chip")[0].click()
    scored(page)
    assert numbers(page) == ["0.99", "0.50", "0.49", "0.70", "<0.01"], "cut, so that none looks surer than it is"
    assert texts_of(page, ".first .text") == [steps(page)[2]]
    assert [flag.text for flag in all_of(page, ".flag") if flag.is_displayed()] == ["First doubtful step"]
    assert summary(page) == "Step 3 is the first below 0.50."
    assert texts_of(page, ".sums dd") == ["<0.01", "0.20", "0.30", "1.00"]
    assert fake.asked == [{"problem": texts_of(page, "#problem")[0], "steps": steps(page)}]
    put(page, "#threshold", "0.75")
    assert summary(page) == "Step 2 is the first below 0.75."
    put(page, "#threshold", "0")
    assert summary(page) == "No step is below 0.00."
    assert all_of(page, ".first") == []
    put(page, "#threshold", "0.01")
    click(page, "Step 5")
    assert page.switch_to.active_element == all_of(page, ".text")[4]
    assert len(fake.asked) == 1, "a threshold asks nothing"
    assert complaints(page) == []


def test_what_the_certificate_says_stands_below_the_solution(page: Any, fake: FakeServer) -> None:
    part = {"num_kept": 1, "levels": [0.05, 0.4], "promise": "random solution: at most 10%"}
    give(page, "p", ["A. B", "C"])
    scored(page)
    assert "ertif" not in summary(page)
    kept = "Certified: the first 1 step kept (random solution: at most 10%)."
    for rule, certified, said in (("sentences", part, kept), ("lines", None, "does not speak of this solution.")):
        fake.next_answers = [JSONResponse({"confidences": [0.9, 0.7], "raw": [], **SUMS, "certified": certified})]
        put_choice(page, ".splitter select", rule)  # two steps in both, and other ones
        until(page, lambda said=said: summary(page).endswith(said))
    assert complaints(page) == []


SUMS = {"min": 0.004, "product": 0.2, "mean": 0.3, "last": 1, "first_below": 2}


def test_a_text_is_split_by_a_rule_that_is_shown_and_can_be_changed(page: Any) -> None:
    put(page, "#problem", "p")
    put(page, ".box textarea", "Step 1: two\nlines\n\nStep 2: one [0.2]")
    click(page, "Split into steps")
    assert steps(page) == ["Step 1: two\nlines", "Step 2: one [0.2]"]
    chooser = page.find_element("css selector", ".splitter select")
    assert chooser.get_attribute("value") == "step"
    put_choice(page, ".splitter select", "lines")
    assert steps(page) == ["Step 1: two", "lines", "Step 2: one [0.2]"]
    put(page, ".step:nth-child(2) .text", "other [0.7]")
    assert chooser.get_attribute("value") == "own"
    scored(page)
    assert numbers(page) == ["0.90", "0.70", "0.20"]
    click(page, "Edit as text")
    box = page.find_element("css selector", ".box textarea")
    assert box.get_attribute("value") == "Step 1: two\nother [0.7]\nStep 2: one [0.2]", "an edit is not lost"
    assert not page.find_element("css selector", ".sums").is_displayed()
    put_choice(page, ".splitter select", "blank_lines")
    click(page, "Split into steps")
    scored(page)
    assert len(steps(page)) == 1
    click(page, "Undo")
    assert len(steps(page)) == 3
    assert chooser.get_attribute("value") == "own"
    put_choice(page, ".splitter select", "sentences")
    click(page, "Edit as text")
    click(page, "Undo")
    click(page, "Undo")
    assert (len(steps(page)), chooser.get_attribute("value")) == (3, "own")
    assert complaints(page) == []


def put_choice(browser: Any, selector: str, value: str) -> None:
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change', {bubbles: true}))"
    browser.execute_script(script, browser.find_element("css selector", selector), value)


def test_a_paste_is_split_at_once(page: Any) -> None:
    page.execute_script(
        "const box = document.querySelector('.box textarea'); box.focus();"
        "box.dispatchEvent(new ClipboardEvent('paste', {bubbles: true}));"
        "document.execCommand('insertText', false, 'one<extra_0>two<extra_0>')"
    )
    until(page, lambda: steps(page) == ["one", "two"])
    assert summary(page) == "Give the problem above: then the steps are scored."
    assert texts_of(page, ".splitter option:checked") == ["tag:<extra_0>"]


def test_steps_are_split_merged_added_and_removed_and_undone(page: Any, fake: FakeServer) -> None:
    from selenium.webdriver.common.keys import Keys

    give(page, "p", ["one", "two", "three"])
    place_cursor(page, 0, 0)
    press(page, Keys.ALT, Keys.DOWN)
    page.switch_to.active_element.send_keys(Keys.END, " and [0.3]")
    place_cursor(page, 1, 3)
    press(page, Keys.CONTROL, Keys.ENTER)
    assert steps(page) == ["one", "two", "and [0.3]", "three"]
    scored(page)
    assert numbers(page) == ["0.90", "0.90", "0.30", "0.90"]
    assert page.switch_to.active_element == all_of(page, ".text")[2]
    press(page, Keys.BACKSPACE)
    assert steps(page) == ["one", "two\nand [0.3]", "three"]
    press(page, Keys.CONTROL, Keys.SHIFT, Keys.ENTER)
    press(page, "new [0.1]")
    assert steps(page) == ["one", "two\nand [0.3]", "new [0.1]", "three"]
    press(page, Keys.ALT, Keys.UP)
    press(page, Keys.CONTROL, Keys.SHIFT, Keys.BACKSPACE)
    assert steps(page) == ["one", "new [0.1]", "three"]
    click(page, "Undo")
    assert steps(page) == ["one", "two\nand [0.3]", "new [0.1]", "three"]
    scored(page)
    assert numbers(page) == ["0.90", "0.30", "0.10", "0.90"]
    put(page, ".step:nth-child(3) .text", "  ")
    scored(page)
    assert numbers(page) == ["0.90", "0.30", "", "0.90"], "an empty step is not scored, and moves no number"
    assert fake.asked[-1]["steps"] == ["one", "two\nand [0.3]", "three"]
    assert complaints(page) == []


def test_an_edit_keeps_the_scores_before_it_and_only_the_newest_answer_counts(page: Any, fake: FakeServer) -> None:
    give(page, "p", ["one", "two", "three"])
    put(page, ".step:nth-child(2) .text", "slow [0.1]")
    assert numbers(page) == ["0.90", "…", "…"]
    assert summary(page) == "Scoring from step 2 on …"
    until(page, lambda: len(fake.asked) == 2)
    put(page, ".step:nth-child(2) .text", "quick [0.6]")
    scored(page)
    assert numbers(page) == ["0.90", "0.60", "0.90"]
    fake.slow.set()
    until(page, lambda: fake.slow_answers == 1)
    put(page, ".step:nth-child(3) .text", "four")
    scored(page)
    assert numbers(page) == ["0.90", "0.60", "0.90"]
    assert len(fake.asked) == 4
    put(page, "#problem", "another")
    assert numbers(page) == ["…", "…", "…"], "another problem: no score holds"
    assert complaints(page) == []


def test_solutions_stand_side_by_side_and_the_best_is_marked(page: Any, fake: FakeServer) -> None:
    give(page, "p", ["a [0.6]", "b [0.9]"], ["a [0.5]", "b"])
    assert badges(page) == ["Best by its lowest step", ""]
    put_choice(page, "#best-by", "last")
    assert badges(page) == ["Equally best by its last step"] * 2
    click(page, "Copy beside")
    scored(page, 3)
    assert steps(page, 2) == steps(page, 1)
    put(page, ".candidate:nth-child(2) .step:nth-child(2) .text", "b [0.95]")
    scored(page, 3)
    assert badges(page) == ["", "Best by its last step", ""]
    put(page, ".candidate:nth-child(2) .step:nth-child(2) .text", "b [none]")
    scored(page, 3)
    assert badges(page) == ["Equally best by its last step", "", "Equally best by its last step"]
    assert summary(page, 2) == "No step is below 0.50. The model cannot read it to its end: it is too long."
    assert numbers(page, 2) == ["0.60", "–"]
    click(page, "Add a solution to compare")
    assert not page.find_element("id", "add-candidate").is_enabled()
    tops = page.execute_script(
        "return [...document.querySelectorAll('.candidate')].map(e => e.getBoundingClientRect().top)"
    )
    assert tops[0] == tops[1]
    for _ in range(3):
        click(page, "Remove")
    assert len(all_of(page, ".candidate")) == 1
    assert "Remove" not in [found.text for found in all_of(page, ".foot button")]
    assert complaints(page) == []


def badges(browser: Any) -> list[str]:
    return texts_of(browser, ".badge")


def test_a_refusal_is_a_plain_sentence_and_can_be_tried_again(page: Any, fake: FakeServer) -> None:
    give(page, "p", ["A. B", "C"])
    for i, (answer, said) in enumerate(REFUSALS):
        fake.next_answers = [answer]
        put_choice(page, ".splitter select", ("sentences", "lines")[i % 2])  # two steps in both, and other ones
        until(page, lambda: all_of(page, ".failing"))
        assert said in summary(page)
        assert said in texts_of(page, "#status")[0], "screen readers hear of it"
        assert set(numbers(page)) == {""}
        all_of(page, ".summary .link")[0].click()
        scored(page)
        assert set(numbers(page)) == {"0.90"}
    complaints(page)


def fits_not(**changed: Any) -> JSONResponse:
    return JSONResponse({"confidences": [0.5, 0.5], **SUMS, **changed})


REFUSALS = [
    (refusal(422, "a step is too long"), "refuses this text (status 422). It says: a step is too long."),
    (refusal(413, "4 MB at most"), "too long for this server. It says: 4 MB at most."),
    (refusal(504, ""), "did not finish in time."),
    (refusal(500, ATTACK), f"The server failed (status 500). It says: {ATTACK}."),
    (JSONResponse({"detail": [{"msg": "x"}]}, 400), "refuses this text (status 400)."),
    (fits_not(confidences=[0.5]), "does not fit the question"),
    (fits_not(confidences=[0.5, 7]), "does not fit the question"),
    (fits_not(min="high"), "does not fit the question"),
    (fits_not(certified={"num_kept": "all"}), "does not fit the question"),
    (JSONResponse([]), "does not fit the question"),
    (refusal(429, "full", Retry_After="7"), "The server is busy. It is asked again in 7 seconds."),
    (refusal(503, "loading", Retry_After="1"), "starts or stops. It says: loading. It is asked again in 1 second."),
]


def test_a_busy_server_is_asked_again_when_it_says(page: Any, fake: FakeServer) -> None:
    fake.next_answers = [refusal(429, "full", Retry_After="1")]
    put(page, "#problem", "p")
    put(page, ".box textarea", "a")
    click(page, "Split into steps")
    scored(page)
    assert len(fake.asked) == 2


def test_a_server_that_is_away_is_told_from_one_that_refuses(page: Any) -> None:
    put(page, "#problem", "p")
    put(page, ".box textarea", "a")
    page.execute_cdp_cmd("Network.enable", {})
    conditions = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, **conditions})
    try:
        click(page, "Split into steps")
        until(page, lambda: all_of(page, ".failing"))
        assert summary(page).startswith("The server cannot be reached. Is it still running?")
    finally:
        page.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, **conditions})
    click(page, "Try again")
    scored(page)


def test_a_key_is_asked_for_and_stays_in_this_tab(page: Any, fake: FakeServer) -> None:
    from selenium.webdriver.common.keys import Keys

    fake.needs_key = True
    put(page, "#problem", "p")
    put(page, ".box textarea", "a\nb")
    click(page, "Split into steps")
    until(page, lambda: page.find_element("id", "key").is_displayed())
    assert summary(page) == "The server asks for an API key. Please enter it above."
    assert page.switch_to.active_element == page.find_element("id", "key")
    for wrong, said in (
        ("schlüssel", "A key is one word of Latin letters"),
        ("wrong-key", "does not accept this API key"),
    ):
        page.find_element("id", "key").send_keys(Keys.CONTROL, "a")
        page.find_element("id", "key").send_keys(wrong, Keys.ENTER)
        until(page, lambda said=said: said in "".join(texts_of(page, "#key-note, .summary")))
    page.find_element("id", "key").send_keys(KEY, Keys.ENTER)
    scored(page)
    assert not page.find_element("id", "key-form").is_displayed()
    assert page.execute_script("return [localStorage.length, document.cookie, location.href]") == [0, "", fake.url]
    page.find_element("id", "key-toggle").click()
    click(page, "Forget it")
    assert page.execute_script("return sessionStorage.length") == 0


def test_the_keyboard_is_enough(page: Any) -> None:
    """From the top of the page to a scored example and its doubtful step, and every place of focus is seen."""
    from selenium.webdriver.common.keys import Keys

    seen = []
    for _ in range(60):
        press(page, Keys.TAB)
        name, outline = page.execute_script(FOCUSED)
        if name == "":
            break
        seen.append(name)
        assert outline == "solid", name
        if name == "Two ways to solve it":
            press(page, Keys.ENTER)
            scored(page, 2)
        if name == "Step 2 of solution A":
            press(page, "[0.1] ")
            scored(page, 2)
            press(page, Keys.ALT, Keys.PAGE_DOWN)
            assert page.execute_script(FOCUSED)[0] == "Step 2 of solution B"
            press(page, Keys.ALT, Keys.PAGE_UP)
    expected = ["Skip to the problem", "API key", "A slip in the middle", "Two ways to solve it", "problem"]
    expected += ["threshold", "best-by", "Step 1 of solution A", "Split", "Step 2 of solution A", "Merge up"]
    expected += ["Step 3 of solution B", "Copy beside: a copy of solution B", "Keyboard", "The model"]
    places = [seen.index(name) for name in expected]
    assert places == sorted(places)
    assert summary(page) == "Step 2 is the first below 0.50."


FOCUSED = """
  const element = document.activeElement;
  if (element === document.body) return ['', ''];
  const name = element.getAttribute('aria-label') ?? (element.id || element.textContent);
  return [name === 'key-toggle' ? 'API key' : name, getComputedStyle(element).outlineStyle];
"""


def test_screen_readers_hear_steps_scores_and_changes(page: Any) -> None:
    give(page, "p", ["one", "two [0.2]"])
    first, second = all_of(page, ".text")
    assert (first.accessible_name, second.accessible_name) == ("Step 1 of solution A", "Step 2 of solution A")
    assert described(page, first) == "Confidence 0.90"
    assert described(page, second) == "First doubtful step Confidence 0.20"
    said = "Solution A is scored: 2 steps, the lowest 0.20. Step 2 is the first below 0.50."
    assert texts_of(page, "#status")[0].endswith(said)
    assert page.find_element("id", "status").get_attribute("role") == "status"
    assert texts_of(page, "h1, h2, h3") == ["How sure is each step?", "Problem", "Solutions", "Solution A"]


def described(browser: Any, element: Any) -> str:
    script = """return arguments[0].getAttribute('aria-describedby').split(' ').map(id => document.getElementById(id))
        .filter(e => !e.hidden).map(e => e.textContent).join(' ')"""
    return str(browser.execute_script(script, element))


def test_what_the_server_says_of_its_model_is_shown(page: Any) -> None:
    until(page, lambda: all_of(page, "#model-facts dd"))
    assert texts_of(page, "#model-facts dt") == ["checkpoint", "calibrated", "<b>"]
    assert texts_of(page, "#model-facts dd") == ["checkpoint_step_500", "true", "<i>"]


def test_hostile_text_is_shown_and_not_run(page: Any) -> None:
    give(page, f"p {ATTACK}", [f"{ATTACK} [0.2]", "__proto__ ${1} {{2}} javascript:alert(1)"], [ATTACK])
    assert page.title == "Surestep: how sure is each step?"
    assert steps(page)[0] == f"{ATTACK} [0.2]"
    assert all_of(page, "main img, main script, main iframe, main a") == []
    assert complaints(page) == []


def test_the_policy_runs_nothing_but_the_page(page: Any, fake: FakeServer) -> None:
    """Even what got into the page would not run, load or be sent anywhere, and the page asks no other place."""
    give(page, "p", ["one"])
    origins = page.execute_script("return performance.getEntriesByType('resource').map(e => new URL(e.name).origin)")
    assert set(origins) == {fake.url.rstrip("/")}
    page.execute_script("""
      window.refused = [];
      document.addEventListener('securitypolicyviolation', e => refused.push(e.effectiveDirective));
      const add = (tag, attributes) => document.body.append(Object.assign(document.createElement(tag), attributes));
      add('img', {src: 'http://localhost:9/a.png'});
      add('style', {textContent: 'body { display: none }'});
      add('iframe', {src: '/health'});
      try { add('script', {textContent: "document.title = 'broken'"}); } catch { refused.push('typed'); }
      try { document.body.insertAdjacentHTML('beforeend', '<b>x</b>'); } catch { refused.push('typed'); }
      fetch('http://localhost:9/').catch(() => 0);
    """)
    wanted = {"img-src", "style-src-elem", "frame-src", "connect-src", "require-trusted-types-for"}
    until(page, lambda: wanted <= set(page.execute_script("return window.refused")))
    assert page.title == "Surestep: how sure is each step?"
    complaints(page)


def test_a_script_that_was_changed_on_its_way_does_not_run(page: Any, fake: FakeServer) -> None:
    fake.changed_files = {"/page/split.js": CHANGED}
    page.refresh()
    assert page.title == "Surestep: how sure is each step?"
    (complaint,) = [entry["message"] for entry in complaints(page) if "integrity" in entry["message"]]
    assert "page/split.js" in complaint
    assert all_of(page, ".chip") == all_of(page, ".candidate") == [], "nothing of the page runs without a part of it"


def test_it_fits_and_reads_well(page: Any, tmp_path: Path) -> None:
    """Nothing hangs over the side, and text stands out from its ground by the WCAG's 4.5 to 1."""
    give(page, "p " + "long" * 40, ["one " + "x" * 90, "two [0.2]", "three [0.55]"], ["one [0.7]", "[0.05]"])
    folder = Path(os.environ.get("SURESTEP_SCREENSHOTS", tmp_path))
    for width, scheme in VIEWS:
        set_view(page, width, scheme, motion="reduce")
        assert overhang(page) <= 0
        screenshot(page, folder / f"page_{width}_{scheme}.png")
        assert (folder / f"page_{width}_{scheme}.png").stat().st_size > 30_000
        for selector in ("h1", ".lead", ".note", ".value", ".text", ".flag", ".badge", ".sum dt", ".foot button"):
            assert page.execute_script(CONTRAST, selector) >= 4.5, (selector, scheme)
    assert complaints(page) == []


def test_it_breaks_neither_on_small_phones_nor_when_enlarged(page: Any) -> None:
    """A window of 1280 pixels at 200 % is one of 640, at 400 % one of 320."""
    give(page, "p", ["one " + "x" * 60, "two [0.2]"], ["[0.05]"], ["[0.3]"])
    open_everything(page)
    place_cursor(page, 1, 0)
    for width in (320, 360, 640):
        set_view(page, width, "light", motion="reduce")
        assert overhang(page) <= 0
        tools = page.execute_script(
            "return document.activeElement.closest('.step').querySelector('.tools').getBoundingClientRect().toJSON()"
        )
        assert 0 <= tools["left"] <= tools["right"] <= width


def open_everything(browser: Any) -> None:
    script = "for (const part of document.querySelectorAll('details')) part.open = true;"
    browser.execute_script(script + "document.getElementById('key-toggle').click()")


def overhang(browser: Any) -> int:
    return int(browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth"))


def test_the_page_splits_as_the_package_does(page: Any) -> None:
    splitter = pytest.importorskip("surestep.data.trees.split_steps", reason="the package cannot split texts yet")
    texts = [
        "Step 1: a\nb\n\nStep 2: c. D.\nStep 4: e",
        "**Step 1.** a\n## Step 2: b",
        "1. a 3.5. B\n2) c\n\n10. d",
        " 1. a\n1. b\n2. c",
        "a\n\n$$x\n\n= 4$$\n\nb \\[ y",
        "a\n```py\nx\n\ny\n```\n\nb",
        "\\begin{align}\na\n\nb\\end{align}\nc",
        "See Dr. Who. He is e.g. here! Is 3.5 it? no. “Yes.” End",
        "Fig. 2 shows。それは。終わり",
        "one<extra_0>two<extra_0>\n\nthree",
        "one",
        "",
        " \n ",
        "a\n \t\nb\n\n\n\nc",
    ]
    questions = [(text, rule) for text in texts for rule in ("auto", *splitter.RULES)]
    script = """
      const [questions, done] = arguments;
      import('/page/split.js').then(({splitSteps}) => done(questions.map(([text, rule]) => splitSteps(text, rule))));
    """
    for (text, rule), found in zip(questions, page.execute_async_script(script, questions), strict=True):
        expected = splitter.split_steps(text, rule)
        assert (found["steps"], found["rule"]) == (list(expected.steps), expected.rule), (text, rule)


@pytest.mark.skipif(
    not AXE.is_file(), reason="no axe-core here: npm install --no-save axe-core, or name it by SURESTEP_AXE"
)
def test_axe_finds_nothing(page: Any, fake: FakeServer) -> None:
    """As the page opens; with solutions, one of them refused, and everything opened; in four views."""
    page.execute_script(AXE.read_text(encoding="utf-8"))
    assert axe(page) == []
    give(page, "p", ["one", "two [0.2]", "three [0.55]"], ["one [0.7]", "[0.05]"], ["one"])
    fake.next_answers = [refusal(422, "no")]
    put(page, ".candidate:nth-child(3) .text", "refused")
    until(page, lambda: all_of(page, ".failing"))
    open_everything(page)
    place_cursor(page, 1, 2)
    for width, scheme in VIEWS:
        set_view(page, width, scheme, motion="reduce")
        assert axe(page) == [], (width, scheme)


def axe(browser: Any) -> list[Any]:
    found = browser.execute_async_script(
        "axe.run(document, {resultTypes: ['violations']}).then(result => arguments[0]("
        "JSON.stringify(result.violations.map(v => [v.id, v.nodes.map(n => n.failureSummary)]))))"
    )
    return list(json.loads(found))
