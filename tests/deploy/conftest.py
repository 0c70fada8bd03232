import copy
import os
import shutil
from typing import NamedTuple

import pytest
import torch

from lightning_invert import ForwardInverseModule, Linear, SmoothMLP, Variable
from lightning_invert.deploy import build_page, export_onnx
from lightning_invert.deploy.runtime import find_runtime
from tests.proposals.process import known

HOSTILE = "<img src=x onerror=alert(1)>"

INPUTS = (
    Variable("h2_injection", "kg/tHM", 0.0, 100.0),
    Variable(HOSTILE, "</script><b>", 0.0, 300.0),
    Variable("o2_fraction", "%", 21.0, 40.0),
    Variable("time_stamp", "s", 1.7e9, 1.7e9 + 60),
    Variable("=1+1", "", None, None),
)
LOW, HIGH = (
    torch.tensor([other if end is None else end for end in ends], dtype=torch.float64)
    for other, ends in ((-2, [v.low for v in INPUTS]), (2, [v.high for v in INPUTS]))
)
OUTPUTS = (
    Variable("top_gas_temperature", "°C"),
    Variable("production_rate", "t/day"),
    Variable("c", "%"),
)


def missing(what):
    """Skip, but never in CI: there it is an error."""
    if os.environ.get("CI"):
        pytest.fail(f"CI is to have {what}: see .ci/run")
    pytest.skip(f"no {what} here")


@pytest.fixture(scope="session")
def pair():
    """A pair of random smooth networks, scaled as if it were trained."""
    torch.manual_seed(3)
    n, m = len(INPUTS), len(OUTPUTS)
    pair = ForwardInverseModule(SmoothMLP(n, m, width=16), SmoothMLP(m, n, width=16))
    pair.scale_x.fit((LOW + HIGH) / 2, (HIGH - LOW) / 4)
    pair.scale_y.fit(torch.linspace(90, 5000, m).double(), torch.linspace(20, 800, m).double())
    pair.inputs, pair.outputs = INPUTS, OUTPUTS
    return pair.eval()


@pytest.fixture(scope="session")
def runtime():
    try:
        return find_runtime()
    except FileNotFoundError as error:
        return missing(f"onnxruntime-web ({error})")


@pytest.fixture(scope="session")
def trusted(pair):
    """The same pair with evidence."""
    trusted = copy.deepcopy(pair)
    draw = torch.Generator().manual_seed(5)
    x, noise = (
        torch.randn(800, size, generator=draw, dtype=torch.float64)
        for size in (len(INPUTS), len(OUTPUTS))
    )
    x = trusted.scale_x.inverse(x)
    y = trusted(x) + 0.1 * noise * trusted.scale_y.std
    return known(trusted, x, y.detach(), num_judged=400)


@pytest.fixture(scope="session")
def plant(trusted):
    """The same pair with levels and a constraint."""
    plant = copy.deepcopy(trusted)
    plant.inputs = (*INPUTS[:2], INPUTS[2]._replace(levels=(21.0, 25.0, 40.0)), *INPUTS[3:])
    plant.constraints = {"total": Linear({"h2_injection": 1, HOSTILE: 1}, high=100)}
    return plant


@pytest.fixture(scope="session")
def build(pair, runtime, tmp_path_factory):
    """Build the page of a pair with the networks of ``pair``, which are exported once."""
    networks = export_onnx(pair, tmp_path_factory.mktemp("onnx"))
    folder = tmp_path_factory.mktemp("page")

    def built(pair, name, **kwargs):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "lightning_invert.deploy.page.export_onnx",
                lambda *_, maps: {name: networks[name] for name in maps},
            )
            return build_page(pair, folder / name, **kwargs)

    return built


@pytest.fixture(scope="session")
def page_file(build, pair):
    return build(pair, "page.html", title="Furnace & <b>")


@pytest.fixture(scope="session")
def trusted_file(build, trusted):
    return build(trusted, "trusted.html")


@pytest.fixture(scope="session")
def plant_file(build, plant):
    within = {"1": 0.5, "5": 0.9, "10": 1.0}
    saved = {"rows": 40, "cheaper_share": 0.8, "spent_mean": 200.0, "proposed_mean": 150.0}
    prices = {"h2_injection": 4.0, "o2_fraction": 2.0}
    return build(plant, "plant.html", prices=prices, backtest={**saved, "within": within})


@pytest.fixture(scope="session")
def matters_file(build, trusted):
    """Where h2_injection is 0, the setting with the hostile name may have any value."""
    pair = copy.deepcopy(trusted)
    condition = ("h2_injection", ">", 0)
    pair.inputs = (INPUTS[0], INPUTS[1]._replace(matters_if=condition), *INPUTS[2:])
    return build(pair, "matters.html")


@pytest.fixture(scope="session")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright (`pip install playwright`)")
    program = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if program is None:
        missing("chromium (`apt-get install chromium`)")
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


def until(page, expression):
    """Wait for it by asking: the page's policy forbids Playwright's own way, which evaluates text."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(25)
    raise AssertionError(f"{expression} did not come true")


class Opened(NamedTuple):
    page: object
    requests: list
    errors: list


@pytest.fixture
def open_page(browser, page_file):
    contexts = []

    def opened(address="", *, file=page_file, ready=True, route=None, **settings):
        context = browser.new_context(viewport={"width": 1440, "height": 900}, **settings)
        contexts.append(context)
        page = context.new_page()
        seen = Opened(page, [], [])
        page.on("request", lambda request: seen.requests.append(request.url))
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.on("console", lambda said: said.type == "error" and seen.errors.append(said.text))
        page.on("dialog", lambda dialog: seen.errors.append(dialog.message) or dialog.dismiss())
        if route is not None:
            page.route(lambda url: url.startswith("https:"), route)
        page.goto(f"{file.as_uri()}{address}")
        if ready:
            page.wait_for_selector("html[data-ready]", timeout=60_000)
        return seen

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def opened(open_page):
    return open_page()
