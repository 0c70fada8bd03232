"""A run with the callback and one without end alike, to the bit."""

import copy
import random

import numpy as np
import pytest
import torch

from lightning_invert.callbacks import InvertibilityCallback
from tests.callbacks.fits import Known, pair
from tests.callbacks.trainer_options import OPTIONS, Noisy, WithInverse
from tests.projects import Foreign, loader, quiet_trainer


def everything_after_fit(folder, watch, *, module=Noisy, callbacks=(), num_workers=0, **options):
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    module = module()
    data = [loader(shuffle=shuffle, num_workers=num_workers) for shuffle in (True, False)]
    callbacks = [*(kind() for kind in callbacks), *watch]
    trainer = quiet_trainer(folder, max_epochs=3, callbacks=callbacks, **options)
    trainer.fit(module, *([Known()] if hasattr(module, "forward_net") else data))
    return {
        "random streams": [torch.rand(1).item(), np.random.rand(), random.random()],
        "weights and buffers": dict(module.state_dict()),
        "optimizer": copy.deepcopy(trainer.optimizers[0].state_dict()),
        "gradients": [p.grad for p in module.parameters()],
        "order of the data": getattr(module, "order", ()),
        "calls of the inverse": getattr(module, "calls", 0),
        "flags": [part.training for part in module.modules()],
        "logged": {k: v for k, v in trainer.callback_metrics.items() if "invertib" not in k},
    }


def assert_alike(folder, watch, **options):
    with_it = everything_after_fit(folder, [watch], **options)
    for what, expected in everything_after_fit(folder, [], **options).items():
        torch.testing.assert_close(with_it[what], expected, rtol=0, atol=0, msg=what)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: ",".join(options) or "plain")
@pytest.mark.filterwarnings("ignore:.*num_workers.*:UserWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.* gives another output:UserWarning")  # it is noisy
@pytest.mark.slow
def test_watching_changes_nothing(options, tmp_path):
    maps = {"forward": ""}  # named, so that it is tried before the first step
    # Figures are drawn alike, whatever the trainer does.
    watch = InvertibilityCallback(maps, num_points=32, figures=not options, save_figures=True)
    assert_alike(tmp_path, watch, **options)
    assert bool(list(tmp_path.rglob("*.png"))) is (not options)
    assert len(watch.history["forward"]) >= 3


@pytest.mark.parametrize("kind", ["pair", "foreign"])
@pytest.mark.filterwarnings("ignore:.* gives another output:UserWarning")
def test_what_is_found_beside_the_spectrum_changes_nothing(tmp_path, kind):
    torch.manual_seed(1)
    reach = {"inverse": "propose", "outcomes": 1}
    maps = {"f": {"module": "", "reach": reach, "truth": Foreign().encoder.double()}}
    watch = InvertibilityCallback(None if kind == "pair" else maps, reachable_steps=10)
    module = (lambda: pair(dropout=0.5)) if kind == "pair" else WithInverse
    assert_alike(tmp_path, watch, module=module)
    scalars = watch.observations[0].scalars
    assert 0 <= scalars["reachable_fraction"] <= 1
    assert "jacobian_error_median" in scalars
