"""What a plant has besides ranges: windows, constraints, levels, prices, few changes, a history."""

import csv

import numpy as np
import pytest
import torch

from lightning_invert import Interval
from tests.deploy.conftest import HOSTILE, until

pytestmark = pytest.mark.slow

NOW = [60.0, 20.0, 25.0, 1.7e9 + 50, -0.3]
ASKED = "tab=find&want=*,{:.6g},*&most=3&solved=1"


def address(parts=""):
    return f"#x={','.join(map(repr, NOW))}&{parts}"


def outcome(pair, x):
    with torch.no_grad():
        return pair(torch.tensor([x], dtype=torch.float64))[0].numpy()


def can_reach(pair, outputs, **fixed):
    """Whether the outputs are reached, to 5 % of four standard deviations, with these settings."""
    near = 0.2 * pair.scale_y.std
    return bool(pair.propose(Interval(outputs - near, outputs + near), fixed=fixed).converged)


def settings(page):
    return [*map(float, page.evaluate("location.hash.split('x=')[1].split('&')[0]").split(","))]


def missed(pair, reached, before):
    return np.abs(outcome(pair, reached) - outcome(pair, before)) / pair.scale_y.std.numpy()


def test_the_end_of_a_window_is_gone_to_while_the_others_compensate(open_page, plant, plant_file):
    seen = open_page(address(), file=plant_file)
    page = seen.page
    assert page.locator("#setting-2 option").all_inner_texts() == ["21", "25", "40"]
    assert "at most 100. Now 80.0: holds." in page.inner_text("#constraints")
    until(page, "document.querySelector('#setting-1-low').checkVisibility()")
    page.check("#setting-4-hold")
    until(page, "!document.querySelector('.stale')")
    levels, near = page.locator(".levels button"), torch.from_numpy(outcome(plant, NOW))[None]
    assert levels.all_inner_texts() == ["21", "25", "40"]
    within = [can_reach(plant, near, o2_fraction=o2, **{"=1+1": -0.3}) for o2 in (21, 25, 40)]
    assert [to.is_enabled() for to in levels.all()] == within == [True, True, False]
    end = float(page.inner_text("#setting-0-low"))
    assert end < 60
    page.focus("#setting-0-low")
    page.keyboard.press("Enter")
    until(
        page, "document.querySelector('#panel-predict').textContent.includes('As far as it goes')"
    )
    until(page, "!location.hash.includes('x=60,')")
    reached = settings(page)
    assert reached[0] == pytest.approx(end, abs=0.1)
    assert (reached[2], reached[4]) == (25, -0.3)
    assert reached[0] + reached[1] <= 100 + 1e-6
    assert missed(plant, reached, NOW).max() <= 0.2 * 1.01  # 5 % of four standard deviations
    assert page.evaluate("document.activeElement.id") == "setting-0-low"
    before = page.locator(".window").all_inner_texts()
    page.fill("#setting-1", "50")
    until(page, "!document.querySelector('.stale')")
    assert page.locator(".window").all_inner_texts() != before
    until(page, "location.hash.includes(',50,25,')")
    before = settings(page)
    levels.first.focus()
    page.keyboard.press("Enter")
    until(page, "location.hash.includes(',21,')")
    assert settings(page)[2] == 21
    assert missed(plant, settings(page), before).max() <= 0.2 * 1.01
    assert seen.errors == []


def test_few_changes_at_the_least_cost_within_the_constraints(open_page, plant, plant_file):
    wanted = outcome(plant, NOW)[1] + 0.2 * plant.scale_y.std[1].item()
    seen = open_page(address(ASKED.format(wanted)), file=plant_file)
    page = seen.page
    page.wait_for_selector("#proposed-settings")
    read = "all => all.map(d => Number(d.value))"
    rows = np.reshape(page.eval_on_selector_all("#proposed-settings data", read), (5, 3))
    assert np.count_nonzero(rows[:, 2]) <= 3
    assert rows[:2, 1].sum() <= 100 + 1e-6
    assert rows[2, 1] in {21, 25, 40}
    words = page.inner_text("#proposal-cost")
    assert words.startswith("Cost 290 now, ")
    assert words.endswith("less (the least that was found for this outcome).")
    assert page.locator("#proposed-constraints tbody tr").count() == 1
    assert "cost less in 80 %" in page.inner_text("#history")
    assert page.locator("[name=alternative]").count() > 1
    page.focus("#alternative-0")
    page.keyboard.press("ArrowRight")
    until(page, "document.activeElement.id === 'alternative-1' && document.activeElement.checked")
    page.click("#prices summary")
    assert [page.input_value(f"#price-{j}") for j in range(5)] == ["4", "", "2", "", ""]
    page.fill("#price-1", "0,5")
    until(page, "document.querySelector('#proposal').textContent.includes('has changed')")
    until(page, "location.hash.includes('prices=4,0.5,2,?,?&cheapest=1')")
    assert seen.errors == []


def test_what_a_pair_does_not_have_takes_no_place(open_page, trusted_file):
    page = open_page(address(ASKED.format(1000)), file=trusted_file).page
    page.wait_for_selector("#proposed-settings")
    for part in ("#history", "#proposal-cost", "#proposed-constraints", "#prices[open]"):
        assert page.locator(part).count() == 0
    assert page.locator("#constraints").is_hidden()


def saved(page):
    """The settings of the table that the open tab saves: {name: (from, to)}."""
    with page.expect_download() as download:
        page.click("[role=tabpanel]:not([hidden]) >> text=Download CSV")
    with open(download.value.path(), encoding="utf-8-sig", newline="") as file:
        return {row["name"]: (row["from"], row["to"]) for row in csv.DictReader(file)}


def test_a_setting_that_does_not_matter_has_no_value_wherever_it_is_written(
    open_page, trusted, matters_file
):
    wanted = outcome(trusted, [0.0, *NOW[1:]])[1]
    seen = open_page(
        address(f"tab=find&want=*,{wanted:.6g},*&hold=10000&at=0,?,?,?,?&solved=1"),
        file=matters_file,
    )
    page, row = seen.page, "tbody tr:nth-child(2)"
    page.wait_for_selector("#proposed-settings")
    cells = page.locator(f"#proposed-settings {row} td").all_inner_texts()
    assert cells == ["20.0", "any", ""]
    assert "does not matter" in page.inner_text(f"#proposed-settings {row} th")
    assert page.locator("[name=alternative]").count() > 1
    assert {*page.locator(f"#alternatives {row} td").all_inner_texts()[1:]} == {"any"}
    assert HOSTILE not in page.text_content("#flags, #proposal > .hint")
    assert saved(page)[HOSTILE] == ("20", "")
    page.click("text=Use these settings")
    until(page, "!document.querySelector('.stale')")
    assert page.inner_text("#setting-1-hint") == "Any: it matters only if h2 injection > 0."
    assert page.locator("#setting-1-low, #setting-1-warning:not(:empty)").is_hidden()
    assert page.inner_text(f"#effects {row}").split()[-3:] == ["does", "not", "matter"]
    assert saved(page)[HOSTILE] == ("20", "")
    page.click("text=Keep these settings as From")
    assert saved(page)[HOSTILE] == ("", "")
    page.click("#tab-find")
    page.click(".main-action")
    until(page, "document.querySelector('#solve-status').textContent.endsWith('ms.')")
    assert page.locator(f"#proposed-settings {row} td").all_inner_texts() == ["any", "any", ""]
    assert {*page.locator(f"#alternatives {row} td").all_inner_texts()} == {"any"}
    for j in range(2, 5):  # what differs in nothing else is one solution
        page.check(f"#held-{j}")
    page.select_option("#wanted-1-kind", "low")
    page.fill("#wanted-1-low", "-1e6")
    page.click(".main-action")
    until(page, "document.querySelector('#solve-status').textContent.startsWith('One solution')")
    page.click("#tab-predict")
    page.fill("#setting-0", "1")
    until(page, "document.querySelector('#setting-1-low').checkVisibility()")
    assert page.inner_text("#setting-1-hint").startswith("Training range 0 to 300")
    assert seen.errors == []
