"""What is told of the next validation, held against what Lightning does."""

from itertools import product

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lightning_invert.callbacks.validations import batches_to_validation, is_last_validation
from tests.projects import quiet_trainer


class Counting(LightningModule):
    """Steps an optimizer automatically, or some by hand in each batch."""

    def __init__(self, by_hand=0, stops_at=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.by_hand, self.stops_at = by_hand, stops_at
        self.automatic_optimization = by_hand == 0

    def training_step(self, batch, batch_idx):
        if self.stops_at == (self.current_epoch, batch_idx):
            self.trainer.should_stop = True
        if self.automatic_optimization:
            return self.weight.sum()
        optimizers = self.optimizers()
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            optimizer.step()

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return [torch.optim.SGD(self.parameters(), 0.1) for _ in range(max(self.by_hand, 1))]


class Stream(IterableDataset):
    def __iter__(self):
        yield from torch.zeros(7, 1)


class Foretold(Callback):
    """Keeps what is foretold at the start and at each validation, and when they come."""

    def __init__(self):
        self.next, self.came, self.last = [], [], []

    def on_train_start(self, trainer, pl_module):
        self.next.append(batches_to_validation(trainer))
        self.never = is_last_validation(trainer)

    def on_validation_start(self, trainer, pl_module):
        done = trainer.fit_loop.total_batch_idx + 1
        self.came.append(done)
        self.next.append(done + batches_to_validation(trainer))
        self.last.append(is_last_validation(trainer))


def foretold(folder, *, stream=False, by_hand=0, stops_at=None, **options):
    """Fit seven batches an epoch, and return what was foretold."""
    watch = Foretold()
    data = DataLoader(Stream() if stream else TensorDataset(torch.zeros(7, 1)))
    trainer = quiet_trainer(folder, callbacks=[watch], num_sanity_val_steps=0, **options)
    trainer.fit(Counting(by_hand, stops_at), data, DataLoader(torch.zeros(1, 1)))
    return watch


ENDS = [
    {"max_epochs": 3},
    {"max_epochs": -1, "max_steps": 9},
    {"max_epochs": 3, "max_steps": 16},
]
WHEN = [
    *product([1, 2], [1.0, 3, 5]),  # every so many epochs, at these batches
    (1, 0.5),
    *product([None], [2, 3, 10]),
]
HOW = [
    {},
    {"accumulate_grad_batches": 2},
    {"accumulate_grad_batches": 3, "limit_train_batches": 5},
    {"by_hand": 1},
    {"by_hand": 2},
    {"stream": True},
    {"stream": True, "limit_train_batches": 5},
]


@pytest.mark.parametrize(("every", "interval"), WHEN, ids=str)
def test_the_last_validation_is_foreseen_and_no_other(tmp_path, every, interval):
    for how, end in product(HOW, ENDS):
        limit = how.get("limit_train_batches", 7)
        if (every is not None and interval > limit) or ("stream" in how and interval == 0.5):
            continue  # refused by Lightning
        times = {"check_val_every_n_epoch": every, "val_check_interval": interval}
        watch = foretold(tmp_path, **times, **how, **end)
        case = f"{how} {end}"
        *earlier, last = watch.last or [True]
        assert not any(earlier), case
        # How long the first epoch of a stream is, nobody knows before its end.
        is_sized = "stream" not in how or "limit_train_batches" in how
        assert last or not (is_sized or watch.came[-1] >= 7), case
        if is_sized:
            assert watch.never is (not watch.came and "by_hand" not in how), case
            assert watch.next[: len(watch.came)] == watch.came, case


@pytest.mark.parametrize(
    ("stops_at", "options", "came"),
    [
        # As `max_time` does it, between two batches; and before the fit may end.
        ((1, 3), {}, [7, 11]),
        ((1, 3), {"val_check_interval": 2}, [2, 4, 6, 9, 11]),
        ((0, 2), {"min_epochs": 3}, [7, 14, 21]),
        ((0, 1), {"min_steps": 10, "val_check_interval": 3}, [3, 6, 10]),
    ],
    ids=str,
)
def test_who_has_asked_to_stop_gets_one_last_look(tmp_path, stops_at, options, came):
    watch = foretold(tmp_path, stops_at=stops_at, max_epochs=9, **options)
    assert watch.came == came
    assert watch.last == [done == came[-1] for done in came]
