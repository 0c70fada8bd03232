"""How large the page is, and how fast: until the first outcome, as a slider moves, its windows, and to solve.

In Debian's chromium, from disk. The limit is 16 ms, the time of one picture on the screen, for F and
its Jacobian at the 28 points that each move of a slider takes, and 50 ms for a setting's window.

    python benchmarks/page.py [--page runs/page/page.html] [--moves 60] [--targets 8] [--times 3]
                              [--write docs]

The page is by default that of `make demo`.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from common import machine, markdown, put

WARM_UP = 10
# Milliseconds for which the windows are grey, after each move of a slider.
WATCH_WINDOWS = """() => {
  const fields = document.querySelector("#panel-predict .fields");
  let began = null;
  window.times = [];
  new MutationObserver(() => {
    if (fields.classList.contains("stale")) began ??= performance.now();
    else if (began !== null) {
      window.times.push(performance.now() - began);
      began = null;
    }
  }).observe(fields, { attributes: true, attributeFilter: ["class"] });
}"""


def ready(browser: Any, file: Path) -> tuple[Any, float]:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    began = time.perf_counter()
    page.goto(file.resolve().as_uri())
    page.wait_for_selector("html[data-ready]", timeout=120_000)
    return page, time.perf_counter() - began


def moved(page: Any, moves: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each evaluation, as the page itself counts them, and of the windows."""
    sliders = page.locator(".slide input").all()
    page.wait_for_selector(".fields:not(.stale)")
    page.evaluate(WATCH_WINDOWS)
    evaluations = []
    for k in range(moves + WARM_UP):
        slider = sliders[k % len(sliders)]
        low, high = (float(slider.get_attribute(end)) for end in ("min", "max"))
        box = slider.get_attribute("id").removesuffix("-slider")
        page.fill(f"#{box}", f"{low + (high - low) * (k % 20 + 1) / 25:.4g}")
        while page.evaluate("window.times.length") <= k:
            page.wait_for_timeout(5)
        evaluations.append(float(page.inner_text("#took").split()[2]))
    return evaluations[WARM_UP:], page.evaluate("window.times")[WARM_UP:]


def solved(page: Any, targets: int) -> list[float]:
    middle = float(page.get_attribute("#outcome-0 data", "value"))
    page.click("#tab-find")
    page.select_option("#wanted-0-kind", "value")
    found = []
    for k in range(targets):
        page.fill("#wanted-0-value", f"{middle * (1 + 0.01 * k):.6g}")
        page.wait_for_timeout(60)
        page.click(".main-action")
        words: list[str] = []
        while "ms." not in words:
            page.wait_for_timeout(100)
            words = page.inner_text("#solve-status").split()
        found.append(float(words[words.index("ms.") - 1]))
    return found


def spread_words(times: list[float]) -> str:
    last = sorted(times)[int(0.95 * len(times))]
    return f"{statistics.median(times):.1f} ms (median), {last:.1f} ms (95th percentile)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--page", type=Path, default=Path("runs/page/page.html"))
    parser.add_argument("--moves", type=int, default=60)
    parser.add_argument("--targets", type=int, default=8)
    parser.add_argument("--times", type=int, default=3, help="how often it is opened")
    parser.add_argument("--write", type=Path, help="folder of the documentation")
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    head = machine()
    print(head)
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        opened = []
        for _ in range(args.times):
            page, seconds = ready(browser, args.page)
            opened.append(seconds)
        count = page.locator(".slide").count()
        (moves, windows), solves = moved(page, args.moves), solved(page, args.targets)
        rows = [
            ["size", f"{args.page.stat().st_size / 1e6:.1f} MB"],
            ["from opening to the first outcome", f"{min(opened):.1f} to {max(opened):.1f} s"],
            [
                "F and its Jacobian at 28 points, after each move of a slider",
                spread_words(moves),
            ],
            [
                f"the windows of all {count} settings at once, after each move",
                spread_words(windows),
            ],
            ["the same, for each setting", spread_words([each / count for each in windows])],
            ["a proposal, from eight starts", f"{min(solves):.0f} to {max(solves):.0f} ms"],
        ]
        text = f"{markdown(['', ''], rows)}\n\n{head}; Chromium {browser.version}."
        browser.close()
    print(text)
    print(
        "limits: 16 ms for F and its Jacobian, one picture on the screen; 50 ms for a setting's window"
    )
    if args.write is not None:
        put("measured", f"\n{text}\n", args.write)


if __name__ == "__main__":
    main()
