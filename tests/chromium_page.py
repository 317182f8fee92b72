"""A page as a browser has it: a script drives it in Chromium, and tells what it saw."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def drive_page(page: str, driver: str, folder: Path) -> dict:
    """What the script ``driver`` wrote as JSON into ``<pre id="told">`` of the page.

    The page's policy, which lets its own script run alone, is taken out for it.
    """
    driven = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    path = folder / "page.html"
    path.write_text(driven.replace("</body>", f"<script>{driver}</script></body>"), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"]
    command = [CHROMIUM, *flags, f"--user-data-dir={folder / 'profile'}", f"file://{path}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=240)
    found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-2000:]
    return json.loads(html.unescape(found[1]))
