"""Fits in two processes, all in one launch; each process writes what it found as JSON."""

import json
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader, IterableDataset

from lightning_invert.callbacks import ConditioningEarlyStopping, InvertibilityCallback
from tests.callbacks.fits import Known, pair
from tests.projects import Foreign, Smooth, loader, quiet_trainer

SHARDS = {
    "even": ((20, 20), {"num_points": 64}),
    "uneven": ((30, 7), {"num_points": 64, "scale": "standardized"}),
    "a process without points": ((24, 0), {"num_points": 64}),
    "a point less than processes": ((20, 20), {"num_points": 1}),
}


def scalars(trainer):
    return {k: v.item() for k, v in sorted(trainer.callback_metrics.items())}


def two_processes(**options):
    return quiet_trainer(".", **{"devices": 2, "strategy": "ddp", **options})


class Shard(IterableDataset):
    def __init__(self, x, shards):
        self.x, self.shards = x, shards

    def __iter__(self):
        if torch.distributed.is_initialized():
            yield from self.x.split(self.shards)[torch.distributed.get_rank()]
        else:
            yield from self.x


class Net(LightningModule):
    def __init__(self, strategy):
        super().__init__()
        torch.manual_seed(1)
        self.strategy = strategy
        self.net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))

    def configure_model(self):
        if self.strategy == "fsdp2":
            for layer in (self.net[0], self.net[2], self.net):
                fully_shard(layer, mesh=self.device_mesh["data_parallel"])

    def forward(self, x):
        return self.net(x)

    def training_step(self, x):
        return self(x).square().mean()

    def validation_step(self, x):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)


def fit_shards(strategy, shards, **options):
    x = torch.randn(sum(shards), 5, generator=torch.Generator().manual_seed(0))
    watch = InvertibilityCallback(**options)
    settings = {"max_epochs": 2, "use_distributed_sampler": False, "callbacks": [watch]}
    if strategy == "fsdp2":
        settings["strategy"] = ModelParallelStrategy()
    trainer = quiet_trainer(".", **settings) if strategy == "one" else two_processes(**settings)
    trainer.fit(Net(strategy), DataLoader(x[:4], 2), DataLoader(Shard(x, shards), 4))
    return {**scalars(trainer), "points": watch.observations[0].num_points}


def fit_kept(strategy):
    """Keep the first epoch; return what is found of it."""
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    keep = ModelCheckpoint(
        f"kept {strategy}", "best", monitor="invertibility/forward/nonfinite_fraction"
    )
    watch = InvertibilityCallback(num_points=8, on_error="raise")
    settings = {"max_epochs": 2, "callbacks": [watch, keep], "enable_checkpointing": True}
    if strategy == "fsdp2":
        settings["strategy"] = ModelParallelStrategy()
    module = Net(strategy)
    module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), 0.1)
    two_processes(**settings).fit(module, DataLoader(x, 2), DataLoader(x, 4))
    return [observation.outputs.tolist() for observation in watch.kept_observations]


def fit_pair():
    """Watch everything there is to find of a pair, and stop on it."""
    watch = InvertibilityCallback(num_points=32, reachable_steps=5)
    stop = ConditioningEarlyStopping(stopping_threshold=16.0, patience=2)
    trainer = two_processes(max_epochs=5, callbacks=[watch, stop])
    trainer.fit(pair(), datamodule=Known())
    forward = watch.observations[0]
    return {
        "logged": {k: v for k, v in scalars(trainer).items() if "invertib" in k},
        "epochs": trainer.current_epoch,
        "points": forward.num_points,
        "error": forward.findings["truth"].error.tolist(),
        "distance": forward.findings["reach"].distance.tolist(),
    }


def fit_failing(where, on_error):
    """Fail in one process, at a batch or at a look; return the looks, or the error."""

    def breaks(here):
        return here == where and trainer.global_rank == 1 and not trainer.sanity_checking

    def take(batch):
        if breaks("batch"):
            raise ValueError("a broken batch")
        return batch[0]

    def forward(x):
        if breaks("look"):
            raise ValueError("a broken look")
        return module(x)

    module = Foreign()
    watch = InvertibilityCallback({"f": {"module": forward, "input": take}}, on_error=on_error)
    trainer = two_processes(max_epochs=2, callbacks=[watch])
    try:
        trainer.fit(module, loader(), loader())
    except RuntimeError as error:
        return str(error)
    return [look["epoch"] for look in watch.history.get("f", [])]


class Rows(Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch >= 2:
            self.seen.append(batch[0].tolist())


def fit_again(resume=None):
    """Fit a pair, from its beginning or from a checkpoint."""
    rows = Rows()
    saved = ModelCheckpoint("checkpoints", "{epoch}", save_top_k=-1, every_n_epochs=1)
    callbacks = [InvertibilityCallback(), rows, saved]
    trainer = two_processes(max_epochs=4, callbacks=callbacks, enable_checkpointing=True)
    module = pair()
    trainer.fit(module, datamodule=Smooth(batch_size=16), ckpt_path=resume)
    return scalars(trainer), [p.flatten().tolist() for p in module.parameters()], rows.seen


def everything(strategy):
    found = {"shards": {n: fit_shards(strategy, shards, **o) for n, (shards, o) in SHARDS.items()}}
    found["kept"] = fit_kept(strategy)
    if strategy == "fsdp2":
        try:
            fit_shards(strategy, (20, 20), precision="float64", on_error="raise")
        except RuntimeError as error:
            found["float64"] = str(error)
        return found
    found["pair"] = fit_pair()
    whole, resumed = fit_again(), fit_again("checkpoints/epoch=1.ckpt")
    found["resumed"] = [a == b for a, b in zip(whole, resumed, strict=True)]
    found["rows"] = whole[2]
    found["failures"] = {
        f"{where}, {on_error}": fit_failing(where, on_error)
        for on_error in ("warn", "raise")
        for where in ("batch", "look")
    }
    return found


def main(strategy):
    found = everything(strategy)
    Path(f"rank{torch.distributed.get_rank()}.json").write_text(json.dumps(found))
    # Else the threads of gloo may still run when the process ends, and abort it.
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
