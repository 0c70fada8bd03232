"""Several processes: the summary is of all their points, the same on each, and that of one."""

import pytest
import torch

from tests.scripts import json_result, run_script, run_script_here

needs_fsdp2 = pytest.mark.skipif(
    not hasattr(torch.cpu.Stream, "record_event"),
    reason="this torch's FSDP2 asks the CPU for what it has not",
)

PROJECT = """
    import json, sys
    from pathlib import Path
    import torch
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.strategies import ModelParallelStrategy
    from torch import nn
    from torch.distributed.fsdp import fully_shard
    from torch.utils.data import DataLoader, IterableDataset
    from lightning_invert.callbacks import InvertibilityCallback

    strategy, devices, num_points, *shards = sys.argv[1], *map(int, sys.argv[2:])
    X = torch.randn(sum(shards), 5, generator=torch.Generator().manual_seed(0))

    class Shard(IterableDataset):
        def __iter__(self):
            if torch.distributed.is_initialized():
                yield from X.split(shards)[torch.distributed.get_rank()]
            else:
                yield from X

    class Net(LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(1)
            self.net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))

        def configure_model(self):
            if strategy == "fsdp2":
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

    watch = InvertibilityCallback(num_points=num_points, precision=PRECISION, scale=SCALE)
    trainer = Trainer(
        accelerator="cpu", devices=devices, max_epochs=2, logger=False,
        strategy={"ddp": "ddp", "fsdp2": ModelParallelStrategy(), "one": "auto"}[strategy],
        enable_checkpointing=False, enable_progress_bar=False, use_distributed_sampler=False,
        enable_model_summary=False, callbacks=[watch],
    )
    trainer.fit(Net(), DataLoader(X[:4], 2), DataLoader(Shard(), 4))
    found = {k: v.item() for k, v in trainer.callback_metrics.items()}
    found["points"] = watch.observations[0].num_points
    Path(f"{strategy}{trainer.global_rank}.json").write_text(json.dumps(found))
    if torch.distributed.is_initialized():
        # Else the threads of gloo may still run when the process ends, and abort it.
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", pytest.param("fsdp2", marks=needs_fsdp2)])
@pytest.mark.parametrize(
    ("shards", "num_points", "scale"),
    [
        ((20, 20), 64, None),
        ((30, 7), 64, "standardized"),
        ((24, 0), 64, None),
        ((20, 20), 1, None),
    ],
    ids=["even", "uneven", "a process without points", "a point less than processes"],
)
def test_processes_find_the_same_as_one_on_the_same_points(
    strategy, shards, num_points, scale, tmp_path, monkeypatch
):
    values = {"PRECISION": "native", "SCALE": scale}
    run_script(tmp_path, PROJECT, strategy, 2, num_points, *shards, **values)
    first, second = json_result(tmp_path, f"{strategy}0"), json_result(tmp_path, f"{strategy}1")
    assert first == second
    assert first["points"] == min(num_points, sum(shards))
    if num_points > sum(shards):
        run_script_here(monkeypatch, tmp_path, PROJECT, "one", 1, num_points, *shards, **values)
        assert first == pytest.approx(json_result(tmp_path, "one0"), rel=1e-5)


@pytest.mark.slow
@needs_fsdp2
def test_sharded_weights_in_float64_are_refused_in_words(tmp_path):
    with pytest.raises(AssertionError, match="weights of Net are sharded over processes"):
        run_script(tmp_path, PROJECT, "fsdp2", 2, 64, 20, 20, PRECISION="float64", SCALE=None)


@pytest.mark.slow
def test_two_processes_log_the_same_summary_of_the_points_of_both(tmp_path):
    project = """
        import json
        from pathlib import Path
        import torch
        from lightning.pytorch import Trainer
        from lightning_invert import ForwardInverseModule
        from lightning_invert.callbacks import ConditioningEarlyStopping, InvertibilityCallback
        from tests.projects import Smooth

        watch = InvertibilityCallback(num_points=32)
        stop = ConditioningEarlyStopping(stopping_threshold=16.0, patience=2)
        trainer = Trainer(
            accelerator="cpu", devices=2, strategy="ddp", max_epochs=5, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, callbacks=[watch, stop],
        )
        trainer.fit(ForwardInverseModule(forward_training={"warmup_epochs": 1}), datamodule=Smooth())
        logged = {k: v.item() for k, v in trainer.callback_metrics.items() if "invert" in k}
        logged |= {"points": watch.observations[0].num_points, "epochs": trainer.current_epoch}
        Path(f"rank{trainer.global_rank}.json").write_text(json.dumps(logged))
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    """
    run_script(tmp_path, project)
    first, second = (json_result(tmp_path, f"rank{r}") for r in (0, 1))
    assert first == second
    assert (first["points"], first["epochs"]) == (32, 2)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["batch", "look"])
@pytest.mark.parametrize("on_error", ["warn", "raise"])
def test_processes_decide_alike_where_one_fails(tmp_path, where, on_error):
    project = """
        import json
        from pathlib import Path
        import torch
        from lightning.pytorch import Trainer
        from lightning_invert.callbacks import InvertibilityCallback
        from tests.projects import Foreign, loader

        def breaks(where):
            return WHERE == where and trainer.global_rank == 1 and not trainer.sanity_checking

        def take(batch):
            if breaks("batch"):
                raise ValueError("a broken batch")
            return batch[0]

        def forward(x):
            if breaks("look"):
                raise ValueError("out of memory, say")
            return module(x)

        module = Foreign()
        maps = {"f": {"module": forward, "input": take}}
        watch = InvertibilityCallback(maps, on_error=ON_ERROR)
        trainer = Trainer(
            accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, callbacks=[watch],
        )
        trainer.fit(module, loader(), loader())
        watched = [look["epoch"] for look in watch.history.get("f", [])]
        Path(f"rank{trainer.global_rank}.json").write_text(json.dumps(watched))
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    """
    why = "a broken batch" if where == "batch" else "out of memory, say"
    if on_error == "warn":
        run_script(tmp_path, project, WHERE=where, ON_ERROR=on_error)
        first, second = (json_result(tmp_path, f"rank{r}") for r in (0, 1))
        assert first == second == []
        return
    with pytest.raises(AssertionError, match=rf"in process 1: ValueError: {why}"):
        run_script(tmp_path, project, WHERE=where, ON_ERROR=on_error)


@pytest.mark.slow
def test_two_processes_resume_an_epoch_s_end_to_the_bit(tmp_path):
    project = """
        import json
        from pathlib import Path
        import torch
        from lightning.pytorch import Callback, Trainer
        from lightning.pytorch.callbacks import ModelCheckpoint
        from lightning_invert import ForwardInverseModule, SmoothMLP
        from lightning_invert.callbacks import InvertibilityCallback
        from tests.projects import Smooth

        class Rows(Callback):
            seen = []
            def on_train_batch_start(self, trainer, pl_module, batch, *_):
                if trainer.current_epoch >= 2:
                    self.seen.append(batch[0].tolist())

        def fit(resume=None):
            torch.manual_seed(3)
            rows = Rows()
            rows.seen = []
            saved = ModelCheckpoint(
                "checkpoints", "{epoch}", save_top_k=-1, every_n_epochs=1,
            )
            trainer = Trainer(
                accelerator="cpu", devices=2, strategy="ddp", max_epochs=4, logger=False,
                enable_progress_bar=False, callbacks=[InvertibilityCallback(), rows, saved],
            )
            pair = ForwardInverseModule(SmoothMLP(3, 2), SmoothMLP(2, 3))
            trainer.fit(pair, datamodule=Smooth(batch_size=16), ckpt_path=resume)
            found = {k: v.item() for k, v in sorted(trainer.callback_metrics.items())}
            weights = [p.flatten().tolist() for p in pair.parameters()]
            rank = trainer.global_rank
            return rank, [found, weights, rows.seen]

        rank, whole = fit()
        _, resumed = fit("checkpoints/epoch=1.ckpt")
        same = [a == b for a, b in zip(whole, resumed, strict=True)]
        Path(f"rank{rank}.json").write_text(json.dumps([same, whole[2]]))
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    """
    run_script(tmp_path, project)
    (same, rows), (same_1, rows_1) = (json_result(tmp_path, f"rank{r}") for r in (0, 1))
    assert same == same_1 == [True] * 3
    assert len(rows) == len(rows_1) == 10  # two epochs of 5 steps, of 160 rows in two processes
    assert rows != rows_1
