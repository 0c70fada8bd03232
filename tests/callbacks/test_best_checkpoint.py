"""What is said and found, at the end of a fit, of the checkpoint that it keeps."""

import os
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from torch import nn

from lightning_invert import ConditioningEarlyStopping, InvertibilityCallback
from lightning_invert.callbacks.best_checkpoint import ending_of
from lightning_invert.watch.watcher import Watcher
from tests.callbacks.fits import pair
from tests.projects import Foreign, Smooth, fit_project, loader, quiet_trainer

SCORES = (3.0, 1.0, 2.0, 4.0)


class Scored(Foreign):
    """A project whose score is known beforehand, epoch by epoch."""

    def __init__(self, scores=SCORES):
        torch.manual_seed(0)
        super().__init__()
        self.scores = scores
        self.register_buffer("passing", torch.zeros(2), persistent=False)

    def validation_step(self, batch, batch_idx):
        self.log("score", torch.tensor(self.scores[self.current_epoch % len(self.scores)]))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells = nn.LSTM(5, 4, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.cells(x[:, None])[0][:, 0])


def tied():
    one = nn.Linear(5, 5)
    return nn.Sequential(one, nn.Tanh(), one, nn.Tanh(), nn.Linear(5, 3))


NETWORKS = {
    "BatchNorm and Dropout": lambda: Foreign().encoder,
    "LSTM": Recurrent,
    "tied weights": tied,
    "a parametrisation": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(5, 3)),
    "weights that are frozen": lambda: nn.Sequential(
        nn.Linear(5, 4).requires_grad_(False), nn.Linear(4, 3)
    ),
}


def with_network(make):
    module = Scored()
    module.encoder = make()
    return module


def fit(folder, *callbacks, module=None, keep=None, watch=None, **options):
    """Fit with a checkpoint of the lowest score; return the trainer and the callbacks."""
    watch = watch or InvertibilityCallback(figures=False)
    keep = keep or ModelCheckpoint(folder, "best", monitor="score")
    settings = {"max_epochs": 4, "enable_checkpointing": True, "module": module or Scored()}
    settings |= {
        "data": (loader(rows=32), loader(rows=32, batch_size=32)),
        "num_sanity_val_steps": 0,
    }
    trainer = fit_project(folder, *callbacks, watch, keep, **{**settings, **options})
    return trainer, watch, keep


def assert_of_weights(observation, network, state):
    """Compare with autograd's own Jacobians, in float64, of a network with these weights."""
    weights = {key.removeprefix("encoder."): value for key, value in state.items()}
    network.load_state_dict({key: v for key, v in weights.items() if key in network.state_dict()})
    network, x = network.double().eval(), observation.inputs.double()
    np.testing.assert_allclose(observation.outputs, network(x).detach(), rtol=1e-3, atol=1e-5)
    rows = [torch.autograd.functional.jacobian(lambda z: network(z[None])[0], row) for row in x]
    sigma = np.linalg.svd(torch.stack(rows).numpy(), compute_uv=False)
    np.testing.assert_allclose(observation.singular_values, sigma, rtol=1e-3, atol=1e-5)


def closing(caplog, word="Kept"):
    """Return the lines that begin with a word."""
    said = [line for message in caplog.messages for line in message.splitlines()]
    return [line for line in said if line.startswith(word)]


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_the_kept_weights_are_looked_at_where_the_last_look_was(tmp_path, caplog, make):
    keep = ModelCheckpoint(tmp_path, "best", monitor="score", save_weights_only=make is tied)
    module = with_network(make)
    trainer, watch, keep = fit(tmp_path, module=module, keep=keep)
    (last,), (kept,) = watch.observations, watch.kept_observations
    assert torch.equal(kept.inputs, last.inputs)
    state = torch.load(keep.best_model_path, weights_only=True)
    assert state["epoch"] == 1
    assert_of_weights(kept, make(), state["state_dict"])
    assert_of_weights(last, make(), module.state_dict())
    # What is logged stays that of the last epoch.
    for name, value in last.scalars.items():
        logged = trainer.callback_metrics[f"invertibility/forward/{name}"]
        assert logged.item() == pytest.approx(value, nan_ok=True)
    (line,) = closing(caplog)
    assert line == (
        "Kept epoch 1 of 4 (counted from 0), after 4 steps, as best.ckpt: lowest score, 1; since then it rose to 4 (by 300 %)."
    )
    tables = [m for m in caplog.messages if "\nforward (physical): " in m]
    assert [m.splitlines()[0][:40] for m in tables] == [
        "Local invertibility (condition number κ:", "The weights of that checkpoint, at the p",
    ]  # fmt: skip


def test_all_maps_of_a_pair_are_looked_at_with_its_kept_weights(tmp_path, caplog):
    tag = "invertibility/inverse/log10_cond_p95"
    keep = ModelCheckpoint(tmp_path, "best", monitor=tag, mode="max")
    module = pair()
    module.scores = SCORES
    _, watch, keep = fit(
        tmp_path, module=module, keep=keep, data=(Smooth(),),
        watch=InvertibilityCallback(figures=False, reachable_steps=2),
    )  # fmt: skip
    best = type(module).load_from_checkpoint(keep.best_model_path)
    forward, inverse, trip = watch.kept_observations or watch.observations
    torch.testing.assert_close(forward.outputs, best(forward.inputs))
    torch.testing.assert_close(inverse.outputs, best.inverse(inverse.inputs))
    torch.testing.assert_close(trip.outputs, best.round_trip(trip.inputs))
    assert set(forward.findings) == {"accuracy", "reach"}
    assert closing(caplog)[0].startswith("Kept epoch ")


@pytest.mark.parametrize("first", [True, False])
def test_weights_that_are_averaged_when_they_are_saved_are_looked_at_as_saved(tmp_path, first):
    average, watch = EMAWeightAveraging(decay=0.9), InvertibilityCallback(figures=False)
    keep = ModelCheckpoint(tmp_path, "best", monitor="score", mode="max")
    order = [average, watch] if first else [watch, average]
    fit_project(tmp_path, *order, keep, max_epochs=4, enable_checkpointing=True, module=Scored())
    state = torch.load(keep.best_model_path, weights_only=True)["state_dict"]
    (kept,) = watch.kept_observations or watch.observations
    assert_of_weights(kept, Foreign().encoder, state)


def last(**options):
    return {"keep": lambda folder: ModelCheckpoint(folder, "{epoch}", **options)}


WORDS = {
    "the last": (
        {"max_epochs": 2},
        "Kept epoch 1 of 2 (counted from 0), after 4 steps, as best.ckpt: lowest score, 1. The verdict above is that of its weights.",
    ),
    "the highest": (
        {"keep": lambda f: ModelCheckpoint(f, "best", monitor="score", mode="max"), "max_epochs": 3},
        "Kept epoch 0 of 3 (counted from 0), after 2 steps, as best.ckpt: highest score, 3; since then it fell to 2 (by 33.3 %).",
    ),
    "of values without a ratio": (
        {"module": lambda: Scored((1.0, -2.0, 0.0)), "max_epochs": 3},
        "Kept epoch 1 of 3 (counted from 0), after 4 steps, as best.ckpt: lowest score, -2; since then it rose to 0.",
    ),
    "never a number": (
        {"module": lambda: Scored((float("nan"),)), "max_epochs": 2},
        "Kept epoch 0 of 2 (counted from 0), after 2 steps, as best.ckpt: lowest score, ∞.",
    ),
    "of several, the first that monitors": (
        {"more": lambda f: [ModelCheckpoint(f / "more", "{epoch}")]},
        "Kept epoch 1 of 4 (counted from 0), after 4 steps, as best.ckpt: lowest score, 1; since then it rose to 4 (by 300 %).",
    ),
    "several in an epoch": (
        {"keep": lambda f: ModelCheckpoint(f, "{step}", monitor="score", every_n_train_steps=3)},
        "Kept epoch 2 of 4 (counted from 0), after 6 steps, as step=6.ckpt: lowest score, 1; since then it rose to 4",
    ),
    "in a folder of a name with a slash": (
        {"keep": lambda f: ModelCheckpoint(f, "best-val/score", monitor="score"), "max_epochs": 2},
        "Kept epoch 1 of 2 (counted from 0), after 4 steps, as best-val/score.ckpt: lowest score, 1. The verdict above",
    ),
    "the latest, which is the last look's": (last(), None),
    "the latest by the clock": (last(monitor="step", mode="max"), None),
    "the latest that was due": (
        last(every_n_epochs=3),
        "Kept epoch 2 of 4 (counted from 0), after 6 steps, as epoch=2.ckpt: the latest that was saved.",
    ),
    "none": (last(save_top_k=0, save_last=True), None),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*could not find the monitored key")
@pytest.mark.parametrize(("options", "words"), WORDS.values(), ids=WORDS)
def test_a_closing_line_says_which_epoch_was_kept_and_why(tmp_path, caplog, options, words):
    options = dict(options)
    for name in ("keep", "more"):
        if name in options:
            options[name] = options[name](tmp_path)
    module = options.pop("module", Scored)()
    fit(tmp_path, *options.pop("more", ()), module=module, **options)
    lines = closing(caplog)
    assert len(lines) == (words is not None)
    assert not lines or lines[0].startswith(words)


STOPS = {
    "patience": (
        lambda: EarlyStopping("score", patience=2),
        "Stopped by EarlyStopping: Monitored metric score did not improve in the last 2 records. Best",
    ),
    "good enough": (
        lambda: EarlyStopping("score", stopping_threshold=1.5),
        "Stopped by EarlyStopping: Stopping threshold reached: score = 1.0 < 1.5.",
    ),
    "a collapse": (
        lambda: ConditioningEarlyStopping(divergence_threshold=-1.0, patience=2, verbose=False),
        "Stopped by ConditioningEarlyStopping: fit stops after epoch 1: invertibility/forward/log10",
    ),
    "nothing": (lambda: EarlyStopping("score", patience=5), None),
}


@pytest.mark.parametrize(("stop", "words"), STOPS.values(), ids=STOPS)
def test_who_ended_the_fit_is_named_with_the_rule(tmp_path, caplog, stop, words):
    fit(tmp_path, stop(), max_epochs=4)
    lines = closing(caplog, "Stopped by")
    assert len(lines) == (words is not None)
    assert not lines or (lines[0].startswith(words) and "Signaling" not in lines[0])
    assert len(closing(caplog)) == 1


class Runs:
    def __reduce__(self):
        return pytest.fail, ("a checkpoint ran code",)


def changed(**weights):
    def act(path, _):
        content = torch.load(path, weights_only=True)
        content["state_dict"] |= weights
        torch.save(content, path)

    return act


def as_folder(path, _):
    path.unlink()
    path.mkdir()


def remote(path, keep):
    keep.best_model_path = f"s3://bucket/{path.name}"


PROBLEMS = {
    "missing": (lambda path, _: path.unlink(), "there is no such file on this machine."),
    "remote": (remote, "there is no such file on this machine."),
    "a folder": (as_folder, "it is a folder, or of more than 1 GiB."),
    "large": (
        lambda path, _: os.truncate(path, 2**30 + 1),
        "it is a folder, or of more than 1 GiB.",
    ),
    "damaged": (lambda path, _: path.write_bytes(path.read_bytes()[:999]), "or is damaged."),
    "no checkpoint": (lambda path, _: torch.save([1], path), "or is damaged."),
    "a stranger's": (lambda path, _: path.write_bytes(pickle.dumps(Runs())), "or is damaged."),
    "a stranger's, by torch": (
        lambda path, _: torch.save({"a": Runs()}, path),
        "tensors and plain",
    ),
    "of other networks": (
        changed(**{"encoder.0.weight": torch.zeros(2, 2)}),
        "its 'encoder.0.weight' is missing, or of another shape than the module's.",
    ),
    "with more than weights": (changed(a_extra_state=torch.zeros(1)), "it keeps 'a_extra_state'"),
}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    module = Scored()
    trainer, _, keep = fit(tmp_path_factory.mktemp("fit"), module=module)
    return trainer, module, keep


@pytest.mark.parametrize(("act", "words"), PROBLEMS.values(), ids=PROBLEMS)
def test_a_checkpoint_that_cannot_be_looked_at_is_said_in_a_line(
    tmp_path, fitted, act, words, monkeypatch
):
    trainer, module, keep = fitted
    path = tmp_path / "kept.ckpt"
    path.write_bytes(Path(keep.best_model_path).read_bytes())
    monkeypatch.setattr(keep, "best_model_path", str(path))
    act(path, keep)
    (line,), observations = ending_of(trainer, module, Watcher(on_error="raise"), ())
    assert (
        "kept.ckpt: lowest score, 1; since then it rose to 4 (by 300 %). Its weights were" in line
    )
    assert words in line
    assert observations == ()


def test_a_look_at_kept_weights_that_fails_ends_no_fit(tmp_path, caplog):
    class Fails(Scored):
        def forward(self, x):
            if self.trainer.state.stage == "train" and not self.training:
                raise KeyError("lost")
            return super().forward(x)

    _, watch, _ = fit(tmp_path, module=Fails())
    assert len(watch.observations) == 1
    assert "not looked at: " in closing(caplog)[0]
    assert "lost" in closing(caplog)[0]


def test_who_interrupts_a_fit_is_told_what_it_keeps(tmp_path, caplog):
    class Stops(Scored):
        def on_train_epoch_start(self):
            if self.current_epoch == 3:
                raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit):
        fit(tmp_path, module=Stops())
    signal.signal(signal.SIGINT, handler)
    assert closing(caplog) == [
        "Kept epoch 1 of 3 (counted from 0), after 4 steps, as best.ckpt: lowest score, 1; since then it rose to 2 (by 100 %)."
    ]


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
def test_a_resumed_fit_keeps_what_the_one_before_it_kept(tmp_path, caplog):
    keep = ModelCheckpoint(tmp_path, "best", monitor="score", save_last=True)
    fit(tmp_path, keep=keep, max_epochs=3)
    caplog.clear()
    watch, keep = InvertibilityCallback(), ModelCheckpoint(tmp_path, "best", monitor="score")
    trainer = quiet_trainer(
        tmp_path, callbacks=[watch, keep], max_epochs=4, enable_checkpointing=True
    )
    trainer.fit(Scored(), loader(rows=32), loader(), ckpt_path=tmp_path / "last.ckpt")
    assert closing(caplog)[0].startswith(
        "Kept epoch 1 of 4 (counted from 0), after 4 steps, as best.ckpt: lowest score"
    )
    state = torch.load(keep.best_model_path, weights_only=True)["state_dict"]
    assert_of_weights(watch.kept_observations[0], Foreign().encoder, state)


def test_where_nothing_was_watched_that_is_the_last_word(tmp_path, caplog):
    class TwoHeads(Scored):
        def forward(self, x):
            return {"mean": self.encoder(x), "spread": self.encoder(x)}

        def training_step(self, batch, batch_idx):
            return self.encoder(batch[0]).square().mean()

    with pytest.warns(UserWarning, match="'output'"):
        fit(tmp_path, module=TwoHeads())
    assert closing(caplog) == [
        "Kept epoch 1 of 4 (counted from 0), after 4 steps, as best.ckpt: lowest score, 1; since then it rose to 4 (by 300 %)."
    ]
    assert "nothing was watched in this fit: " in caplog.messages[-1]
