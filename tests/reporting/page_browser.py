"""A headless Chromium driven over its debugging pipe: enough of the protocol to look at a page.

No driver and no package is needed. Every page starts empty, and all of its requests and console
messages are kept, so that a test can say that there were none.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

COMMAND = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)
_PATIENCE = 300.0
# Words that a reader sees before unfolding anything; labels inside charts are no words.
_WORDS = """(() => {
  let words = 0;
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const holder = texts.currentNode.parentElement;
    const folded = holder.closest("details:not([open])");
    const summary = folded && holder.closest("summary");
    if (holder.closest("svg, script, style, .skip") || !holder.checkVisibility()) continue;
    if (folded && !(summary && summary.parentElement === folded)) continue;
    words += (texts.currentNode.textContent.match(/\\S+/g) || []).length;
  }
  return words;
})()"""


class Browser:
    """One Chromium process; ``close`` ends it."""

    def __init__(self) -> None:
        assert COMMAND is not None
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        commands, self._write = os.pipe()
        self._read, answers = os.pipe()
        # Moved out of the way of 3 and 4, where Chromium reads commands and writes answers.
        ours = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (commands, answers)]

        def place() -> None:
            os.dup2(ours[0], 3)
            os.dup2(ours[1], 4)

        self._process = subprocess.Popen(
            [COMMAND, *_FLAGS, f"--user-data-dir={self._profile.name}"],
            preexec_fn=place,
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for end in (commands, answers, *ours):
            os.close(end)
        self._next = 0
        self._rest = b""
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """One command and its answer; events that come meanwhile are kept."""
        self._next += 1
        message: dict[str, Any] = {"id": self._next, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self._next:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def wait_for(self, method: str, session: str, start: int) -> None:
        """Read until that event came to that session, among the events from ``start`` on."""
        while not any(
            event.get("method") == method and event.get("sessionId") == session
            for event in self.events[start:]
        ):
            self.events.append(self._message())

    def _message(self) -> dict[str, Any]:
        until = time.monotonic() + _PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0.0, until - time.monotonic()))
            block = os.read(self._read, 1 << 20) if ready else b""
            if not block:
                raise RuntimeError("chromium does not answer")
            self._rest += block
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def open(self, path: Path, hash_: str = "", **look: Any) -> Page:
        """A page of its own that shows this file; see ``Page.look`` for what may be set."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        page = Page(self, target, attached["sessionId"])
        page.look(**look)
        page.go(path.resolve().as_uri() + hash_)
        return page

    def close(self) -> None:
        """End the process and remove its profile."""
        try:
            self.call("Browser.close")
            self._process.wait(10)
        except (RuntimeError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)
        self._profile.cleanup()


class Page:
    """One tab."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self._browser, self._target, self._session = browser, target, session
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    def look(
        self,
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
        scripts: bool = True,
        slower: float = 1.0,
    ) -> None:
        """Size of the window, theme of the system, whether scripts run, how slow the CPU is."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.call("Emulation.setEmulatedMedia", media="", features=features)
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.call("Emulation.setCPUThrottlingRate", rate=slower)

    def go(self, url: str) -> None:
        """Load an address and wait for its load event."""
        start = len(self._browser.events)
        self.call("Page.navigate", url=url)
        self._browser.wait_for("Page.loadEventFired", self._session, start)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are waited for."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"])[:2000])
        return result["result"].get("value")

    def words(self) -> int:
        """The words that are seen without unfolding anything."""
        return int(self.run(_WORDS))

    def screens(self) -> float:
        """The height of the page, in screens of 1280 x 800."""
        return float(self.run("document.documentElement.scrollHeight")) / 800

    def html(self) -> str:
        """The document as it is now."""
        root = self.call("DOM.getDocument", depth=0)["root"]["nodeId"]
        text: str = self.call("DOM.getOuterHTML", nodeId=root)["outerHTML"]
        return text

    def click(self, selector: str) -> None:
        """A real click in the middle of an element."""
        x, y = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect(); "
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def move(self, selector: str) -> None:
        """The pointer over the middle of an element."""
        x, y = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect(); "
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key: str, code: int) -> None:
        """A key, down and up."""
        text = "\r" if key == "Enter" else ""
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                windowsVirtualKeyCode=code,
                **({"text": text} if text and kind == "keyDown" else {}),
            )

    def picture(self, selector: str) -> bytes:
        """What is seen of one element, as PNG; it must be in the window. Needs no scripts."""
        root = self.call("DOM.getDocument", depth=0)["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        box = self.call("DOM.getBoxModel", nodeId=node)["model"]
        clip = {
            "x": box["border"][0],
            "y": box["border"][1],
            "width": box["width"],
            "height": box["height"],
            "scale": 1,
        }
        self.call("Page.bringToFront")
        shot = self.call("Page.captureScreenshot", format="png", clip=clip)
        return base64.b64decode(shot["data"])

    def pdf(self) -> bytes:
        """The page on paper."""
        return base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True)["data"])

    def requests(self) -> list[str]:
        """Addresses that were asked for beyond the page itself."""
        sent = [e for e in self._events() if e["method"] == "Network.requestWillBeSent"]
        return [e["params"]["request"]["url"] for e in sent if e["params"]["type"] != "Document"]

    def messages(self) -> list[str]:
        """Everything that the page said on the console, and every error and refusal."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(e["params"])[:500] for e in self._events() if e["method"] in kinds]

    def _events(self) -> list[dict[str, Any]]:
        return [e for e in self._own(self._browser.events) if "method" in e]

    def _own(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [event for event in events if event.get("sessionId") == self._session]

    def close(self) -> None:
        """Close the tab."""
        self._browser.call("Target.closeTarget", targetId=self._target)


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium for the session."""
    if COMMAND is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    opened = Browser()
    yield opened
    opened.close()
