import pytest
import torch

from lightning_invert.report.display import Display
from lightning_invert.watch.observation import Observation
from tests.projects import quiet_trainer


@pytest.mark.parametrize(
    ("spent", "last", "elapsed", "drawn"),
    [
        (0.0, None, 199.0, False),
        (0.0, None, 201.0, True),
        (0.5, 0.3, 109.0, False),
        (0.5, 0.3, 111.0, True),
    ],
)
def test_drawing_keeps_below_a_hundredth_of_the_time_with_the_last_look_counted_in(
    tmp_path, monkeypatch, spent, last, elapsed, drawn
):
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    display = Display(
        histograms=False, figures="auto", save_figures=False, worst_points=0, verbose=False
    )
    trainer = quiet_trainer(tmp_path)
    display.begin(trainer)
    if last is not None:
        seen = [Observation.of(torch.ones(3, 2))]
        display.show(trainer, seen, {}, prefix="invertibility", draw=True)
        display.seconds_drawing, display.seconds_of_last = spent, last
    now = elapsed
    assert display.may_draw(maps=1) is drawn
