"""Strategies that give the module and the callbacks to processes of their own (`ddp_spawn`)."""

import functools
import pickle
from multiprocessing import context

import pytest

from lightning_invert import InvertibilityCallback
from tests.scripts import json_result, run_script

SCRIPT = """
import json
from lightning.pytorch.callbacks import LambdaCallback
from lightning_invert import InvertibilityCallback
from tests.callbacks.fits import pair
from tests.projects import Foreign, Smooth, loader, quiet_trainer

def first(batch):
    return batch[0]

def fit(module, maps=None, **data):
    watch = InvertibilityCallback(maps, num_points=16, figures=False)
    trainer = quiet_trainer(".", devices=1, strategy="ddp_spawn", callbacks=[watch])
    trainer.fit(module, **data)
    return {name: value.item() for name, value in trainer.callback_metrics.items()}

if __name__ == "__main__":
    maps = {"f": {"module": "encoder", "input": first}}
    foreign = fit(Foreign(), maps, train_dataloaders=loader(), val_dataloaders=loader())
    found = {"pair": fit(pair(), datamodule=Smooth()), "foreign": foreign}
    with open("found.json", "w") as file:
        json.dump(found, file)
"""


@pytest.mark.slow
def test_a_pair_and_a_foreign_module_are_trained_and_watched_there(tmp_path):
    run_script(tmp_path, SCRIPT)
    found = json_result(tmp_path, "found")
    assert "invertibility/round_trip/full_rank_fraction" in found["pair"]
    assert "val/loss" in found["pair"]
    assert "invertibility/f/full_rank_fraction" in found["foreign"]


def first(batch):
    return batch[0]


LAMBDAS = {
    "a lambda": lambda batch: batch[0],
    "a lambda in a path": ["x", lambda batch: batch[0]],
    "a partial of a lambda": functools.partial(lambda batch, place: batch[place], place=0),
}


@pytest.mark.parametrize("part", LAMBDAS.values(), ids=LAMBDAS)
def test_a_map_that_no_process_can_be_given_is_named(monkeypatch, part):
    maps = {"encode": {"module": "encoder", "input": first}, "hide": {"module": "", "input": part}}
    watch = InvertibilityCallback(maps)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(watch)  # as any lambda
    monkeypatch.setattr(context, "_tls", type("Spawning", (), {"spawning_popen": object()}))
    with pytest.raises(
        TypeError, match=r"Expected map 'hide' to be .* a function of a file instead"
    ):
        pickle.dumps(watch)
    watch = InvertibilityCallback({"encode": maps["encode"]})
    assert pickle.loads(pickle.dumps(watch)).watcher.maps["encode"]["input"] is first
