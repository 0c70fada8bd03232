"""A run with the callback and one without end alike, to the bit."""

import copy
import random

import numpy as np
import pytest
import torch

from lightning_invert.callbacks import InvertibilityCallback
from tests.callbacks.trainer_options import OPTIONS, Noisy, loader
from tests.projects import quiet_trainer


def everything_after_fit(folder, watch, *, module=Noisy, callbacks=(), num_workers=0, **options):
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    module = module()
    callbacks = [*(kind() for kind in callbacks), *watch]
    trainer = quiet_trainer(folder, max_epochs=4, callbacks=callbacks, **options)
    trainer.fit(module, loader(num_workers, shuffle=True), loader(num_workers))
    return {
        "random streams": [torch.rand(1).item(), np.random.rand(), random.random()],
        "weights and buffers": dict(module.state_dict()),
        "optimizer": copy.deepcopy(trainer.optimizers[0].state_dict()),
        "gradients": [p.grad for p in module.parameters()],
        "order of the data": module.order,
        "flags": [part.training for part in module.modules()],
        "logged": {k: v for k, v in trainer.callback_metrics.items() if "invertib" not in k},
    }


@pytest.mark.parametrize(
    "options",
    OPTIONS,
    ids=lambda options: ",".join(options) or "plain",
)
@pytest.mark.filterwarnings("ignore:.*num_workers.*:UserWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.* gives another output:UserWarning")  # it is noisy
@pytest.mark.slow
def test_watching_changes_nothing(options, tmp_path):
    maps = {"forward": ""}  # named, so that it is tried before the first step
    # Figures are drawn alike, whatever the trainer does.
    watch = InvertibilityCallback(maps, num_points=32, figures=not options, save_figures=True)
    with_it = everything_after_fit(tmp_path, [watch], **options)
    assert bool(list(tmp_path.rglob("*.png"))) is (not options)
    assert len(watch.history["forward"]) >= 4
    without = everything_after_fit(tmp_path, [], **options)
    for what, expected in without.items():
        torch.testing.assert_close(with_it[what], expected, rtol=0, atol=0, msg=what)
