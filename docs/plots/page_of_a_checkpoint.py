"""A picture of the page with a real solution, scored by a checkpoint that is being served.

`surestep serve outputs/demo`, then `python docs/plots/page_of_a_checkpoint.py http://127.0.0.1:8000 FILE.png`. The
solution has one slip, 64 - 5 = 57, and goes on from it rightly. Needs the extra `dev`, and Debian's chromium and
chromium-driver.
"""

from __future__ import annotations

import argparse
import base64
import re
import shutil
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

PROBLEM = "start 47; add 8; add 9; sub 5; add 6"
SOLUTION = "47 + 8 = 55\n55 + 9 = 64\n64 - 5 = 57\n57 + 6 = 63"
WIDTH, HEIGHT, MARGIN = 900, 1000, 20
_TOP_AND_BOTTOM = """
return [document.getElementById("problem-heading").getBoundingClientRect().top + scrollY,
        document.getElementById("candidates").getBoundingClientRect().bottom + scrollY]
"""


def write_picture(address: str, path: Path) -> None:
    """Open the page, put the solution in, wait for its confidences, and write what is seen of them."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1.5"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options, webdriver.ChromeService(executable_path=str(shutil.which("chromedriver"))))
    try:
        browser.set_window_size(WIDTH, HEIGHT)
        browser.get(address)
        browser.find_element(By.ID, "problem").send_keys(PROBLEM)
        browser.find_element(By.CSS_SELECTOR, "#candidates textarea").send_keys(SOLUTION)
        browser.find_element(By.XPATH, "//button[.='Split into steps']").click()
        candidates = browser.find_element(By.ID, "candidates")
        deadline = time.monotonic() + 60
        while not re.search(r"0\.\d\d", candidates.text) and time.monotonic() < deadline:
            time.sleep(0.2)
        browser.execute_script("document.activeElement.blur()")
        ActionChains(browser).move_by_offset(2, 2).perform()  # away from the steps, whose buttons would show
        time.sleep(1)  # bars grow to their lengths
        top, bottom = browser.execute_script(_TOP_AND_BOTTOM)
        clip = {"x": 0, "y": top - MARGIN, "width": WIDTH, "height": bottom - top + 2 * MARGIN, "scale": 1}
        shot = {"format": "png", "captureBeyondViewport": True, "clip": clip}
        path.write_bytes(base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", shot)["data"]))
        print(candidates.text)
    finally:
        browser.quit()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A picture of the page with a scored solution.")
    parser.add_argument("address", help="of `surestep serve`")
    parser.add_argument("picture", type=Path, help="the PNG file to write")
    given = parser.parse_args()
    write_picture(given.address, given.picture)
