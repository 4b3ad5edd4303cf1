"""Each page of the console in Chromium, against what the database says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from consumers.console.app import PATHS
from millstream.sql.cookbook import cookbook
from ops.kafka.embedded import EmbeddedBroker
from tests.browser.conftest import WAITING, Site, clean_page, site
from tests.consumers.console.planted import (
    EVENTS,
    HOSTILE,
    MOVED,
    OPEN_INCIDENT,
    SECOND,
)

TITLES = {
    "/": "Overview", "/performance": "Performance", "/drift": "Drift", "/incidents": "Incidents",
    "/models": "Models", "/letters": "Dead letters", "/lookup": "Look-up", "/sql": "SQL",
}  # fmt: skip
ADDRESSES = {**dict.fromkeys(PATHS, ""), "/lookup": "?q=L-1800", "/letters": "?of="}


def _open(page: Page, shown: Site, path: str) -> None:
    page.goto(shown.url + path)
    expect(page.locator("h1")).to_have_text(TITLES[path.partition("?")[0]])


def _tile(page: Page, name: str) -> str:
    return page.locator(f"[data-tile='{name}'] .value").inner_text()


def test_the_overview_has_rates_lag_states_incidents_and_alarms(page: Page, shown: Site) -> None:
    """From ClickHouse and from Kafka's offsets."""
    _open(page, shown, "/")
    expect(page.locator("[data-tile='Predictions'] .note")).not_to_be_empty()
    rows = page.get_by_role("region", name="Programs", exact=True).first
    expect(rows.get_by_role("row").filter(has_text="scorer")).to_contain_text(str(WAITING))
    expect(rows.get_by_role("row").filter(has_text="sink")).to_contain_text("up to date")
    expect(rows.get_by_role("row").filter(has_text="join")).to_contain_text("not started")
    assert _tile(page, "Waiting") == str(WAITING)
    assert _tile(page, "Answering") == "2"
    firing = page.get_by_role("region", name="Alarms that fire").first
    expect(firing).to_contain_text("harmful_shift of salary")
    opened = page.get_by_role("region", name="Open incidents").first
    expect(opened.get_by_role("link", name="harmful shift")).to_be_visible()
    expect(page.locator("nav .count")).to_have_text("1 open")
    expect(page.locator(".chart[data-drawn]")).to_have_count(2)


def test_the_performance_page_shows_each_versions_accuracy(page: Page, shown: Site) -> None:
    """As SQL counts it over the labelled rows."""
    _open(page, shown, "/performance")
    table = page.get_by_role("region", name="Versions").locator("table")
    for version, accuracy in shown.warehouse.query(
        "SELECT concat(model, ' ', model_version), avg(label = predicted) "
        "FROM loans.labelled_now GROUP BY 1"
    ):
        row = table.get_by_role("row").filter(has_text=version)
        shown_accuracy = float(row.locator("td").nth(2).inner_text())
        assert shown_accuracy == pytest.approx(accuracy, abs=0.04)
    expect(page.locator(".chart[data-drawn]")).to_have_count(1)


def test_the_heat_map_has_its_numbers_beside_it(page: Page, shown: Site) -> None:
    """The largest PSI of the feature that moved; another measure is a choice away."""
    ((largest,),) = shown.warehouse.query(
        f"SELECT max(value) FROM loans.drift WHERE measure = 'psi' AND feature = '{MOVED}'"
    )
    _open(page, shown, "/drift")
    expect(page.locator(".chart[data-drawn]")).to_have_count(2)
    page.get_by_text("newest and largest value as a table").click()
    row = page.get_by_role("region", name="Features").get_by_role("row").filter(has_text=MOVED)
    expect(row.locator("td").last).to_have_text(f"{largest:.3f}")
    alarms = page.get_by_role("region", name="Alarms and warnings").locator("tbody tr")
    expect(alarms).to_have_count(2)
    page.get_by_role("radio", name="KS").check()
    expect(page).to_have_url(re.compile("measure=ks"))
    expect(row.locator("td").last).to_have_text(f"{largest * 0.6:.3f}")


def test_an_incident_shows_its_verdict_and_its_evidence(page: Page, shown: Site) -> None:
    """Markup in the evidence is text."""
    _open(page, shown, "/incidents")
    one = page.locator("details.incident").filter(has_text="harmful shift")
    expect(one).to_contain_text("5.25 of salary, limit 3.00")
    expect(one).to_contain_text(HOSTILE)
    expect(one).to_contain_text(OPEN_INCIDENT)
    expect(one.get_by_role("region", name="Revisions").locator("tbody tr")).to_have_count(2)
    expect(page.locator("details.incident")).to_have_count(2)


def test_the_models_page_has_versions_releases_and_cards(page: Page, shown: Site) -> None:
    """Counts and offsets as in the database; the card as in the registry."""
    _open(page, shown, "/models")
    versions = page.get_by_role("region", name="Versions that answered").last
    for version, count in shown.warehouse.query(
        "SELECT model_version, count() FROM loans.predictions GROUP BY 1"
    ):
        row = versions.get_by_role("row").filter(has_text=f"loans {version}")
        expect(row).to_contain_text(f"{count:,}")
    releases = page.get_by_role("region", name="Releases").last
    expect(releases).to_contain_text("0:800 1:800")
    expect(versions).to_contain_text(SECOND.removeprefix("sha256:")[:12])
    page.get_by_role("button", name="loans 1").first.click()
    card = page.get_by_role("region", name="Card of loans@1")
    expect(card).to_contain_text("none: nobody has shown")
    expect(card).to_contain_text("sha256:")
    expect(page.locator(".chart[data-drawn]")).to_have_count(1)


def test_dead_letters_are_grouped_and_what_they_hold_is_text(page: Page, shown: Site) -> None:
    """A script in a reason and a key is shown, and does not run."""
    _open(page, shown, "/letters")
    causes = page.get_by_role("region", name="Causes")
    expect(causes.locator("tbody tr")).to_have_count(2)
    expect(causes).to_contain_text(HOSTILE)
    page.get_by_role("button", name="truncated").click()
    listed = page.get_by_role("region", name="Newest letters of this cause")
    expect(listed.locator("tbody tr")).to_have_count(9)
    page.get_by_role("button", name="bad value").click()
    expect(listed.locator("tbody tr")).to_have_count(1)
    expect(listed).to_contain_text(HOSTILE)
    assert page.locator("#page img, #page script").count() == 0
    assert "owned" not in page.title()


def test_a_prediction_is_looked_up_with_its_lineage(page: Page, shown: Site) -> None:
    """Event, answer, model, release, outcome, incident: as the rows say."""
    ((label, confidence, salary),) = shown.warehouse.query(
        "SELECT p.label, p.confidence, e.salary FROM loans.predictions AS p "
        "INNER JOIN loans.events AS e ON e.application_id = p.event_id "
        "WHERE p.event_id = 'L-1800'"
    )
    _open(page, shown, "/lookup")
    page.get_by_role("searchbox").fill("L-1800")
    page.keyboard.press("Enter")
    life = page.get_by_role("region", name="Event L-1800")
    expect(life).to_contain_text("loans.events 0:900")
    expect(life).to_contain_text(f"{label} with confidence {confidence:.4f}")
    expect(life).to_contain_text(f"{salary:.10g}")
    expect(life).to_contain_text("release 1 (promote), in force on partition 0 from offset 800")
    expect(life).to_contain_text("Outcome")
    expect(life.get_by_role("link", name="harmful shift")).to_be_visible()
    life.get_by_role("link", name="loans 2").click()
    expect(page.locator("h1")).to_have_text("Models")
    page.go_back()
    expect(life).to_be_visible()
    page.get_by_role("searchbox").fill("nobody")
    page.keyboard.press("Enter")
    expect(page.locator("#found")).to_contain_text("Nothing is known of nobody.")


def test_a_query_shows_its_rows_and_nothing_can_be_written(page: Page, shown: Site) -> None:
    """Ctrl+Enter; refusals are ClickHouse's own; long results are cut and say so."""
    _open(page, shown, "/sql")
    box = page.get_by_role("textbox", name="SQL")
    box.fill("SELECT count() AS n FROM loans.predictions")
    box.press("Control+Enter")
    result = page.get_by_role("region", name="Result")
    expect(result.locator("td")).to_have_text(str(EVENTS))
    box.fill("DROP TABLE loans.predictions")
    page.get_by_role("button", name="Run").click()
    expect(result.get_by_role("alert")).to_contain_text("readonly")
    box.fill("SELECT number FROM numbers(100000)")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#said")).to_contain_text("1,000 rows: there are more")
    expect(page.locator("#tables details")).not_to_have_count(0)


@pytest.mark.parametrize("width", [400, 1_600])
def test_a_question_of_the_cookbook_fills_the_box(
    browser: Browser, shown: Site, width: int
) -> None:
    """By the keyboard alone, with a field for each parameter; what was written is kept."""
    with clean_page(browser, width) as page:
        _open(page, shown, "/sql")
        box, choice = page.locator("#sql"), page.get_by_label("From the cookbook")
        expect(choice.locator("option")).to_have_count(1 + len(cookbook()))
        choice.focus()
        page.keyboard.type("Values of a")
        expect(box).to_have_value(cookbook()["field_values"].sql)
        expect(page.locator("#question")).to_have_text(cookbook()["field_values"].question)
        field, since = page.get_by_label("field column"), page.get_by_label("since DateTime")
        expect(since).to_have_value("1970-01-01 00:00:00")
        expect(field).to_have_accessible_description("an event field")
        page.keyboard.press("Control+Enter")
        expect(field).to_be_focused()  # it is not named yet
        expect(page.locator("#said")).to_be_empty()
        page.keyboard.type("elevel")
        page.keyboard.press("Enter")
        expect(page.locator("#said")).to_contain_text("1 row, ")
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0
        page.reload()
        expect(choice).to_have_value("field_values")
        expect(field).to_have_value("elevel")


def test_a_choice_loses_nothing_that_was_written(page: Page, shown: Site) -> None:
    """Neither a query of one's own, nor a question that was changed; both may have parameters."""
    _open(page, shown, "/sql")
    box, choice = page.locator("#sql"), page.get_by_label("From the cookbook")
    expect(choice.locator("option")).to_have_count(1 + len(cookbook()))
    box.fill("SELECT {n:UInt8} + 1 AS m")
    page.get_by_label("n UInt8").fill("41")
    choice.select_option(label="Value")
    expect(page.locator(".params input")).to_have_count(0)
    choice.select_option(label="My own query")
    expect(box).to_have_value("SELECT {n:UInt8} + 1 AS m")
    box.press("Control+Enter")
    expect(page.get_by_role("region", name="Rows").locator("td")).to_have_text("42")
    choice.select_option(label="Value")
    box.press("End")
    box.press_sequentially(" ")
    expect(choice).to_have_value("")
    changed = box.input_value()
    choice.select_option(label="Alarms")
    choice.select_option(label="My own query")
    expect(box).to_have_value(changed)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [400, 1_600])
def test_no_page_is_wider_than_the_window(
    browser: Browser, shown: Site, width: int, dark: bool
) -> None:
    """At 400 and at 1,600 px, with data on it, in both themes; tables scroll by themselves."""
    with clean_page(browser, width, dark) as page:
        for path in PATHS:
            _open(page, shown, path + ("?q=L-1800" if path == "/lookup" else ""))
            expect(page.locator("#page .panel").first).to_be_visible()
            page.wait_for_function(
                "() => document.querySelectorAll('#page .chart').length === "
                "document.querySelectorAll('#page .chart[data-drawn]').length"
            )
            wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert wide <= 0, path


def test_a_word_that_nobody_knows_breaks_no_page(page: Page, shown: Site) -> None:
    """ "constructor" is a word of every object of JavaScript's; an address may hold anything."""
    said = page.request.get(shown.url + "/api/incidents").json()
    said["data"]["incidents"][0] |= {"verdict": "constructor", "status": "__proto__"}
    page.route("**/api/incidents", lambda route: route.fulfill(json=said))
    _open(page, shown, "/incidents")
    expect(page.locator("details.incident")).to_have_count(2)
    expect(page.locator("details.incident").first).to_contain_text("constructor")
    for of in ("null", "{}", "[1]", "%5B%5D", "x"):
        _open(page, shown, f"/letters?of={of}")
        expect(page.get_by_role("region", name="Causes").locator("tbody tr")).to_have_count(2)


def test_a_page_that_cannot_be_drawn_says_so(browser: Browser, shown: Site) -> None:
    """It is not blamed on the connection, and the next answer is drawn."""
    page = browser.new_page()
    try:
        said = page.request.get(shown.url + "/api/letters").json()
        answers = [{**said, "data": {"groups": [None]}}]
        page.route(
            "**/api/letters",
            lambda route: route.fulfill(json=answers.pop(0) if answers else said),
        )
        _open(page, shown, "/letters")
        expect(page.locator("#page").get_by_role("alert")).to_contain_text("cannot be drawn")
        expect(page.locator(".notice")).to_have_count(0)
        page.get_by_role("link", name="SQL").click()
        page.go_back()
        expect(page.get_by_role("region", name="Causes").locator("tbody tr")).to_have_count(2)
    finally:
        page.close()


def test_an_event_stream_that_is_refused_is_asked_for_again(browser: Browser, shown: Site) -> None:
    """More and more seldom, and what a person typed stays: the page is not loaded again."""
    page = browser.new_page()
    try:
        refusals = [503, 503]

        def answer(route: Route) -> None:
            if refusals:
                route.fulfill(status=refusals.pop(), body="too many browsers look")
            else:
                route.continue_()

        page.route("**/api/live", answer)
        _open(page, shown, "/sql")
        page.locator("#sql").fill("SELECT 'typed'")
        expect(page.locator("nav .count")).to_have_text("1 open", timeout=20_000)
        assert refusals == []
        expect(page.locator("#sql")).to_have_value("SELECT 'typed'")
    finally:
        page.close()


def test_a_tab_that_nobody_sees_asks_for_nothing(page: Page, shown: Site) -> None:
    """Its event stream is closed, and open again when it is looked at."""
    _open(page, shown, "/")
    expect(page.locator("nav .count")).to_have_text("1 open")
    hide = (
        "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true})"
        "; document.dispatchEvent(new Event('visibilitychange')); }"
    )
    for ended in ("requestfailed", "requestfinished"):
        page.on(ended, lambda request: gone.append(request.url))
    gone: list[str] = []
    page.evaluate(hide, True)
    page.evaluate("() => new Promise((done) => setTimeout(done, 50))")
    assert any(url.endswith("/api/live") for url in gone)
    with page.expect_request("**/api/live"):
        page.evaluate(hide, False)


def test_the_keyboard_is_enough(page: Page, shown: Site) -> None:
    """The first stop skips to the content; g and a letter go to a page; ? shows the keys."""
    _open(page, shown, "/")
    expect(page.locator("#page .panel").first).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    for key, path in zip("pdimlus", list(TITLES)[1:], strict=True):
        if path == "/sql":
            page.locator("main").focus()  # the look-up page's field has the focus: keys are text
        page.keyboard.press("g")
        page.keyboard.press(key)
        expect(page.locator("h1")).to_have_text(TITLES[path])
        expect(page.locator("nav [aria-current=page]")).to_have_text(
            re.compile(rf"^{TITLES[path]}")
        )
    page.locator("main").focus()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_the_theme_is_the_systems_until_another_is_chosen(browser: Browser, shown: Site) -> None:
    """The choice holds when the page is opened again."""
    ground = "getComputedStyle(document.body).backgroundColor"
    with clean_page(browser, dark=True) as page:
        _open(page, shown, "/")
        dark = page.evaluate(ground)
        page.get_by_role("radio", name="Light").check()
        light = page.evaluate(ground)
        assert light != dark
        page.reload()
        assert page.evaluate(ground) == light
        page.get_by_role("radio", name="Auto").check()
        assert page.evaluate(ground) == dark


def test_a_clickhouse_that_goes_away_is_named_and_its_last_data_stay(
    browser: Browser, tmp_path: Path
) -> None:
    """With their age; Kafka's part goes on."""
    with (
        EmbeddedBroker() as broker,
        site(tmp_path, broker) as (shown, end),
        clean_page(browser) as page,
    ):
        _open(page, shown, "/letters")
        causes = page.get_by_role("region", name="Causes")
        expect(causes.locator("tbody tr")).to_have_count(2)
        end()
        notice = page.locator(".notice")
        expect(notice).to_contain_text("ClickHouse is out of reach")
        expect(notice).to_contain_text(re.compile(r"Shown is what was known at .* UTC, \d+ s ago"))
        expect(causes.locator("tbody tr")).to_have_count(2)
        page.goto(shown.url + "/")
        expect(page.get_by_role("region", name="Programs").first).to_contain_text("scorer")
