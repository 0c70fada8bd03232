"""Splits, statistics, loaders and the order of (x, y) pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lightning_invert.arguments import (
    check_integer,
    check_number,
    describe_repetitions,
    expected_but_got,
)
from lightning_invert.conditions import filled, read_conditions
from lightning_invert.devices import making_tensors_on_cpu
from lightning_invert.variables import (
    ColumnStatistics,
    Variable,
    by_column,
    check_rounding,
    read_levels,
)

__all__ = ["PairDataModule", "PairDataset", "SeededShuffle", "ShuffledLoader", "Statistics"]

SPLIT = 42
"""The split and the order of the rows draw from the seed plus this: points draw from the seed."""

FIELDS, EXAMPLE = ("low", "high", "levels", "matters_if"), "{'valve': {'levels': [0, 1]}}"


def batch_size_of(num_rows: int) -> int:
    """Return a 40th of the training rows, as the nearest power of 2 from 16 to 512."""
    return 1 << min(9, max(4, round(math.log2(num_rows / 40))))


class Statistics(NamedTuple):
    """Mean and standard deviation of the training split's columns, float64: x (n,) and y (m,).

    Standard deviations are positive, with Bessel's correction.
    """

    input_mean: Tensor
    input_std: Tensor
    output_mean: Tensor
    output_std: Tensor


class PairDataset(Dataset[tuple[Tensor, Tensor]]):
    """Hold pairs in two tensors, (N, n) and (N, m): a whole batch is one index operation."""

    def __init__(self, inputs: Tensor, outputs: Tensor) -> None:
        self.inputs = inputs
        self.outputs = outputs

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.inputs[index], self.outputs[index]

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return a collated batch; torch's loader calls this with all indices of a batch."""
        chosen = torch.as_tensor(indices, device=self.inputs.device)
        return self.inputs[chosen], self.outputs[chosen]


class SeededShuffle(Sampler[int]):
    """Shuffle the rows of each epoch; the order depends on the seed and the epoch alone.

    Lightning sets the epoch. Without :meth:`set_epoch`, each iteration counts as an epoch.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self.epoch = 0
        self._counts_iterations = True

    def __len__(self) -> int:
        return self.size

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose order the next iterations have."""
        self.epoch, self._counts_iterations = epoch, False

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self.seed % 2**64, self.epoch)).permutation(self.size)
        self.epoch += self._counts_iterations
        return iter(order.tolist())


class ShuffledLoader(DataLoader[Tensor]):
    """A ``DataLoader`` that fetches nothing before its first batch is wanted.

    A resumed fit asks for an iterator before it sets the epoch, and workers would fetch the rows of
    another epoch.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        yield from super().__iter__()


def described(
    inputs: Sequence[Variable], known: Mapping[str, Mapping[str, Any]] | None
) -> tuple[Variable, ...]:
    """Return variables with the fields that are known besides, name -> {field: value}."""
    if not isinstance(known or {}, Mapping):
        raise TypeError(expected_but_got("variables", f"a mapping, {EXAMPLE}", known))
    read = list(inputs)
    for place, about in by_column("variables", known or {}, inputs).items():
        whose = f"of {inputs[place].name!r}"
        if not isinstance(about, Mapping) or not set(about) <= {*FIELDS}:
            what = f"a mapping of {', '.join(FIELDS)}, as in {EXAMPLE}"
            raise TypeError(expected_but_got(f"variables {whose}", what, about))
        for end in ("low", "high"):
            if about.get(end) is not None:
                check_number(f"{end} {whose}", about[end])
        fields: dict[str, Any] = {**about}
        fields |= {k: tuple(v) for k, v in about.items() if isinstance(v, list)}
        read[place] = read[place]._replace(**fields)
        read_levels(read[place])
    read_conditions(read)
    return tuple(read)


def _unchanged(batch: Any) -> Any:
    return batch


class PairDataModule(LightningDataModule):
    """Load pairs (x, y), split them by seed, and compute the training split's statistics.

    A subclass names its columns in ``inputs`` and ``outputs`` and returns the rows from ``load``.
    Batches are in physical units. A module with ``takes_float64 = True``, such as
    ``ForwardInverseModule``, gets float64 and standardises it, so that time stamps keep their seconds. Any
    other module gets torch's default dtype; a column that loses its content there is an error.

    Args:
        batch_size: Rows of a training batch. ``None``: a 40th of the training rows, rounded to a power
            of 2 from 16 to 512.
        eval_batch_size: Rows of a batch in validation, test and prediction.
        val_fraction: Share of the rows held out for validation, in (0, 1).
        test_fraction: Share of the rows held out for the test, in [0, 1 - val_fraction).
        seed: Seed of the split and of the order of the training rows: the same seed always gives the same
            split and, epoch by epoch, the same order, also in a resumed fit.
        num_workers: Worker processes of each loader. The rows are in memory, so 0 is fastest for all but
            very large batches.
        constraints: Constraints between settings, kept by a pair: name -> weights of a sum and its ends,
            such as ``{"fuel": {"coal": 1, "gas": 1, "high": 200}}``.
        variables: What else is known of settings: name -> ``low``, ``high``, ``levels`` and
            ``matters_if`` of a :class:`~lightning_invert.Variable`, such as
            ``{"valve": {"levels": [0, 1]}}``.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.
    """

    inputs: Sequence[Variable]
    outputs: Sequence[Variable]

    def __init__(
        self,
        *,
        batch_size: int | None = None,
        eval_batch_size: int = 1024,
        val_fraction: float = 0.2,
        test_fraction: float = 0.0,
        seed: int = 0,
        num_workers: int = 0,
        constraints: dict[str, dict[str, float]] | None = None,
        variables: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        if batch_size is not None:
            self.batch_size = check_integer("batch_size", batch_size, low=1, what="or None")
        self.eval_batch_size = check_integer("eval_batch_size", eval_batch_size, low=1)
        self.val_fraction = check_number(
            "val_fraction", val_fraction, low=0.0, high=1.0, open_low=True, open_high=True
        )
        self.test_fraction = check_number(
            "test_fraction",
            test_fraction,
            low=0.0,
            high=1.0 - self.val_fraction,
            open_high=True,
            what=f"that leaves rows to train on beside val_fraction={val_fraction}",
        )
        self.seed = check_integer("seed", seed, low=0)
        self.num_workers = check_integer("num_workers", num_workers, low=0)
        self.constraints = constraints
        self.variables = variables
        self._splits: dict[str, PairDataset] | None = None
        self._statistics: Statistics | None = None

    def load(self) -> tuple[Tensor, Tensor]:
        """Return all rows in physical units, float64: x of shape (N, n), y of shape (N, m).

        An input may be NaN where it does not matter: it counts as the mean.
        """
        raise NotImplementedError(
            f"{type(self).__name__} defines no `load`: return the rows there, x (N, n) and y (N, m)."
        )

    @property
    def source(self) -> str:
        """Name of the place that the rows come from, for error messages."""
        return type(self).__name__

    @property
    def statistics(self) -> Statistics:
        """Mean and standard deviation of the training split's columns."""
        self.setup()
        assert self._statistics is not None
        return self._statistics

    @making_tensors_on_cpu()
    def setup(self, stage: str | None = None) -> None:
        """Load the rows and split them, once."""
        if self._splits is not None:
            return
        for side in ("inputs", "outputs"):
            if again := describe_repetitions([v.name for v in getattr(self, side)]):
                raise ValueError(
                    f"Expected `{side}` of {type(self).__name__} to name each column once, but got "
                    f"{again}."
                )
        x, y = self.load()
        self.inputs = described(self.inputs, self.variables)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(self.seed + SPLIT))
        num_val = round(self.val_fraction * len(x))
        num_test = round(self.test_fraction * len(x))
        val, test, train = order.tensor_split((num_val, num_val + num_test))
        if len(train) < 2 or len(val) < 1 or (self.test_fraction > 0 and len(test) < 1):
            raise ValueError(
                f"Expected {self.source} to hold enough rows for a training split of at least 2 "
                f"and a row in each other split, but {len(x)} rows give {len(train)} to train on, "
                f"{len(val)} for validation and {len(test)} for the test."
            )
        x, y = x.double(), y.double()
        x = filled(x, self.inputs, x[train].nanmean(0))
        moments: list[Tensor] = []
        for rows, variables in ((x[train], self.inputs), (y[train], self.outputs)):
            columns = ColumnStatistics()
            columns.add(rows)
            columns.check(variables, f"of {self.source}")
            moments += [columns.mean, columns.std]
        self._statistics = Statistics(*moments)
        self._splits = {
            "train": PairDataset(x[train], y[train]),
            "val": PairDataset(x[val], y[val]),
            "test": PairDataset(x[test], y[test]),
            "predict": PairDataset(x, y),
        }

    def _loader(
        self, split: str, *, batch_size: int | None, shuffle: bool = False
    ) -> DataLoader[Tensor]:
        rows: Any = self._rows(split)  # its items are batches
        options: dict[str, Any] = {
            "batch_size": batch_size or batch_size_of(len(rows)),
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "collate_fn": _unchanged,
            # Without it, each iteration draws from the stream that dropout draws from.
            "generator": torch.Generator(torch.get_default_device()).manual_seed(self.seed + SPLIT),
        }
        if shuffle:
            return ShuffledLoader(
                rows, sampler=SeededShuffle(len(rows), self.seed + SPLIT), **options
            )
        return DataLoader(rows, **options)

    def _rows(self, split: str) -> PairDataset:
        self.setup()
        assert self._splits is not None
        rows = self._splits[split]
        module = getattr(self.trainer, "lightning_module", None)
        dtype = torch.get_default_dtype()
        if dtype == torch.float64 or getattr(module, "takes_float64", False):
            return rows
        statistics = self.statistics
        check_rounding(self.inputs, statistics.input_mean, statistics.input_std, dtype)
        check_rounding(self.outputs, statistics.output_mean, statistics.output_std, dtype)
        return PairDataset(rows.inputs.to(dtype), rows.outputs.to(dtype))

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move a batch to the device, unless it is a tuple of tensors that are on it."""
        if device.type == "mps" and isinstance(batch, tuple):
            batch = tuple(part.float() for part in batch)  # MPS has no float64
        on_device = isinstance(batch, tuple) and all(
            isinstance(part, Tensor) and part.device == device for part in batch
        )
        if on_device:
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Return shuffled batches of the training split."""
        return self._loader("train", batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Tensor]:
        """Return the validation split."""
        return self._loader("val", batch_size=self.eval_batch_size)

    def test_dataloader(self) -> DataLoader[Tensor]:
        """Return the test split. It raises ``ValueError`` if no rows were held out for it."""
        if self.test_fraction == 0:
            raise ValueError(
                f"Expected argument `test_fraction` of {type(self).__name__} to be positive for a "
                "test, but it is 0: no rows were held out."
            )
        return self._loader("test", batch_size=self.eval_batch_size)

    def predict_dataloader(self) -> DataLoader[Tensor]:
        """Return all rows in the order of ``load``."""
        return self._loader("predict", batch_size=self.eval_batch_size)
