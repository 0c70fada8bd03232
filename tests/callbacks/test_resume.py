import pytest
import torch

from lightning_invert.callbacks import InvertibilityCallback
from tests.projects import Foreign, fit_project, loader, quiet_trainer


def fit(folder, until, *, resume=None, **options):
    torch.manual_seed(4)
    watch = InvertibilityCallback(num_points=20, **options)
    trainer = quiet_trainer(folder, max_epochs=until, callbacks=[watch])
    module = Foreign()
    module.encoder[3] = torch.nn.Identity()  # its dropout would differ after an interruption
    trainer.fit(module, loader(), loader(), ckpt_path=resume)
    trainer.save_checkpoint(folder / "last.ckpt")
    return watch


@pytest.mark.parametrize(
    "options", [{}, {"sampling": "fixed"}, {"every_n_validations": "log"}], ids=str
)
def test_a_resumed_fit_looks_at_the_same_points_and_keeps_its_history(tmp_path, options):
    whole = fit(tmp_path, 6, **options)
    # The epoch in which a fit ends is watched in any case: stop where one is due.
    fit(tmp_path, 3, **options)
    options = {"save_figures": tmp_path / "figures", **options}
    resumed = fit(tmp_path, 6, resume=tmp_path / "last.ckpt", **options)
    assert resumed.history == whole.history
    assert (tmp_path / "figures" / "forward_evolution.png").exists()
    assert len(whole.history["forward"]) >= 4


def test_a_second_fit_has_a_history_of_its_own(tmp_path):
    watch = InvertibilityCallback(num_points=20)
    for _ in range(2):
        fit_project(tmp_path, watch, max_epochs=2)
    assert [look["epoch"] for look in watch.history["forward"]] == [0, 1]


def test_a_fit_that_goes_on_keeps_its_history(tmp_path):
    watch = InvertibilityCallback(num_points=20)
    trainer = fit_project(tmp_path, watch, max_epochs=2)
    trainer.fit_loop.max_epochs = 4
    trainer.fit(trainer.lightning_module, loader(), loader())
    assert [look["epoch"] for look in watch.history["forward"]] == [0, 1, 2, 3]


def test_two_watchers_in_a_trainer_have_states_of_their_own(tmp_path):
    trainer = fit_project(tmp_path, *(InvertibilityCallback({n: "encoder"}) for n in "ab"))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    states = torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]
    found = [state for key, state in states.items() if "InvertibilityCallback" in key]
    assert sorted(name for state in found for name in state["history"]) == ["a", "b"]
