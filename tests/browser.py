"""Opens a page in a real browser without a display and tells what happened."""

import json
import re
import shutil
import subprocess
from pathlib import Path

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
NO_BROWSER = "no Chromium here (Debian: apt install chromium)"


def open_in_browser(html: Path, folder: Path) -> tuple[list[str], set[str], str]:
    """Return the console lines, the page's network requests and the DOM after its scripts."""
    folder.mkdir()
    log = folder / "net.json"
    arguments = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--virtual-time-budget=10000",
        "--enable-logging=stderr",
        f"--user-data-dir={folder / 'profile'}",
        f"--log-net-log={log}",
        "--dump-dom",
        html.resolve().as_uri(),
    ]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    events = json.loads(log.read_text())["events"]
    urls = {(event.get("params") or {}).get("url", "") for event in events}
    own = re.compile(r"https?://[^/]*\.(google|googleapis|gstatic)\.com/")  # the browser's own
    requests = {url for url in urls if url.startswith(("http", "ws")) and not own.match(url)}
    return console, requests, done.stdout
