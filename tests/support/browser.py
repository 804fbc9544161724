"""A headless Chromium, driven over a pipe by the DevTools protocol: what a customer with a telephone sees and touches.

Where no Chromium is installed the test is skipped with that reason; in CI it fails instead. The browser has a folder of its own and
asks nobody but the page's own server.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe"),
)
_ANSWER_S: Final = 30.0


class Browser:
    """One page. `size`: of the window, in CSS pixels."""

    def __init__(self, commands: int, answers: int, size: tuple[int, int]) -> None:
        self._commands, self._answers = commands, answers
        self._rest = b""
        self._count = 0
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        self.call("Emulation.setScriptExecutionDisabled", value=True)
        self.call("Page.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its answer; events that come between are dropped."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        return self._wait(lambda said: said.get("id") == self._count)

    def _wait(self, is_wanted: Any) -> dict[str, Any]:
        ends = time.monotonic() + _ANSWER_S
        while time.monotonic() < ends:
            while b"\0" in self._rest:
                raw, _, self._rest = self._rest.partition(b"\0")
                said = json.loads(raw)
                if is_wanted(said):
                    assert "error" not in said, said
                    found: dict[str, Any] = said.get("result", said)
                    return found
            more = os.read(self._answers, 1 << 20)
            assert more, "the browser has gone"
            self._rest += more
        raise AssertionError("the browser did not answer")

    def _loaded(self) -> None:
        self._wait(lambda said: said.get("method") == "Page.loadEventFired")

    def open(self, url: str) -> None:
        """Goes there and waits until the page is loaded."""
        told = self.call("Page.navigate", url=url)
        assert not told.get("errorText"), told
        self._loaded()

    def node(self, selector: str) -> int:
        """The first element that fits; fails where there is none."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        found: int = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        assert found, f"nothing on the page is {selector}"
        return found

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height in CSS pixels."""
        model = self.call("DOM.getBoxModel", nodeId=self.node(selector))["model"]
        left, top = model["border"][0], model["border"][1]
        return left, top, model["width"], model["height"]

    def click(self, selector: str, *, loads: bool = False) -> None:
        """A click in the middle of the element; `loads`: waits for the page that it leads to."""
        self.call("DOM.scrollIntoViewIfNeeded", nodeId=self.node(selector))
        left, top, width, height = self.box(selector)
        at = {"x": left + width / 2, "y": top + height / 2, "button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mousePressed", **at)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", **at)
        if loads:
            self._loaded()

    def type(self, selector: str, text: str) -> None:
        """Types over what stands in a field."""
        self.click(selector)
        for kind in ("keyDown", "keyUp"):
            key = {"key": "a", "code": "KeyA", "modifiers": 2, "windowsVirtualKeyCode": 65}
            self.call("Input.dispatchKeyEvent", type=kind, commands=["selectAll"], **key)
        self.call("Input.insertText", text=text)

    def press_tab(self) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)

    def html(self) -> str:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        found: str = self.call("DOM.getOuterHTML", nodeId=root)["outerHTML"]
        return found

    def names(self) -> list[tuple[str, str]]:
        """Role and accessible name of everything that a screen reader meets."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            (n["role"]["value"], n.get("name", {}).get("value", ""))
            for n in nodes
            if not n.get("ignored") and "role" in n
        ]

    def width_of_page(self) -> float:
        found: float = self.call("Page.getLayoutMetrics")["cssContentSize"]["width"]
        return found

    def screenshot(self, path: Path) -> Path:
        """The whole page as PNG."""
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))
        return path


@contextmanager
def browsing(folder: Path, size: tuple[int, int] = (390, 844)) -> Iterator[Browser]:
    """Starts a browser with its data in `folder`; ends it by its id."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium: .ci/run installs it")
        pytest.skip("no Chromium on this machine (Debian and Ubuntu: apt install chromium)")
    commands_out, commands_in = os.pipe()
    answers_out, answers_in = os.pipe()
    arguments = [program, *_FLAGS, f"--user-data-dir={folder}"]
    # The browser reads commands on 3 and answers on 4; both ends are copied from above these numbers.
    moves = [(os.POSIX_SPAWN_DUP2, commands_out, 3), (os.POSIX_SPAWN_DUP2, answers_in, 4)]
    quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
    pid = os.posix_spawn(program, arguments, dict(os.environ), file_actions=[*quiet, *moves])
    os.close(commands_out)
    os.close(answers_in)
    try:
        yield Browser(commands_in, answers_out, size)
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        os.close(commands_in)
        os.close(answers_out)
