"""Takes the pictures of docs/status-page.md: the real page, of the real daemon, in the scene with faults.

make pictures        # or: python -m tests.process.pictures
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Literal

from tests.process.browser import ROOT, browser
from tests.process.scene import Scene

FOLDER = ROOT / "docs" / "pictures"
Scheme = Literal["light", "dark"]
OLD_S = 100
"""So that ages are not those of a scene that was just set."""

PICTURES: tuple[tuple[str, str, int, int, Scheme], ...] = (  # name, path, width, most height, scheme
    ("status-overview", "/", 1100, 1000, "light"),
    ("status-overview-dark", "/", 1100, 1000, "dark"),
    ("status-virtual-server", "/vs/203.0.113.10:80/tcp", 1100, 1800, "light"),
    ("status-problems", "/down", 1100, 1000, "light"),
    ("status-narrow", "/down", 360, 1400, "dark"),
)


def main() -> None:
    """Set the scene, let it grow a little old, and take all of them. The web servers are on port 8080, which has to be free."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, browser() as running:
        scene = Scene(Path(name), port=8080)
        try:
            scene.break_things()
            time.sleep(OLD_S)
            for picture, path, width, height, scheme in PICTURES:
                page = running.new_page(viewport={"width": width, "height": 400}, color_scheme=scheme)
                page.goto(scene.url + path)
                page.wait_for_function("document.querySelector('#live').textContent === 'live'")
                whole = page.evaluate("document.documentElement.scrollHeight")
                page.set_viewport_size({"width": width, "height": min(whole, height)})
                page.screenshot(path=FOLDER / f"{picture}.png")
                page.close()
        finally:
            scene.close()


if __name__ == "__main__":
    main()
