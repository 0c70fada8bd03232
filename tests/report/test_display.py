import torch

from lightning_invert.report.display import Display
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.observations import Observations
from lightning_invert.watch.voice import Voice
from tests.projects import quiet_trainer


def test_drawing_keeps_below_a_hundredth_of_the_time_with_the_last_look_counted_in(
    tmp_path, monkeypatch
):
    now, drawn = 0.0, []

    def draws_for_three_seconds(*_, **__):
        nonlocal now
        drawn.append(now)
        now += 3.0
        return {}

    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr("lightning_invert.report.figures.map_figures", draws_for_three_seconds)
    shown = {"figures": "auto", "save_figures": tmp_path, "scalars": "all"}
    display = Display(**shown, on_error="raise", voice=Voice("Display"))
    trainer = quiet_trainer(tmp_path)
    trainer.state.fn = "fit"
    display.begin(trainer)
    # A map is assumed to take a second, until it has taken three: now, before, and at the end.
    for now in (199.0, 201.0, 899.0, 901.0):  # noqa: B007
        display.show(
            trainer, Observations([Observation.of(torch.ones(3, 2))]), prefix="invertibility"
        )
    assert drawn == [201.0, 901.0]
