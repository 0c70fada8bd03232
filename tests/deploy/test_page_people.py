import itertools
import shutil
import subprocess
import tarfile

import numpy as np
import pytest

from tests.deploy.conftest import missing, until

pytestmark = pytest.mark.slow

WIDTHS = (380, 1000, 1600)
AXE = "axe-core@4.10.3"
OPEN_ALL = "document.querySelectorAll('details').forEach(fold => (fold.open = true))"
# A window may be sought anew, and each of its ends be pressed or out of reach, when somebody looks.
STATES = [
    f"""document.querySelectorAll('.fields').forEach(list => list.classList.toggle('stale', {stale}));
    document.querySelectorAll('.end').forEach(end => {{
        end.setAttribute('aria-pressed', '{pressed}');
        end.disabled = {disabled};
    }})"""
    for stale, pressed, disabled in itertools.product(("true", "false"), repeat=3)
]
SMALLEST = "Math.min(...[...document.querySelectorAll('main *')].map(e => parseFloat(getComputedStyle(e).fontSize)))"
NOW = "60,20,25,1700000050,0"


def test_a_setting_outside_its_range_is_warned_of_and_shows_no_nan(opened):
    page = opened.page
    page.fill("#setting-0", "140")
    until(page, "document.querySelector('#setting-0-warning').textContent")
    assert "Outside the training range, 0 to 100" in page.inner_text("#setting-0-warning")
    page.fill("#setting-0", "1e30")
    page.wait_for_timeout(300)
    text = page.inner_text("main")
    assert "NaN" not in text
    assert "undefined" not in text
    assert opened.errors == []


def test_nothing_is_solved_until_something_is_wanted(opened):
    page = opened.page
    page.click("#tab-find")
    page.click(".main-action")
    assert "Nothing is wanted yet" in page.inner_text("#solve-status")
    kinds = ["no matter", "at least", "at most", "between", "exactly"]
    assert page.locator("#wanted-0-kind option").all_inner_texts() == kinds
    page.select_option("#wanted-0-kind", "between")
    page.fill("#wanted-0-low", "120")
    page.fill("#wanted-0-high", "80")
    page.wait_for_timeout(50)
    assert "below the lower" in page.inner_text("#wanted-0-high-error")
    page.click(".main-action")
    assert "Correct the marked" in page.inner_text("#solve-status")


def test_a_proposal_that_is_taken_over_becomes_the_settings(opened):
    page = opened.page
    page.click("#tab-find")
    page.select_option("#wanted-0-kind", "value")
    page.fill("#wanted-0-value", "90")
    page.click(".main-action")
    page.wait_for_selector("#proposed-settings")
    read = "all => all.map(d => Number(d.value))"
    rows = np.reshape(page.eval_on_selector_all("#proposed-settings data", read), (5, 3))
    page.click("text=Use these settings")
    page.wait_for_selector("#what-if")
    assert page.get_attribute("#tab-predict", "aria-selected") == "true"
    assert abs(float(page.input_value("#setting-0")) - rows[0, 1]) < 0.1
    page.click("#tab-find")
    page.fill("#wanted-0-value", "91")
    page.wait_for_timeout(50)
    assert page.locator("#proposed-settings").count() == 0


def test_the_keyboard_alone_reaches_and_works_everything(opened):
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "tab-predict"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-find"
    assert page.is_visible("#panel-find")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")  # past what a window is
    assert page.evaluate("document.activeElement.id") == "setting-0"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('.since').textContent.includes('since')")
    until(page, "document.querySelector('#aloud').textContent.startsWith('Predicted')")
    page.focus("#tab-find")
    page.keyboard.press("Enter")
    for key in ("Tab", "e", "Tab", "9", "0", ",", "5", "Enter"):  # exactly 90.5
        page.keyboard.press(key)
    until(page, "document.querySelector('#proposed-settings')")
    assert page.input_value("#wanted-0-value") == "90.5"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("tab", ["predict", "find"])
def test_nothing_is_wider_than_the_screen_and_between_keeps_its_line(
    open_page, plant_file, width, tab, tmp_path
):
    page = open_page(f"#tab={tab}&x={NOW}&want=80:100,*,*&solved=1", file=plant_file).page
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate(OPEN_ALL)
    page.screenshot(path=tmp_path / f"{tab}-{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(SMALLEST) >= 12
    if tab == "find":
        low, high = (page.locator(f"#wanted-0-{end}").bounding_box() for end in ("low", "high"))
        assert low["y"] == high["y"]


@pytest.fixture(scope="session")
def axe(tmp_path_factory):
    npm = shutil.which("npm")
    if npm is None:
        return missing("npm, which brings axe-core")
    folder = tmp_path_factory.mktemp("axe")
    command = [npm, "pack", "--ignore-scripts", "--silent", AXE]
    fetched = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)
    if fetched.returncode:
        return missing("axe-core (`npm pack` could not fetch it)")
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as package:
        return package.extractfile("package/axe.min.js").read().decode()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1600])
def test_axe_finds_no_barrier(open_page, plant_file, axe, width, scheme):
    address = f"#x={NOW}&want=80:100,*,?:3&hold=10000&at=-5,?,?,?,?&solved=1"
    page = open_page(address, file=plant_file, color_scheme=scheme, bypass_csp=True).page
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate(axe)
    found = []
    for tab in ("predict", "find"):
        page.click(f"#tab-{tab}")
        if tab == "find":
            page.fill("#wanted-2-low", "much")
            page.click(".main-action")
            found += page.evaluate("axe.run()")["violations"]
            page.fill("#wanted-2-low", "2")
            page.click(".main-action")
            page.wait_for_selector("#proposed-settings")
        page.evaluate(OPEN_ALL)
        found += page.evaluate("axe.run()")["violations"]
        for state in STATES if tab == "predict" and width == 380 else ():  # colours have no width
            page.evaluate(state)
            found += page.evaluate("axe.run({runOnly: ['color-contrast']})")["violations"]
    told = [
        f"{one['id']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0]['failureSummary']}"
        for one in found
    ]
    assert told == []
