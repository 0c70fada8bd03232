"""A map's observation at all points that pass, from observations of pieces of them."""

from __future__ import annotations

from dataclasses import replace

import torch

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

    Scalars that are means are of all points, quantiles of a sample of at most 262 144. ``seed`` is
    that of the sample.
    """

    def __init__(self, thresholds: Thresholds, seed: int) -> None:
        self._thresholds = thresholds
        self._seed = seed
        self._total = 0
        self._last: Observation | None = None
        self._sample: StreamSample | None = None
        self._sums: dict[str, tuple[float, int]] = {}
        """Of each scalar that is pooled: sum and count of its quantity over all points."""

    @property
    def num_outputs(self) -> int | None:
        """How many outputs the map has, once that is known."""
        return None if self._last is None else self._last.shape[0]

    def add(self, observation: Observation) -> None:
        """Take an observation in."""
        sigma = observation.singular_values
        rows = {"inputs": observation.inputs, "outputs": observation.outputs, "sigma": sigma}
        for key, finding in observation.findings.items():
            rows |= {f"{key}/{name}": tensor for name, tensor in finding.rows().items()}
        if self._sample is None:
            numbers = sum(tensor[:1].numel() for tensor in rows.values())
            self._sample = StreamSample(min(MAX_KEPT, MAX_NUMBERS_KEPT // numbers), seed=self._seed)
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
        """Return the observation of all points, with those that were kept in their order."""
        assert self._last is not None
        assert self._sample is not None
        last, kept = self._last, self._sample.rows()
        order = kept["order"].argsort()
        rows = {name: tensor[order] for name, tensor in kept.items()}
        observation = Observation.of(
            rows["sigma"],
            inputs=rows["inputs"],
            outputs=rows["outputs"],
            name=last.name,
            shape=last.shape,
            thresholds=self._thresholds,
            condition_limit=last.condition_limit,
            findings=[
                finding.with_rows({name: rows[f"{key}/{name}"] for name in finding.rows()})
                for key, finding in last.findings.items()
            ],
            input_names=last.input_names,
            output_names=last.output_names,
            scale=last.scale,
        )
        scalars = dict(observation.scalars)
        for name, (total, count) in self._sums.items():
            scalars |= SCALARS[name].of_sum(total, count)
        return replace(observation, num_points=self._total, scalars=scalars)
