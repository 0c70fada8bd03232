"""A number that is written into a box: read, or refused and left where it is."""

import pytest

from tests.deploy.conftest import until

pytestmark = pytest.mark.slow

BOXES = {  # box, how one comes to it, and where one leaves it for
    "exactly": ("#wanted-0-value", [("#wanted-0-kind", "value")], [("#wanted-0-kind", "between")]),
    "at least": ("#wanted-0-low", [("#wanted-0-kind", "low")], [("#wanted-0-kind", "free")]),
    "at most": ("#wanted-0-high", [("#wanted-0-kind", "high")], [("#wanted-0-kind", "value")]),
    "the lower end": (
        "#wanted-0-low",
        [("#wanted-0-kind", "between")],
        [("#wanted-0-kind", "high")],
    ),
    "the upper end": (
        "#wanted-0-high",
        [("#wanted-0-kind", "between")],
        [("#wanted-0-kind", "low")],
    ),
    "held": ("#held-1-at", [("#wanted-1-kind", "high"), ("#held-1", None)], [("#held-1", None)]),
}
REST = {
    "the lower end": "#wanted-0-high",
    "the upper end": "#wanted-0-low",
    "held": "#wanted-1-high",
}


def go(page, steps):
    for selector, kind in steps:
        page.click(selector) if kind is None else page.select_option(selector, kind)


@pytest.mark.parametrize("name", BOXES)
def test_a_refused_number_stays_whatever_else_is_done_and_nothing_is_found_with_it(opened, name):
    box, way, away = BOXES[name]
    page = opened.page
    page.click("#tab-find")
    go(page, way)
    if name in REST:
        page.fill(REST[name], "90")
    page.press(box, "Control+a")
    page.locator(box).press_sequentially("99.5x")

    def stands():
        assert page.input_value(box) == "99.5x"
        assert "“99.5x” is not a number" in page.inner_text(f"{box}-error")
        page.click(".main-action")
        assert page.inner_text("#solve-status") == "Correct the marked number first."
        assert page.locator("#proposed-settings").count() == 0

    stands()
    for others in (
        [("#wanted-2-kind", "between")],
        [("#held-4", None)],
        [("#tab-predict", None), ("#tab-find", None)],
        [*away, *way[-1:]],
    ):
        go(page, others)
        if others == [("#wanted-2-kind", "between")]:
            page.fill("#wanted-2-low", "1")
            page.fill("#wanted-2-high", "2")
        stands()
    page.wait_for_timeout(600)  # until the address is written
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.input_value(box) == ""
    page.click(".main-action")
    assert page.inner_text("#solve-status") == "Correct the marked number first."
    assert page.inner_text(f"{box}-error") == "Write a number here."
    page.fill(box, "90")
    assert page.inner_text(f"{box}-error") == ""
    assert page.inner_text("#solve-status") == ""
    assert opened.errors == []


def test_a_refused_setting_counts_as_what_it_was_and_stays(opened):
    page = opened.page
    page.fill("#setting-1", "150")
    page.press("#setting-1", "Tab")
    page.wait_for_timeout(150)
    before = page.inner_text(".outcomes")
    for text in ("", "NaN", "Infinity", "1e999", "90.5x"):
        page.press("#setting-1", "Control+a")
        page.press("#setting-1", "Delete")
        page.locator("#setting-1").press_sequentially(text)
        page.wait_for_timeout(150)
        assert page.inner_text(".outcomes") == before
        assert page.inner_text("#setting-1-error").endswith("Until then it is 150.")
        assert page.get_attribute("#setting-1", "aria-invalid") == "true"
    page.fill("#setting-0", "60")
    page.click("#tab-find")
    page.click("#tab-predict")
    page.wait_for_timeout(600)
    assert page.input_value("#setting-1") == "90.5x"
    assert page.evaluate("location.hash.split('x=')[1].split(',').slice(0, 2).join()") == "60,150"
    page.focus("#setting-1-slider")
    page.keyboard.press("End")
    assert page.input_value("#setting-1") == "300"
    assert page.inner_text("#setting-1-error") == ""
    assert page.get_attribute("#setting-1", "aria-invalid") is None


@pytest.mark.parametrize("box", ["#setting-1", "#wanted-1-value", "#held-1-at"])
def test_a_number_is_echoed_with_a_point_and_all_its_digits(opened, box):
    page = opened.page
    part = {"#setting-1": "x", "#wanted-1-value": "want", "#held-1-at": "at"}[box]
    listed = f"location.hash.split('&{part}=')[1]?.split('&')[0].split(',')[1]"
    if not box.startswith("#setting"):
        go(page, [("#tab-find", None), ("#wanted-1-kind", "value"), ("#held-1", None)])
    for text, echo in (("99,9", "99.9"), ("−0,25", "-0.25"), (" 1520.123 ", "1520.123")):
        page.fill(box, text)
        page.press(box, "Tab")
        until(page, f"{listed} === '{echo}'")
        assert page.input_value(box) == echo
        assert page.inner_text(f"{box}-error") == ""
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.input_value(box) == echo


@pytest.mark.parametrize(
    ("kind", "ends", "want"),
    [
        ("low", {"low": "85"}, "85:"),
        ("high", {"high": "85"}, ":85"),
        ("between", {"low": "85", "high": "95"}, "85:95"),
        ("value", {"value": "85"}, "85"),
    ],
)
def test_each_way_to_want_an_outcome_is_asked_for_and_brought_back(open_page, kind, ends, want):
    page = open_page("#tab=find").page
    page.select_option("#wanted-0-kind", "between")
    page.fill("#wanted-0-low", "-1000")  # what another way leaves is not asked for
    page.select_option("#wanted-0-kind", kind)
    for end, text in ends.items():
        page.fill(f"#wanted-0-{end}", text)
    page.click(".main-action")
    page.wait_for_selector("#proposed-outcomes")
    words = page.inner_text("#proposed-outcomes tbody tr:nth-child(1) td:nth-of-type(1)")
    expected = {"low": "at least 85.0", "high": "at most 85.0", "between": "85.0 to 95.0"}
    assert words == expected.get(kind, "85.0")
    until(page, "location.hash.includes('solved=1')")
    assert f"want={want},*,*" in page.evaluate("location.hash")
    again = open_page(page.evaluate("location.hash")).page
    assert again.input_value("#wanted-0-kind") == kind
    assert again.inner_text("#proposed-outcomes tbody tr:nth-child(1) td:nth-of-type(1)") == words
