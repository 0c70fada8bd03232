"""What is kept of all points that pass: exact shares, and a sample for the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lightning_invert.jacobians.thresholds import Thresholds
from lightning_invert.sampling import StreamSample
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.scalars import SCALARS

__all__ = ["Tally"]

MAX_KEPT = 2**18
"""So many points are kept for quantiles and figures: of more, a uniform sample."""

MAX_NUMBERS_KEPT = 2**26


class Tally:
    """Put observations of the same map together.

    Args:
        thresholds: With which they were made.
        seed: Of the sample that is kept of more than 262 144 points.
    """

    def __init__(self, thresholds: Thresholds, seed: int) -> None:
        self._thresholds = thresholds
        self._seed = seed
        self._total = self._finite = 0
        self._last: Observation | None = None
        self._sums: dict[str, tuple[float, int]] = {}
        """Of each scalar that is pooled: sum and count of its quantity over all points."""
        self._sample: StreamSample | None = None
        self._squares: list[Tensor] | None = None

    @property
    def num_outputs(self) -> int | None:
        """How many outputs the map has, once that is known."""
        return None if self._last is None else self._last.shape[0]

    def add(self, one: Observation) -> None:
        """Take an observation in."""
        sigma = one.singular_values
        if self._sample is None:
            numbers = one.inputs[:1].numel() + one.outputs[:1].numel() + sigma.shape[1]
            size = min(MAX_KEPT, MAX_NUMBERS_KEPT // numbers)
            self._sample = StreamSample(size, seed=self._seed)
        order = torch.arange(self._total, self._total + len(sigma))
        rows = {"order": order, "inputs": one.inputs, "outputs": one.outputs, "sigma": sigma}
        for held in (one.probes, one.truth, one.members, one.round_trip):
            known = {} if held is None else held._asdict()
            rows |= {_row(held, k): v for k, v in known.items() if isinstance(v, Tensor)}
        self._sample.add(rows)
        finite = int(sigma.isfinite().all(1).sum())
        quantities = one.quantities()
        for row in SCALARS.values():
            if row.pooled and row.quantity in quantities:
                total, count = self._sums.get(row.name, (0.0, 0))
                more, points = row.sum_of(quantities[row.quantity])
                self._sums[row.name] = (total + more, count + points)
        if one.weakest is not None:
            ends = (one.weakest.inputs, one.weakest.outputs)
            squares = [part.double().square().nan_to_num(0.0).sum(0) for part in ends]
            before = self._squares or [torch.zeros(()), torch.zeros(())]
            self._squares = [old + new for old, new in zip(before, squares, strict=True)]
        self._total += len(sigma)
        self._finite += finite
        self._last = one

    def kept(self) -> Observation:
        """Return the points that were kept, in the order in which they came, with the summary.

        Shares and means are of all points, quantiles of those that were kept.
        """
        assert self._last is not None
        assert self._sample is not None
        rows, last = self._sample.rows(), self._last
        order = rows["order"].argsort()
        found = Observation.of(
            rows["sigma"][order],
            inputs=rows["inputs"][order],
            outputs=rows["outputs"][order],
            name=last.name,
            shape=last.shape,
            thresholds=self._thresholds,
            condition_limit=last.condition_limit,
            probes=self._held(last.probes, order),
            truth=self._held(last.truth, order),
            members=self._held(last.members, order),
            input_names=last.input_names,
            output_names=last.output_names,
            scale=last.scale,
            round_trip=self._held(last.round_trip, order),
        )
        scalars = dict(found.scalars)
        for name, (total, count) in self._sums.items():
            scalars |= SCALARS[name].of_sum(total, count)
        return replace(found, num_points=self._total, scalars=scalars)

    def _held(self, last: Any, order: Tensor) -> Any:
        """Return what is known of the points that were kept beside their singular values."""
        assert self._sample is not None
        if last is None:
            return None
        rows = self._sample.rows()
        return type(last)(
            *(rows.get(_row(last, name), value) for name, value in last._asdict().items())
        ).at(order)

    def weakest(self) -> tuple[dict[str, float] | None, dict[str, float] | None]:
        """Return the share of each input, and of each output, in the weakest direction."""
        if self._squares is None or self._last is None:
            return None, None
        x, y = (squares / max(1, self._finite) for squares in self._squares)
        return (
            dict(zip(self._last.input_names, x.tolist(), strict=True)),
            dict(zip(self._last.output_names, y.tolist(), strict=True)),
        )


def _row(held: Any, name: str) -> str:
    """Return under which name a tensor of one of an observation's tuples is sampled."""
    return f"{type(held).__name__}.{name}"
