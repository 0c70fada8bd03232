import copy
import csv
import io

import numpy as np
import pytest
import torch

from lightning_invert import Interval, solve
from lightning_invert.deploy.runtime import CDN, SCRIPT, WASM
from tests.deploy.conftest import HIGH, HOSTILE, INPUTS, LOW, OUTPUTS, until

pytestmark = pytest.mark.slow

X = [42.0, 100.0, 28.6, 1.7e9 + 20, 0.5]
NOW = [60.0, 20.0, 25.0, 1.7e9 + 50, -0.3]


def address(**parts):
    return "#" + "&".join(f"{name}={value}" for name, value in parts.items())


def listed(values):
    return ",".join(repr(float(value)) for value in values)


def values(page, selector):
    """The numbers under a selector, whole."""
    return page.eval_on_selector_all(
        f"{selector} data, data{selector}", "all => all.map(d => Number(d.value))"
    )


def tensor(x):
    return torch.tensor([x], dtype=torch.float64)


def outcome(pair, x):
    with torch.no_grad():
        return pair(tensor(x))[0].numpy()


def standard_jacobian(pair, x):
    (jacobian,) = torch.autograd.functional.jacobian(lambda one: pair(one)[0], tensor(x)).unbind(1)
    scaled = jacobian * pair.scale_x.std / pair.scale_y.std[:, None]
    return scaled.detach().numpy()


def close(found, expected):
    return np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_outcome_jacobian_singular_values_and_condition_are_those_of_torch(open_page, pair):
    page = open_page(address(x=listed(X))).page
    close(values(page, ".outcome .value"), outcome(pair, X))
    jacobian = standard_jacobian(pair, X)
    sigma = np.linalg.svd(jacobian, compute_uv=False)
    close(values(page, "#jacobian"), jacobian.ravel())
    close(values(page, "#singular-values"), sigma)
    close(values(page, "#condition"), [sigma[0] / sigma[-1]])


def test_the_operator_reads_the_change_for_a_step_of_each_setting(open_page, pair):
    page = open_page(address(x=listed(X))).page
    (slopes,) = torch.autograd.functional.jacobian(lambda one: pair(one)[0], tensor(X)).unbind(1)
    steps = page.locator("#effects .step").all_inner_texts()
    # a tenth of four deviations, and from there the next of 1, 2, 5, 10
    assert steps == ["+10 kg/tHM", "+20 </script><b>", "+1 %", "+5 s", "+0.2"]
    expected = (slopes * torch.tensor([10, 20, 1, 5, 0.2])).T.flatten().numpy()
    cells = page.locator("#effects td").all_inner_texts()
    told = [float(text.replace("\u2212", "-")) for text in cells]
    spread = np.tile(pair.scale_y.std.numpy(), len(INPUTS))
    np.testing.assert_allclose(told / spread, expected / spread, atol=0.006)


def test_what_only_an_engineer_reads_is_folded(open_page):
    page = open_page(address(x=listed(NOW), want="90,*,*", solved=1, **{"from": listed(X)})).page
    for tab in ("predict", "find"):
        page.click(f"#tab-{tab}")
        for word in ("κ", "σ", "Jacobian", "J·", "invertible", "standard", "Rank"):
            assert word not in page.inner_text("main")
        page.click(f"#panel-{tab} .engineer summary")
        assert "κ" in page.inner_text("main")
    page.click("#tab-predict")
    page.fill("#setting-0", "50")
    until(page, "document.querySelector('#linear').checkVisibility()")


def test_the_outcome_follows_a_box_and_a_slider(opened, pair):
    page = opened.page
    at = pair.scale_x.mean.tolist()
    page.fill("#setting-0", "17.25")
    page.fill("#setting-1", "200")
    until(page, "document.querySelector('#setting-1-slider').value == 200")
    page.wait_for_timeout(200)
    close(values(page, ".outcome .value"), outcome(pair, [17.25, 200.0, *at[2:]]))
    page.focus("#setting-2-slider")
    page.keyboard.press("End")
    page.wait_for_timeout(200)
    close(values(page, ".outcome .value"), outcome(pair, [17.25, 200.0, 40.0, *at[3:]]))


def test_what_if_shows_the_true_change_beside_the_linear_one(open_page, pair):
    page = open_page(address(x=listed(NOW), **{"from": listed(X)})).page
    before, after = outcome(pair, X), outcome(pair, NOW)
    told = np.reshape(values(page, "#what-if"), (len(OUTPUTS), 3))
    close(told.T, [before, after, after - before])
    step = (tensor(NOW) - tensor(X))[0] / pair.scale_x.std
    linear = standard_jacobian(pair, X) @ step.numpy() * pair.scale_y.std.numpy()
    rows = np.reshape(values(page, "#linear"), (len(OUTPUTS), 3))
    close(rows.T, [after - before, linear, linear - (after - before)])


def asked(pair, kind):
    """A target that the solver reaches from the network's own proposal: {parts}, and the solution."""
    # In float64: a time stamp is one number in float32.
    exact = copy.deepcopy(pair).double()
    x = LOW + (HIGH - LOW) * torch.rand(256, len(INPUTS), dtype=torch.float64)
    with torch.no_grad():
        wanted = Interval(*(exact(x) for _ in range(2)))
    fixed = {}
    if kind == "interval and free":
        wanted.low[:, 1] += 50
        wanted.high[:, 1] += 90
        wanted.low[:, 2], wanted.high[:, 2] = -torch.inf, torch.inf
    if kind == "held":
        fixed = {0: x[:, 0], 2: x[:, 2]}
    if kind == "unreachable":
        wanted.low[:, 1] = wanted.high[:, 1] = 1e6
    with torch.no_grad():
        nearest = torch.from_numpy(outcome(pair, NOW)).clamp(*wanted)
        start = exact.inverse(nearest)
    bounds = tuple(end.masked_fill(end.abs() == 2.0, torch.nan) for end in (LOW, HIGH))
    found = solve(exact, wanted, bounds=bounds, starts=start, fixed=fixed)
    fit = found.converged == (kind != "unreachable")
    row = int(torch.where(fit & (found.steps > 1), found.steps, 999).argmin())
    ends = zip(wanted.low[row].tolist(), wanted.high[row].tolist(), strict=True)
    parts = {
        "want": ",".join(
            "*" if lo == -np.inf else repr(lo) if lo == hi else f"{lo!r}:{hi!r}" for lo, hi in ends
        ),
        "hold": "".join("1" if j in fixed else "0" for j in range(len(INPUTS))),
        "at": listed(x[row]),
    }
    return parts, found.inputs[row], found.condition[row]


@pytest.mark.parametrize("kind", ["values", "interval and free", "held", "unreachable"])
def test_a_proposal_is_the_solver_s_from_the_network_s_own(open_page, pair, kind):
    parts, inputs, condition = asked(pair, kind)
    seen = open_page(address(tab="find", x=listed(NOW), solved=1, **parts))
    rows = np.reshape(values(seen.page, "#proposed-settings"), (len(INPUTS), 3))
    predicted = np.reshape(values(seen.page, "#proposed-outcomes"), (len(OUTPUTS), 2))[:, 0]
    close(predicted, outcome(pair, rows[:, 1].tolist()))
    words = seen.page.inner_text("#proposal-verdict")
    if kind == "unreachable":
        assert words.startswith("Not certified: not reached")
        assert "Not reached" in seen.page.inner_text("#flags")
    else:
        assert words.startswith(
            "Not certified. The model predicts what is wanted, but too few rows"
        )
        scale = pair.scale_x
        settings = (torch.from_numpy(rows[:, 1].copy()) - scale.mean) / scale.std
        expected = (inputs - scale.mean) / scale.std
        np.testing.assert_allclose(settings, expected, rtol=1e-4, atol=1e-5)
        close(values(seen.page, "#proposal-condition"), condition)
    assert seen.errors == []


def test_every_alternative_reaches_the_target_inside_the_box(open_page, pair):
    reached = outcome(pair, X)
    page = open_page(address(tab="find", want=listed(reached), solved=1)).page
    count = page.locator("[name=alternative]").count()
    assert count > 1
    for k in range(count):
        page.check(f"#alternative-{k}")
        rows = np.reshape(values(page, "#proposed-settings"), (len(INPUTS), 3))[:, 1]
        missed = (outcome(pair, rows.tolist()) - reached) / pair.scale_y.std.numpy()
        assert np.linalg.norm(missed) <= 1.1e-3
        for value, variable in zip(rows, INPUTS, strict=True):
            assert variable.low is None or variable.low <= value <= variable.high


def test_usual_ranges_are_quantiles_of_the_data(open_page, trusted, trusted_file):
    page = open_page(file=trusted_file).page
    x, y = (np.quantile(rows, (0.025, 0.975), axis=0) for rows in trusted.evidence.rows("train"))
    for box, (low, high) in (("setting-4", x[:, 4]), ("wanted-1", y[:, 1])):
        words = page.text_content(f"#{box}-hint")
        ends = words.replace("\u2212", "-").partition("mostly ")[2].split(" to ")
        # as exact as they are shown
        assert [float(end) for end in ends] == pytest.approx([low, high], abs=0.005 * (high - low))


def test_trust_and_bands_are_those_of_the_reliability(open_page, pair, trusted, trusted_file):
    wanted = outcome(pair, X) + 0.1 * pair.scale_y.std.numpy()
    page = open_page(
        address(tab="find", x=listed(NOW), want=listed(wanted), solved=1), file=trusted_file
    ).page
    reliability = trusted.proposer.knowledge.measure(512, members=False)
    errors = []
    for k in range(page.locator("[name=alternative]").count()):
        page.check(f"#alternative-{k}")
        x = tensor(np.reshape(values(page, "#proposed-settings"), (len(INPUTS), 3))[:, 1].tolist())
        with torch.no_grad():
            y = trusted(x)
        missed = (y - torch.from_numpy(wanted)) / trusted.scale_y.std
        sigma = reliability.sigma(trusted.scale_x(x))
        half, beyond = reliability.half_width(trusted.scale_x(x), sigma)
        everything = torch.ones_like(y, dtype=torch.bool)
        error = reliability.expected_error(sigma, missed.norm(dim=1), everything)
        alike = not (beyond > 0).any()
        words = page.inner_text("#proposal-verdict")
        assert words.startswith("Certified." if alike else "Not certified.")
        assert ("Near these settings the model errs more" in words) == bool(beyond[0, 0] > 0)
        assert ("far from all that are known" in words) == bool(beyond[0, 1] > 0)
        (found,) = values(page, "#proposal-trust")
        assert found == pytest.approx(float(reliability.trust(error, everything)), abs=1e-4)
        errors.append(float(error))
        reach = (half * trusted.scale_y.std)[0]
        band = page.inner_text("#proposed-outcomes tbody tr:nth-child(2) td:nth-of-type(3)")
        ends = [float(end.replace("\u2212", "-")) for end in band.split(" to ")]
        expected = [float(y[0, 1] - reach[1]), float(y[0, 1] + reach[1])]
        assert ends == pytest.approx(expected, abs=0.01 * float(trusted.scale_y.std[1]))
    assert errors == sorted(errors)
    words = page.inner_text("#proposed-outcomes caption")
    assert "all three outcomes lie inside nine times out of ten" in words


def test_settings_unlike_the_known_ones_say_so_before_their_outcome(open_page, trusted_file):
    page = open_page(address(tab="predict", x=listed(NOW)), file=trusted_file).page
    assert not page.is_visible("#outcome-warning")
    assert "three outcomes lie inside nine times out of ten" in page.inner_text("#panel-predict")
    far = [99.0, 299.0, 39.9, 1.7e9 + 59, 9.0]
    page = open_page(address(tab="predict", x=listed(far)), file=trusted_file).page
    words = page.inner_text("#panel-predict .glance")
    assert words.index("far from all that are known") < words.index("top gas temperature")


def test_no_request_leaves_the_page(open_page, pair, page_file):
    parts = {"tab": "find", "want": listed(outcome(pair, X)), "solved": 1}
    seen = open_page(address(**parts))
    outside = [url for url in seen.requests if not url.startswith(("blob:", page_file.as_uri()))]
    assert outside == []
    assert seen.errors == []
    refused = "fetch('https://example.com').then(() => 'sent', () => 'refused')"
    assert seen.page.evaluate(refused) == "refused"
    seen.page.evaluate("setTimeout('window.evaluated = true')")
    seen.page.wait_for_timeout(50)
    assert seen.page.evaluate("window.evaluated") is None


def test_a_hostile_name_stays_text(opened):
    page = opened.page
    assert page.locator("img, b").count() == 0
    assert HOSTILE in page.inner_text("#panel-predict")
    assert "</script><b>" in page.inner_text("#panel-predict")
    assert page.title() == page.inner_text("#title") == "Furnace & <b>"
    page.click("#tab-find")
    assert HOSTILE in page.inner_text("#panel-find")
    assert opened.errors == []


def test_an_address_from_a_stranger_changes_nothing_but_numbers(open_page, pair):
    seen = open_page("#tab=<img>&x=1,2,NaN,4,5&from=1&want=<img src=x>,1,2&hold=111111&at=,,,,")
    close(values(seen.page, ".outcome .value"), outcome(pair, pair.scale_x.mean.tolist()))
    assert seen.page.locator("img").count() == 0
    assert seen.errors == []


def test_the_address_brings_the_page_back(open_page):
    page = open_page().page
    page.fill("#setting-0", "33.5")
    page.click("#tab-find")
    page.select_option("#wanted-2-kind", "between")
    until(page, "location.hash.includes('tab=find') && location.hash.includes('*,*,?:?')")
    again = open_page(page.evaluate("location.hash")).page
    assert again.input_value("#wanted-2-kind") == "between"
    again.click("#tab-predict")
    assert float(again.input_value("#setting-0")) == 33.5


def test_a_csv_holds_whole_numbers_and_no_formula(open_page, pair):
    page = open_page(address(x=listed(NOW), **{"from": listed(X)})).page
    with page.expect_download() as download:
        page.click("text=Download CSV")
    with open(download.value.path(), encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(io.StringIO(file.read())))
    names = [v.name for v in (*INPUTS, *OUTPUTS)]
    assert [row["name"].removeprefix("'") for row in rows] == names
    assert not any(row[key].startswith("=") for row in rows for key in ("name", "unit"))
    close([float(row["from"]) for row in rows], [*X, *outcome(pair, X)])
    close([float(row["to"]) for row in rows], [*NOW, *outcome(pair, NOW)])


@pytest.fixture(scope="module")
def online_file(pair, build):
    return build(pair, "online.html", online=True)


def test_the_online_page_is_small_and_runs_on_the_pinned_files(
    open_page, online_file, runtime, pair
):
    files = {CDN + SCRIPT: runtime.script, CDN + WASM: runtime.wasm}

    def answer(route):
        headers = {"access-control-allow-origin": "*", "content-type": "application/octet-stream"}
        route.fulfill(body=files[route.request.url], headers=headers)

    assert online_file.stat().st_size < 1_000_000
    page = open_page(address(x=listed(X)), file=online_file, route=answer).page
    close(values(page, ".outcome .value"), outcome(pair, X))


def test_the_online_page_refuses_another_script(open_page, online_file):
    def answer(route):
        route.fulfill(body=b"alert(1)", headers={"access-control-allow-origin": "*"})

    seen = open_page(file=online_file, route=answer, ready=False)
    seen.page.wait_for_selector("#failure:not([hidden])", timeout=30_000)
    assert "unchanged" in seen.page.inner_text("#failure")
