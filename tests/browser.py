"""A headless Chromium that looks at pages: what they requested, what they complained about, what axe finds."""

import json
import shutil
import tempfile
from contextlib import contextmanager

from axe_core_python.selenium import Axe
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

ALARM = "window.hacked = []; for (const name of ['alert', 'confirm', 'prompt']) window[name] = (x) => hacked.push(x);"
"""What hostile text that runs would call."""


class Browser:
    """One browser, for all tests of a process."""

    DESKTOP, PHONE = (1280, 900), (390, 844)

    def __init__(self, driver):
        self.driver = driver
        self.run = driver.execute_script
        driver.execute_cdp_cmd("Network.enable", {})
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": ALARM})

    def open(self, path, fragment="", size=DESKTOP, scheme="light"):
        """Load a file as a window of this size and colour scheme shows it."""
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == self.PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get("about:blank")
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)
        self.driver.get(path.resolve().as_uri() + fragment)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def texts(self, selector):
        """The text of every shown element, in order."""
        script = """
        const shown = [...document.querySelectorAll(arguments[0])].filter((element) => element.checkVisibility());
        return shown.map((element) => element.innerText || element.textContent);
        """
        return self.run(script, selector)

    def choose(self, selector, value):
        """Choose an option by its value, as a user would."""
        self.run(
            "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
            "e.dispatchEvent(new Event('change', { bubbles: true }))",
            selector,
            value,
        )

    def wait(self, condition):
        """Wait until an expression of the page holds."""
        WebDriverWait(self.driver, 30, 0.05).until(lambda _: self.run(f"return Boolean({condition})"))

    def run_async(self, script):
        """Run a script that calls `arguments_done` with its result."""
        self.driver.set_script_timeout(60)
        return self.driver.execute_async_script(f"const arguments_done = arguments[arguments.length - 1]; {script}")

    def complaints(self):
        """What the console says, policy violations among it."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self):
        """Every address that the page asked for."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if url != "about:blank"]

    def overflow(self):
        """How many pixels the document is wider than the window."""
        return self.run("return document.documentElement.scrollWidth - window.innerWidth")

    def serious(self):
        """What axe finds of serious or critical impact: rule and elements."""
        found = Axe().run(self.driver, options={"resultTypes": ["violations"]})["violations"]
        return {
            rule["id"]: [" ".join(map(str, node["target"])) for node in rule["nodes"]]
            for rule in found
            if rule["impact"] in ("serious", "critical")
        }


@contextmanager
def chromium():
    """Yield a browser.

    Raises:
        RuntimeError: if there is none, saying what to install.
    """
    program, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if program is None or driver is None:
        raise RuntimeError("the tests of pages need a browser: apt-get install chromium chromium-driver")
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = program
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--user-data-dir={profile}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        started = webdriver.Chrome(options, Service(driver))
        try:
            yield Browser(started)
        finally:
            started.quit()
