"""Pool the observations of pieces of the points into one of all points."""

from __future__ import annotations

from dataclasses import replace

import torch

from lightning_invert.sampling import StreamSample
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.scalars import SCALARS

__all__ = ["Tally"]

SEED = 42
"""Seed of the kept sample."""

MAX_KEPT = 2**18
"""Points kept for quantiles and figures; of more points, a uniform sample of this size."""

MAX_NUMBERS_KEPT = 2**26
"""Bound on the numbers of the kept points: 512 MiB in float64. Wide maps keep fewer points."""


class Tally:
    """Pool observations of one map: means over all points, quantiles over a sample of 262 144."""

    def __init__(self) -> None:
        self._total = 0
        self._last: Observation | None = None
        self._sample: StreamSample | None = None
        self._sums: dict[str, tuple[float, int]] = {}
        """Sum and count of the quantity of each pooled scalar, over all points."""

    @property
    def num_outputs(self) -> int | None:
        """The number of outputs of the map; None before the first piece."""
        return None if self._last is None else self._last.shape[0]

    @property
    def arithmetic(self) -> torch.dtype | None:
        """The coarsest dtype that computes in the map; None before the first piece."""
        return None if self._last is None else self._last.arithmetic

    def add(self, observation: Observation) -> None:
        """Add the observation of a piece."""
        sigma = observation.singular_values
        rows = {"inputs": observation.inputs, "outputs": observation.outputs, "sigma": sigma}
        for key, finding in observation.findings.items():
            rows |= {f"{key}/{name}": tensor for name, tensor in finding.rows().items()}
        if self._sample is None:
            numbers = sum(tensor[:1].numel() for tensor in rows.values())
            self._sample = StreamSample(min(MAX_KEPT, MAX_NUMBERS_KEPT // numbers), seed=SEED)
        order = torch.arange(self._total, self._total + len(sigma))
        self._sample.add({"order": order, **rows})
        quantities = observation.quantities()
        for row in SCALARS.values():
            if row.pooled and row.quantity in quantities:
                total, count = self._sums.get(row.name, (0.0, 0))
                more, points = row.sum_of(quantities[row.quantity])
                self._sums[row.name] = (total + more, count + points)
        self._total += len(sigma)
        self._last = observation

    def observation(self) -> Observation:
        """Return the observation of all points; its tensors hold the kept points in their order."""
        assert self._last is not None
        assert self._sample is not None
        last, sample = self._last, self._sample.rows()
        order = sample["order"].argsort()
        rows = {name: tensor[order] for name, tensor in sample.items()}
        observation = last.at_rows(
            rows["sigma"],
            rows["inputs"],
            rows["outputs"],
            [
                finding.with_rows({name: rows[f"{key}/{name}"] for name in finding.rows()})
                for key, finding in last.findings.items()
            ],
        )
        scalars = dict(observation.scalars)
        for name, (total, count) in self._sums.items():
            scalars |= SCALARS[name].of_sum(total, count)
        return replace(observation, num_points=self._total, scalars=scalars)
