"""A headless Chromium, driven by its DevTools protocol over two pipes, which needs no package.

It reaches loopback addresses and nothing else: a page that needs the internet does not work here.
"""

import base64
import itertools
import json
import os
import select
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from integration.processes import Process, running

WIDTH, HEIGHT = 1280, 800
SECONDS = 90
OPTIONS = (
    *("--headless=new", "--remote-debugging-pipe", "--log-level=3", f"--window-size={WIDTH},{HEIGHT}"),
    # It runs as root, in containers, on pages of our own.
    *("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
    # A page inside the page is in the same process, and so within reach.
    "--disable-features=IsolateSandboxedIframes,IsolateOrigins,site-per-process",
    *("--hide-scrollbars", "--force-color-profile=srgb", "--lang=en-US"),
)
# The protocol wants file descriptors 3 and 4.
WITH_PIPES = 'exec "$@" 3<commands 4>answers'
# The boxes of the smallest visible elements with exactly this text or label, in the order of the page.
FIND = """
(text => {
  const is = element => element.ariaLabel === text || (element.innerText ?? "").trim() === text;
  const found = [...document.querySelectorAll("body *")].filter(each => each.getClientRects().length && is(each));
  return found.filter(each => ![...each.children].some(child => found.includes(child)));
})
"""
BOXES = "(each => { const box = each.getBoundingClientRect(); return [box.x, box.y, box.width, box.height]; })"


def installed() -> str | None:
    """The path of a Chromium; None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


class Browser:
    """One page of a Chromium.

    Args:
        process: The Chromium.
        commands: The file descriptor that it reads commands from.
        answers: The one that it writes answers to.
    """

    def __init__(self, process: Process, commands: int, answers: int):
        self._process, self._commands, self._answers = process, commands, answers
        self._numbers, self._unfinished = itertools.count(1), b""
        self._session: dict[str, str] = {}
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        self._ask("Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=1, mobile=False)

    def open(self, url: str) -> None:
        """Go to a page, with nothing left of the one before: they may differ in their fragments only."""
        for address in ("about:blank", url):
            self._ask("Page.navigate", url=address)

    @property
    def text(self) -> str:
        """All the text that the page shows."""
        return self._evaluate("document.body?.innerText") or ""

    @property
    def framed_text(self) -> str:
        """All the text of the pages inside the page."""
        frames = self._ask("Page.getFrameTree")["frameTree"].get("childFrames", ())
        worlds = [self._ask("Page.createIsolatedWorld", frameId=each["frame"]["id"]) for each in frames]
        texts = [self._evaluate("document.body?.innerText", contextId=each["executionContextId"]) for each in worlds]
        return "\n".join(text or "" for text in texts)

    def places(self, text: str) -> list[tuple[float, float]]:
        """Where the elements are that have exactly this text or label: left and top, in the order of the page."""
        return [(x, y) for x, y, _, _ in self._evaluate(f"{FIND}({json.dumps(text)}).map({BOXES})")]

    def wait_for(self, *texts: str) -> None:
        """Wait until the page shows all of these texts."""
        try:
            self._process.wait_until(lambda: all(text in self.text for text in texts), f"shown {texts}", SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- the page\n{self.text}") from error

    def click(self, text: str, index: int = 0) -> None:
        """Click the element that has exactly this text or label; `index` tells which of several."""
        self._process.wait_until(lambda: len(self.places(text)) > index, f"shown {text!r}", SECONDS)
        element = f"{FIND}({json.dumps(text)})[{index}]"
        self._evaluate(f"{element}.scrollIntoView({{block: 'nearest'}})")
        x, y, width, height = self._evaluate(f"{BOXES}({element})")
        mouse = {"x": x + width / 2, "y": y + height / 2, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self._ask("Input.dispatchMouseEvent", type=kind, **mouse)

    def close_assistant(self) -> None:
        """Close MLflow's assistant, which is beside the first page of a server that is shown, and hides half of it."""
        if self.places("Close"):
            self.click("Close")

    def screenshot(self, path: Path) -> None:
        """Save what the window shows, once it stands still."""
        shown: list[str] = []

        def stands_still() -> bool:
            shown.append(self._ask("Page.captureScreenshot", format="png")["data"])
            return shown[-1:] == shown[-2:-1]

        self._process.wait_until(stands_still, "stopped moving", SECONDS)
        path.write_bytes(base64.b64decode(shown[-1]))

    def wait_for_framed(self, *texts: str) -> None:
        """Wait until the pages inside the page show all of these texts."""
        try:
            self._process.wait_until(
                lambda: all(text in self.framed_text for text in texts), f"framed {texts}", SECONDS
            )
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- the page\n{self.text}\n--- framed\n{self.framed_text}") from error

    def _evaluate(self, expression: str, **where: Any) -> Any:
        answer = self._ask("Runtime.evaluate", expression=expression, returnByValue=True, **where)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        number, answered = next(self._numbers), []
        command = {"id": number, "method": method, "params": params, **self._session}
        os.write(self._commands, json.dumps(command).encode() + b"\0")

        def is_answered() -> bool:
            answered.extend(message for message in self._messages() if message.get("id") == number)
            return bool(answered)

        self._process.wait_until(is_answered, f"answered {method}", SECONDS)
        assert "result" in answered[0], f"{method} failed: {answered[0]}"
        return answered[0]["result"]

    def _messages(self) -> Iterator[dict[str, Any]]:
        """What it says next: answers and events, each ended by a zero byte."""
        if select.select([self._answers], [], [], 0.5)[0]:
            self._unfinished += os.read(self._answers, 1 << 20)
        *whole, self._unfinished = self._unfinished.split(b"\0")
        return map(json.loads, whole)


@contextmanager
def browsing(chromium: str, folder: Path, environment: Mapping[str, str]) -> Iterator[Browser]:
    """A Chromium as long as the block lasts; all that it keeps goes into the folder."""
    names = [folder / "commands", folder / "answers"]
    for name in names:
        os.mkfifo(name)
    # Open in both directions: opening one would else wait for the other side.
    commands, answers = (os.open(name, os.O_RDWR) for name in names)
    command = ["sh", "-c", WITH_PIPES, "sh", chromium, *OPTIONS, f"--user-data-dir={folder / 'profile'}"]
    try:
        with running(command, folder, environment=environment) as process:
            yield Browser(process, commands, answers)
    finally:
        os.close(commands)
        os.close(answers)
