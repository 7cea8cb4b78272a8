"""A headless Chromium that uses the tabs as a person does."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

Found = TypeVar("Found")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


def missing() -> str:
    """Why there is no browser here, in a sentence; empty when there is one."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed: pip install selenium."
    if not (_binary("CHROME", "chromium") and _binary("CHROMEDRIVER", "chromedriver")):
        return "Chromium is not installed: apt-get install chromium chromium-driver."
    return ""


def _binary(variable: str, name: str) -> str | None:
    return os.environ.get(variable) or shutil.which(name)


class Page:
    """The page of the tabs in a browser that prefers ``language``; elements are found by CSS selectors."""

    def __init__(self, address: str, language: str = "en-US", size: tuple[int, int] = (1400, 1200)) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = _binary("CHROME", "chromium")
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        extra = (f"--user-data-dir={self._profile.name}", f"--window-size={size[0]},{size[1]}", f"--lang={language}")
        for flag in (*FLAGS, *extra):
            options.add_argument(flag)
        options.add_experimental_option("prefs", {"intl.accept_languages": language})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(_binary("CHROMEDRIVER", "chromedriver")))
        self.address = address
        self.open()

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.quit()
        self._profile.cleanup()

    def open(self) -> None:
        """Open the page, or open it again."""
        self.driver.get(self.address)
        self.wait_for("#easyphoto_train_start")
        self.wait(lambda: "easyphoto-words" in self.driver.page_source)
        self.settle()

    def settle(self, quiet: float = 0.6) -> None:
        """Wait until the page has asked for nothing new for ``quiet`` seconds, as a person does who looks first. A tab
        that is clicked while gradio still loads makes gradio complain in the console (docs/open.md)."""
        asked, since = -1, time.monotonic()
        while time.monotonic() - since < quiet:
            count = int(self.script("return performance.getEntriesByType('resource').length"))
            if count != asked:
                asked, since = count, time.monotonic()
            time.sleep(0.1)

    # --- looking -----------------------------------------------------------------------------------------------------

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", selector))

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def text(self, selector: str) -> str:
        return self._steady(lambda: str(self.one(selector).text))

    def attribute(self, selector: str, name: str) -> str:
        return self._steady(lambda: str(self.one(selector).get_attribute(name)))

    def _steady(self, act: Callable[[], Found], seconds: float = 30) -> Found:
        """What ``act`` answers, which finds its elements anew while gradio puts others in their place or over them."""
        from selenium.common.exceptions import ElementClickInterceptedException, StaleElementReferenceException

        deadline = time.monotonic() + seconds
        while True:
            try:
                return act()
            except (ElementClickInterceptedException, StaleElementReferenceException):
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def script(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def wait(self, ready: Callable[[], Found], seconds: float = 200) -> Found:
        """What ``ready`` answers once it is true; elements that come and go meanwhile are looked for again."""
        from selenium.common.exceptions import WebDriverException

        deadline = time.monotonic() + seconds
        while True:
            try:
                found = ready()
            except WebDriverException:
                found = None
            if found:
                return found
            assert time.monotonic() < deadline, (
                f"not seen within {seconds} s; the page says: {self.text('body')[:2000]}"
            )
            time.sleep(0.1)

    def wait_for(self, selector: str, count: int = 1, seconds: float = 200) -> list[Any]:
        return self.wait(lambda: (len(e := self.all(selector)) >= count and e) or [], seconds)

    def words(self) -> list[str]:
        """Every text and placeholder below our tabs, seen or folded."""
        return list(
            self.script(
                """const found = [], walker = document.createTreeWalker(
                       document.querySelector('#easyphoto'), NodeFilter.SHOW_TEXT);
                   while (walker.nextNode()) found.push(walker.currentNode.data.trim());
                   document.querySelectorAll('#easyphoto [placeholder]').forEach(e => found.push(e.placeholder));
                   return found.filter(t => t)"""
            )
        )

    def complaints(self) -> list[str]:
        """The errors in the browser's console since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def shot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(path))

    # --- doing -------------------------------------------------------------------------------------------------------

    def click(self, selector: str, number: int = 0) -> None:
        """Click an element, or the one of this number among those that the selector finds, once it is shown."""

        def shown() -> bool:
            found = self.all(selector)
            return len(found) > number and bool(found[number].is_displayed())

        def clicked() -> None:
            self.all(selector)[number].click()

        self.wait(shown)
        self._steady(clicked)

    def click_words(self, selector: str, words: str) -> None:
        """Click the first of the elements that says ``words``, apart from a tick before them."""

        def say_them() -> list[int]:
            texts = [element.text.strip().lstrip("✓").strip() for element in self.all(selector)]
            return [number for number, text in enumerate(texts) if text == words]

        def clicked() -> None:
            self.all(selector)[self.wait(say_them)[0]].click()

        self._steady(clicked)

    def tab(self, number: int, tabs: str = "#easyphoto_tabs") -> None:
        """Open one of our tabs, from 0, or one of the tabs within ``tabs``."""
        self.click(f"{tabs} [role=tab]", number)

    def unfold(self) -> None:
        """Open every folded part of the open tab, wherever it is."""
        self.script(
            "document.querySelectorAll('#easyphoto button.label-wrap:not(.open)')"
            ".forEach((folded) => folded.offsetParent && folded.click())"
        )

    def type(self, selector: str, text: str) -> None:
        def typed() -> None:
            box = self.one(f"{selector} textarea, {selector} input")
            box.clear()
            box.send_keys(text)

        self._steady(typed)

    def number(self, selector: str, value: float) -> None:
        """Type into a number field, or the one beside a slider."""
        from selenium.webdriver.common.keys import Keys

        def typed() -> None:
            box = self.one(f"{selector} input[type=number]")
            box.send_keys(Keys.CONTROL, "a")
            box.send_keys(f"{value}", Keys.TAB)

        self._steady(typed)

    def upload(self, name: str, files: Sequence[Path]) -> None:
        """Give files, or a folder, to an upload button or a picture field by its id."""
        inside = f"#{name} input[type=file], input[type=file]#{name}"
        before = f"//*[@id='{name}']/preceding-sibling::input[@type='file'][1]"
        found = self.wait(lambda: self.all(inside) or self.driver.find_elements("xpath", before))
        self.script("arguments[0].value = ''", found[0])  # the driver would add to what was chosen before
        found[0].send_keys("\n".join(str(f.resolve()) for f in files))

    def pick_preset(self, number: int) -> None:
        """Click a picture in the gallery of presets."""
        self.click("#easyphoto_generate_presets .thumbnail-item", number)
        time.sleep(0.5)

    def telephone(self, width: int = 400, height: int = 860) -> None:
        """Show the page as a telephone does, and open it again."""
        telephone = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", telephone)
        self.open()

    def downloads_to(self, folder: Path) -> None:
        """Let what is downloaded arrive in ``folder``."""
        way = {"behavior": "allow", "downloadPath": str(folder)}
        self.driver.execute_cdp_cmd("Browser.setDownloadBehavior", way)

    def downloaded(self, folder: Path, seconds: float = 200) -> Path:
        """Wait for the one file that was downloaded."""
        return self.wait(
            lambda: [f for f in folder.iterdir() if f.suffix != ".crdownload" and f.stat().st_size], seconds
        )[0]

    def reach(self, selector: str) -> None:
        """Scroll to an element, so that what is fixed at the edge of a telephone doesn't lie over it."""
        self.wait_for(selector)
        self.script("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)

    def in_sight(self, selector: str) -> bool:
        """Whether the upper edge of an element, and 40 pixels below it, can be seen: nothing lies over them."""
        return bool(
            self.script(
                """const found = document.querySelector(arguments[0]);
                   if (!found || !found.offsetParent && getComputedStyle(found).position !== 'fixed') return false;
                   const box = found.getBoundingClientRect(), low = box.top + Math.min(box.height - 2, 40);
                   const there = document.elementFromPoint(box.left + box.width / 2, low);
                   return box.top >= 0 && low < innerHeight && found.contains(there)""",
                selector,
            )
        )
