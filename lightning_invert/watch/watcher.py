"""Watching: begin a sample, offer it batches, look at all maps at the points that it kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor, nn

from lightning_invert.jacobians.thresholds import Thresholds
from lightning_invert.watch.isolation import isolated
from lightning_invert.watch.maps import WatchedMap, resolve_maps
from lightning_invert.watch.observation import Observation, Precision, Scale, observe
from lightning_invert.watch.sampling import StreamSample

__all__ = ["Gather", "Watcher"]

Gather: TypeAlias = Callable[[Any], Sequence[Any]]
"""Returns what every process passed to it, in the same order on each."""


class Watcher:
    r"""Watch the maps of a module at a sample of the batches that pass by.

    It knows nothing of Lightning: whoever runs the module says when an epoch begins (``begin``),
    hands over its batches (``offer``) and asks what is to be seen at a sample of their points
    (``look``). Nothing of that leaves a trace in the module or in the random streams.

    Args:
        maps: What to watch, see :func:`~lightning_invert.watch.maps.resolve_maps`.
        num_points: Points for each map and look, over all processes together.
        thresholds: By default those of :class:`~lightning_invert.Thresholds`.
        scale: In what units, see :func:`~lightning_invert.watch.observation.observe`.
        precision: Likewise.
        seed: Seed of the sample.
        sampling: ``"reservoir"``: a uniform sample, fresh in every look. ``"fixed"``: the same
            in every look. ``"first"``: the first points.
        dataloaders: Of several dataloaders: ``"merged"`` or ``"separate"``.

    Example:
        >>> net = nn.Sequential(nn.Linear(7, 4), nn.Tanh())
        >>> watcher = Watcher(num_points=50)
        >>> watcher.begin(net)
        >>> for batch in torch.randn(10, 20, 7):
        ...     watcher.offer(batch)
        >>> (found,) = watcher.look()
        >>> found.name, found.num_points, found.shape
        ('forward', 50, (4, 7))
    """

    def __init__(
        self,
        maps: Mapping[str, Any] | None = None,
        *,
        num_points: int = 256,
        thresholds: Thresholds | None = None,
        scale: Scale | None = None,
        precision: Precision = "native",
        seed: int = 42,
        sampling: Literal["reservoir", "fixed", "first"] = "reservoir",
        dataloaders: Literal["merged", "separate"] = "merged",
    ) -> None:
        self.maps = maps
        self.num_points = num_points
        self.thresholds = thresholds or Thresholds()
        self.scale = scale
        self.precision = precision
        self.seed = seed
        self.sampling = sampling
        self.dataloaders = dataloaders
        self.seconds_offering = 0.0
        """What taking batches in has cost since ``begin``."""
        self._root: nn.Module = nn.Module()
        self._watched: list[WatchedMap] = []
        self._samples: list[StreamSample] = []
        self._gather: Gather | None = None
        self._failure: Exception | None = None
        self._num_outputs: dict[str, int] = {}
        """Of maps that were looked at before: m, and whether points mix, is asked once."""
        self._said_fewer = self._said_nonfinite = False

    @property
    def names(self) -> list[str]:
        """The maps that are watched."""
        return [watched.name for watched in self._watched]

    @property
    def warm(self) -> bool:
        """Whether there was a look before: the first has more to do than those that follow."""
        return bool(self._num_outputs)

    def resolve(self, root: nn.Module) -> None:
        """Find the maps.

        Args:
            root: The module whose they are.

        Raises:
            ValueError: If a map is not found.
        """
        self._root, self._watched = root, resolve_maps(self.maps, root)

    def forget(self) -> None:
        """Take each map for one that was never looked at."""
        self._num_outputs = {}

    def begin(
        self,
        root: nn.Module,
        *,
        dataloaders: int = 1,
        when: tuple[int, ...] = (),
        process: int = 0,
        gather: Gather | None = None,
    ) -> None:
        """Begin a sample.

        Args:
            root: The module whose maps are watched.
            dataloaders: How many there are.
            when: Numbers that differ from look to look: what a reservoir's seed is made of.
            process: The number of this process.
            gather: How several processes talk with each other; ``None``: there is one. All have to
                call ``begin`` and ``look`` then, though not ``offer``.
        """
        self.resolve(root)
        self.seconds_offering, self._failure, self._gather = 0.0, None, gather
        # Each process and dataloader draws keys of its own; and each look fresh ones.
        fresh = when if self.sampling == "reservoir" else ()
        seeds = np.random.SeedSequence((self.seed, *fresh, process)).generate_state(
            dataloaders if self.dataloaders == "separate" else 1
        )
        first = self.sampling == "first"
        self._samples = [StreamSample(self.num_points, seed=int(s), first=first) for s in seeds]

    def offer(self, batch: Any, dataloader: int = 0) -> None:
        """Offer the points of a batch to the sample, if one was begun.

        Of several processes, what fails in one is raised by all of them when they ``look``.

        Args:
            batch: What each map's ``input`` is taken from.
            dataloader: Which of the dataloaders it comes from.

        Raises:
            Exception: Whatever taking a map's input out of the batch raises.
        """
        if not self._samples or self._failure is not None:
            return
        begun = time.monotonic()
        sample = self._samples[dataloader if self.dataloaders == "separate" else 0]
        try:
            sample.add({watched.name: watched.select(batch) for watched in self._watched})
        except Exception as error:
            if self._gather is None:
                raise
            self._failure = error
        self.seconds_offering += time.monotonic() - begun

    def look(self, device: torch.device | str | None = None) -> list[Observation]:
        """Look at all maps at the points that were kept, and end the sample.

        Args:
            device: Where the maps are; by default where the points are.

        Returns:
            An observation for each map, and for each dataloader if they are watched separately;
            nothing if no sample was begun.

        Raises:
            Exception: Whatever a map raises; of several processes, all raise if one does.
        """
        samples, self._samples = self._samples, []
        found: list[Observation] = []
        if samples:
            with self._together(), isolated(self._root):
                for number, sample in enumerate(samples):
                    part = f"dataloader_{number}" if len(samples) > 1 else ""
                    found += self._look_at(sample, part, device)
        return found

    def _look_at(
        self, sample: StreamSample, part: str, device: torch.device | str | None
    ) -> list[Observation]:
        if self._gather is not None:
            # Every process looks at all points of the common sample: it is small, and processes that
            # share a module's weights (FSDP) have to call it equally often.
            sample.merge(self._gather)
        if len(sample) == 0:
            where = f" of {part}" if part else ""
            rank_zero_warn(
                f"InvertibilityCallback saw no points{where} in this epoch: nothing is logged."
            )
            return []
        rows = sample.rows()
        return [
            self._observe(watched, rows[watched.name].to(device), part) for watched in self._watched
        ]

    def _observe(self, watched: WatchedMap, x: Tensor, part: str) -> Observation:
        try:
            found = observe(
                watched,
                x,
                thresholds=self.thresholds,
                scale=self.scale,
                precision=self.precision,
                num_outputs=self._num_outputs.get(watched.name),
                check=watched.name not in self._num_outputs,
                part=part,
            )
        except (TypeError, ValueError) as why:
            problem = f"InvertibilityCallback cannot watch map {watched.name!r}: {why}"
            raise type(why)(problem) from why
        self._num_outputs[watched.name] = found.shape[0]
        self._say(found)
        return found

    def _say(self, found: Observation) -> None:
        share = found.scalars["nonfinite_fraction"]
        if share > 0 and not self._said_nonfinite:
            self._said_nonfinite = True
            rank_zero_warn(
                f"The Jacobian of map {found.name!r} has a NaN or inf at {share:.1%} of the watched "
                "points. They are counted in `nonfinite_fraction` and left out of the rest; this "
                "is said once."
            )

    def say_fewer(self, found: Sequence[Observation]) -> None:
        """Say once that there are fewer points than were asked for."""
        fewer = [one for one in found if one.num_points < self.num_points]
        if fewer and not self._said_fewer:
            self._said_fewer = True
            rank_zero_info(
                f"InvertibilityCallback watches {fewer[0].num_points} points, all that there are, "
                f"and not the {self.num_points} it was asked for."
            )

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Fail in every process if one fails: those left alone would wait for it without end."""
        self._agree(self._failure)
        failure = None
        try:
            yield
        except Exception as error:
            if self._gather is None:
                raise
            failure = error
        self._agree(failure)

    def _agree(self, failure: Exception | None) -> None:
        if self._gather is not None:
            failures = self._gather(failure and f"{type(failure).__name__}: {failure}")
            others = [(process, text) for process, text in enumerate(failures) if text]
            if others and failure is None:
                process, text = others[0]
                raise RuntimeError(f"InvertibilityCallback failed in process {process}: {text}")
        if failure is not None:
            raise failure
