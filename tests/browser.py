"""Drives a real browser without a display, through Chromium's debugging pipe."""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
NO_BROWSER = "no Chromium here (Debian: apt install chromium)"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--use-angle=swiftshader",  # WebGL without a GPU
    "--enable-unsafe-swiftshader",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
)


class Page:
    """One page of a browser: which errors it has, what it asks of the network, and shows."""

    def __init__(self, send: int, answers: BinaryIO) -> None:
        self._send = send
        self._receive = answers
        self._number = 0
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        self.console: list[str] = []
        self.requests: set[str] = set()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command of the DevTools protocol and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._events.append(answer)

    def _next(self) -> dict[str, Any]:
        """Return the next message of the browser, and note what it tells of the page."""
        data = bytearray()
        while (byte := self._receive.read(1)) not in (b"\0", b""):
            data += byte
        assert data, "the browser has ended"
        message = json.loads(data)
        told = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            url = told["request"]["url"]
            if url.startswith(("http", "ws")):
                self.requests.add(url)
        elif message.get("method") == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.console.append(details.get("exception", {}).get("description", details["text"]))
        elif message.get("method") == "Runtime.consoleAPICalled" and told["type"] == "error":
            self.console.append(" ".join(str(one.get("value")) for one in told["args"]))
        elif message.get("method") == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.console.append(told["entry"]["text"])
        return message

    def open(self, html: Path) -> None:
        """Open a file and wait until it has loaded."""
        self._events.clear()
        self.call("Page.navigate", url=html.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            self._events.append(self._next())

    def run(self, script: str) -> Any:
        """Run the body of an async function in the page and return what it returns, as JSON."""
        expression = f"(async () => {{ {script} }})()"
        found = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def download(self, link: str, folder: Path) -> Path:
        """Click on a link, found by its selector, and return the file that it saves."""
        folder.mkdir()
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        self.run(f"document.querySelector({json.dumps(link)}).click();")
        for _ in range(100):
            done = [path for path in folder.iterdir() if path.suffix != ".crdownload"]
            if done:
                return done[0]
            self.run("await new Promise(on => setTimeout(on, 100));")
        raise AssertionError(f"{link}: saves nothing")

    def wait_for(self, condition: str, seconds: float = 30.0) -> None:
        """Wait until a JavaScript expression is true."""
        done = self.run(
            f"for (let k = 0; k < {round(seconds * 20)}; k++) {{ if ({condition}) return true; "
            "await new Promise(on => setTimeout(on, 50)); } return false;"
        )
        assert done, f"not within {seconds:g} s: {condition}"

    def picture(self, path: Path, width: int = 1280, *, dark: bool = False) -> Path:
        """Take a picture of the whole page."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.run("await new Promise(on => setTimeout(on, 1500));")
        taken = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))
        return path


@contextmanager
def browser_page(folder: Path) -> Iterator[Page]:
    """Start a browser with a profile in a new folder, and give its page."""
    folder.mkdir(parents=True)
    to_browser, send = os.pipe()
    receive, from_browser = os.pipe()
    words = [str(BROWSER), *FLAGS, f"--user-data-dir={folder}"]
    command = f"exec {shlex.join(words)} 3<&{to_browser} 4>&{from_browser}"
    process = subprocess.Popen(
        ["bash", "-c", command],
        pass_fds=(to_browser, from_browser),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_browser)
    os.close(from_browser)
    try:
        with os.fdopen(receive, "rb") as answers:
            yield Page(send, answers)
    finally:
        process.terminate()
        process.wait(20)
        os.close(send)


def open_in_browser(html: Path, folder: Path) -> tuple[list[str], set[str], str]:
    """Return the console lines, the page's network requests and the DOM after its scripts."""
    with browser_page(folder) as page:
        page.open(html)
        drawn = "[...document.querySelectorAll('[data-figure]')].every(p => p.dataset.drawn)"
        page.wait_for(drawn)
        page.run("await new Promise(on => setTimeout(on, 500));")
        return page.console, page.requests, page.run("return document.documentElement.outerHTML;")
