"""A headless Chromium that notices what goes wrong, and checks that say so.

Each check prints one line of JSON: its name, what is wrong, how long it took. The
settings come as variables of the environment (see ../browser_test.go).
"""

import contextlib
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.parse
import urllib.request

from playwright.sync_api import sync_playwright

BASE = os.environ["BASE"]
GUARDED = os.environ["GUARDED"]
SHOTS = os.environ.get("SHOTS", "")
PATIENCE = 30  # seconds until what should come is missed


def axe_core():
    """The source of axe-core, from the package that has it inside."""
    folder = importlib.util.find_spec("axe_playwright_python").submodule_search_locations[0]
    return pathlib.Path(folder, "axe.min.js").read_text()


def quant(*args):
    """What a quant of another process prints of the same lab."""
    done = subprocess.run([os.environ["QUANT"], *args], cwd=os.environ["LAB"], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise AssertionError(f"quant {' '.join(args)}: exit {done.returncode}: {done.stderr}")
    return done.stdout


def start(*args):
    """Start a quant that goes on by itself."""
    return subprocess.Popen([os.environ["QUANT"], *args], cwd=os.environ["LAB"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def found(query):
    """The ids of the runs that a search finds, newest first."""
    return [r["run_id"] for r in json.loads(quant("runs", "search", query, "--limit", "0", "--output", "json"))]


@contextlib.contextmanager
def chromium():
    """A browser; it is closed at the end."""
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=os.environ["CHROMIUM"], args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A page in a context of its own, with what went wrong in it since it was last asked."""

    def __init__(self, browser, theme="light", width=1400, base=BASE, allowed=()):
        self.base = base
        self.wrong = []
        self.expected = 0  # answers that are no success and are meant to be
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, accept_downloads=True)
        self.context.set_default_timeout(PATIENCE * 1000)
        self.page = self.context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda e: self.wrong.append(f"error in the page {self.at()}: {e}"))
        self.context.on("request", self._request)

    def at(self):
        return self.page.url.removeprefix(self.base)

    def _console(self, message):
        if message.type not in ("error", "warning"):
            return
        if self.expected and "the server responded with a status of 4" in message.text:
            return
        self.wrong.append(f"console {message.type} at {self.at()}: {message.text[:400]}")

    def _request(self, request):
        if not request.url.startswith((self.base + "/", "data:", "blob:")):
            self.wrong.append(f"{self.at()} asks another host: {request.url[:200]}")

    def go(self, path, status=200):
        self.expected = status >= 400
        answer = self.page.goto(self.base + path)
        if answer.status != status:
            self.wrong.append(f"{path}: status {answer.status}, want {status}")
        return answer

    def until(self, what, script, wanted=True):
        """Wait until a script of the page returns what is wanted (truth, if True).

        It is asked from outside: the policy of the pages lets nothing poll within.
        """
        until = time.monotonic() + PATIENCE
        while True:
            got = self.page.evaluate(script)
            if got == wanted or (wanted is True and got):
                return got
            if time.monotonic() > until:
                raise AssertionError(f"waited in vain until {what}, at {self.at()}: {got!r}")
            time.sleep(0.05)

    def text(self, selector="main"):
        return self.page.inner_text(selector)

    def shot(self, name):
        if SHOTS:
            os.makedirs(SHOTS, exist_ok=True)
            self.page.screenshot(path=os.path.join(SHOTS, name + ".png"))

    def taken(self):
        wrong, self.wrong = self.wrong, []
        return wrong

    def close(self):
        self.context.close()


@contextlib.contextmanager
def check(name, tab):
    """A check: what is raised or was noticed by the tab meanwhile is what is wrong."""
    begun = time.monotonic()
    tab.taken()
    wrong = []
    try:
        yield wrong
    except Exception as e:  # noqa: BLE001: a check that breaks is told, and the next one made
        wrong.append(f"{type(e).__name__}: {str(e)[:1500]} (line {line_of(e)})")
    wrong += tab.taken()
    print(json.dumps({"check": name, "wrong": wrong, "ms": (time.monotonic() - begun) * 1000}), flush=True)


def line_of(e):
    at = e.__traceback__
    lines = []
    while at:
        if os.path.dirname(at.tb_frame.f_code.co_filename) == os.path.dirname(os.path.abspath(__file__)):
            lines.append(f"{os.path.basename(at.tb_frame.f_code.co_filename)}:{at.tb_lineno}")
        at = at.tb_next
    return ", ".join(lines)


def want(ok, said):
    """An assertion that python -O keeps."""
    if not ok:
        raise AssertionError(said)


def at(path, **query):
    return path + "?" + urllib.parse.urlencode(query, doseq=True)


def document(path):
    """A JSON document of the server."""
    with urllib.request.urlopen(BASE + path, timeout=60) as answer:
        return json.load(answer)
