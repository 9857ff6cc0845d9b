"""The status page in a real browser, over the real daemon in a scene with faults: wide and narrow, light and dark, by keyboard, without
script, judged by axe-core, and live.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.process.browser import browser as running_browser
from tests.process.scene import SECRET, Mood, Scene

Scheme = Literal["light", "dark"]

POOL = "/vs/203.0.113.10:80/tcp"
PAGES = ["/", "/down", "/events", "/config", POOL, "/vs/203.0.113.13:8080/tcp", "/nothing"]
SCREENS: tuple[tuple[int, Scheme, str], ...] = (
    (1280, "light", "rgb(246, 247, 249)"),
    (360, "light", "rgb(246, 247, 249)"),
    (360, "dark", "rgb(18, 23, 30)"),
    (1280, "dark", "rgb(18, 23, 30)"),
)
LOOK_MS = 15_000
"""Until the page shows what happened: a probe, its retry, and two looks of the live stream."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


@pytest.fixture(scope="module")
def scene(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    del browser  # without one there is no need to set the scene
    playing = Scene(tmp_path_factory.mktemp("scene"))
    try:
        playing.break_things()
        yield playing
    finally:
        playing.close()


@contextmanager
def opened(
    browser: Browser, address: str, *, width: int = 1280, scheme: Scheme = "light", script: bool = True
) -> Iterator[Page]:
    """Open a page; fail for whatever the browser complains of."""
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        reduced_motion="reduce",
        java_script_enabled=script,
    )
    complaints: list[str] = []
    try:
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(f"{request.url} {request.failure}"))
        answer = page.goto(address)
        assert answer is not None
        if answer.status == 404:  # a browser complains of that itself
            complaints.clear()
        yield page
        left = [text for text in complaints if "/events/stream" not in text and "net::ERR_ABORTED" not in text]
        assert left == []
    finally:
        context.close()


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_accessible_and_fits_wide_and_narrow_light_and_dark(
    browser: Browser, scene: Scene, path: str
) -> None:
    with opened(browser, scene.url + path) as page:
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
        for width, scheme, background in SCREENS:
            page.set_viewport_size({"width": width, "height": 800})
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == background
            wide = page.evaluate("document.scrollingElement.scrollWidth")
            assert wide <= width, f"{wide} px on a screen of {width}"
            found = Axe().run(page)
            assert found.violations_count == 0, found.generate_report()


def test_the_judge_of_accessibility_sees_what_is_wrong(browser: Browser, scene: Scene) -> None:
    with opened(browser, f"{scene.url}/down") as page:
        page.evaluate("document.querySelector('label').remove(); document.documentElement.removeAttribute('lang')")
        found = {violation["id"] for violation in Axe().run(page).response["violations"]}
        assert {"label", "html-has-lang"} <= found


def test_the_state_is_a_word_and_a_shape_beside_the_colour(browser: Browser, scene: Scene) -> None:
    with opened(browser, f"{scene.url}{POOL}") as page:
        shapes = {}
        for state in page.locator("tbody .state").all():
            shapes[state.inner_text()] = state.locator("use").get_attribute("href")
        assert shapes == {"down": "#shape-cross", "disabled": "#shape-square", "up": "#shape-disc"}


def test_at_three_in_the_morning_one_page_says_what_is_wrong(browser: Browser, scene: Scene) -> None:
    with opened(browser, f"{scene.url}/down") as page:
        text = page.locator("main").inner_text()
        for words in (
            "203.0.113.13:8080/tcp",
            "quorum lost: live weight 10 of 20",
            "L4CON connection refused",
            "L7STS HTTP 503, wanted 200",
            "L7TOUT no complete answer within 1 s",
            " min more: CHG-2041: new kernel",
            "disk is being replaced",
        ):
            assert words in text, words


def test_of_the_last_probe_that_failed_it_is_shown_what_was_sent_and_what_came_back(
    browser: Browser, scene: Scene
) -> None:
    def went_over_the_wire(page: Page, number: int) -> list[str]:
        row = page.locator("tbody tr", has_text=scene.servers[number].name)
        return [said.inner_text() for said in row.locator(".transcript dd").all()]

    with opened(browser, f"{scene.url}{POOL}") as page:
        assert went_over_the_wire(page, 12) == ["nothing", "nothing"]
        sent, received = went_over_the_wire(page, 14)
        assert sent.startswith("GET /health?token=*** HTTP/1.0\nUser-Agent: ")
        assert received.split("\n") == ["HTTP/1.0 503 Service Unavailable", "", "<b>database</b> is away"]
        assert page.locator("b", has_text="database").count() == 0
    with opened(browser, f"{scene.url}/vs/203.0.113.14:80/tcp") as page:
        sent, received = went_over_the_wire(page, 52)
        assert sent.startswith("GET /health?token=***")
        assert received == "nothing"


def test_on_paper_it_is_dark_on_white_and_without_what_only_a_screen_can_do(browser: Browser, scene: Scene) -> None:
    for path in PAGES:
        with opened(browser, scene.url + path, width=700, scheme="dark") as page:
            page.emulate_media(media="print", color_scheme="dark")
            style = page.evaluate(
                "(({backgroundColor, color}) => [backgroundColor, color])(getComputedStyle(document.body))"
            )
            assert style == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
            assert page.evaluate("document.scrollingElement.scrollWidth") <= 700
            expect(page.locator("nav")).to_be_hidden()
            if path in ("/", "/down", POOL):
                expect(page.locator("thead").first).to_be_visible()
                expect(page.locator(".filter")).to_be_hidden()
            found = Axe().run(page)
            assert found.violations_count == 0, found.generate_report()


def test_whoever_chooses_the_colours_still_sees_the_shapes(browser: Browser, scene: Scene) -> None:
    with opened(browser, f"{scene.url}{POOL}") as page:
        for scheme in ("light", "dark"):
            page.emulate_media(forced_colors="active", color_scheme=scheme)
            text, paper = page.evaluate(
                "(({color, backgroundColor}) => [color, backgroundColor])(getComputedStyle(document.body))"
            )
            assert text != paper
            # in one go: the page is live, and a mark that it has just replaced has no style
            marks = page.evaluate(
                "[...document.querySelectorAll('tbody .mark')].map(each => getComputedStyle(each).fill)"
            )
            assert marks
            assert set(marks) == {text}
            assert page.evaluate("getComputedStyle(document.querySelector('symbol .inner')).stroke") == paper


def test_secrets_are_masked_wherever_they_stood(browser: Browser, scene: Scene) -> None:
    with opened(browser, f"{scene.url}/config") as page:
        assert "path /health?token=***" in page.locator("pre").inner_text()
        assert SECRET not in page.content()
    for path in ("/config.json", "/events.json", f"{POOL}.json", "/metrics"):
        assert SECRET not in scene.daemon.metrics(path)


def test_everything_can_be_done_with_the_keyboard(browser: Browser, scene: Scene) -> None:
    with opened(browser, scene.url) as page:
        keyboard = page.keyboard
        keyboard.press("Tab")
        skip = page.locator(":focus")
        expect(skip).to_have_text("Skip to content")
        assert skip.bounding_box()["y"] >= 0  # type: ignore[index]
        keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        keyboard.press("/")
        expect(page.locator("#find")).to_be_focused()
        keyboard.type("203.0.113.10")
        expect(page.locator("tbody tr")).to_have_count(1)
        assert "/?find=203.0.113.10" in page.url
        keyboard.press("Escape")
        expect(page.locator("tbody tr")).to_have_count(6)
        for _ in range(20):
            keyboard.press("Tab")
            style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert style == "solid", page.evaluate("document.activeElement.outerHTML")
            if page.evaluate("document.activeElement.getAttribute('href')") == POOL:
                break
        keyboard.press("Enter")
        page.wait_for_url(f"**{POOL}")
        expect(page.locator("h1")).to_have_text("203.0.113.10:80/tcp")


def test_without_script_everything_is_there_and_it_renews_itself(browser: Browser, scene: Scene) -> None:
    with opened(browser, scene.url, script=False) as page:
        assert page.locator("noscript meta[http-equiv=refresh]").get_attribute("content") == "30"
        expect(page.locator("tbody tr")).to_have_count(6)
        page.locator("#find").fill("sorry server")
        page.keyboard.press("Enter")
        expect(page.locator("tbody tr")).to_have_count(1)
        page.locator("tbody a").click()
        expect(page.locator("h1")).to_have_text("203.0.113.13:8080/tcp")
        page.locator("tbody summary").last.click()
        expect(page.locator("tbody details").last).to_have_attribute("open", "")


def test_a_page_that_stays_open_shows_what_happens_and_keeps_the_place(browser: Browser, scene: Scene) -> None:
    with opened(browser, f"{scene.url}/vs/203.0.113.12:25/tcp") as page:
        expect(page.locator("#live")).to_have_text("live", timeout=LOOK_MS)
        details = page.locator("tbody details").last
        details.locator("summary").click()
        row = page.locator("tbody tr", has_text=scene.servers[31].name).first
        expect(row.locator(".state")).to_have_text("up")
        try:
            scene.servers[31].be(Mood.GONE)
            expect(row.locator(".state")).to_have_text("down", timeout=LOOK_MS)
            expect(page.locator("tbody details").last).to_have_attribute("open", "")
            assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
            assert "degraded" in page.title()
        finally:
            scene.servers[31].be(Mood.WELL)
        expect(row.locator(".state")).to_have_text("up", timeout=LOOK_MS)


def test_the_summary_is_the_only_thing_that_is_read_out(browser: Browser, scene: Scene) -> None:
    with opened(browser, scene.url) as page:
        assert page.locator("[aria-live]").count() == 1
        expect(page.locator("[aria-live=polite]")).to_contain_text("6 virtual servers: 1 down")


def test_the_policy_stops_what_a_page_must_not_do(browser: Browser, scene: Scene) -> None:
    context = browser.new_context()
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(scene.url)
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))")
    page.evaluate("document.body.setAttribute('onclick', 'window.ran = 1')")
    page.locator("h1").click()
    assert page.evaluate("window.ran") is None
    assert sum("Content Security Policy" in text for text in said) == 2
    context.close()
