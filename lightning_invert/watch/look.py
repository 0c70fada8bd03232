"""One look at the maps of a module: take batches, then read what is found at a sample of their points."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from lightning_invert.jacobians.work import Plan
from lightning_invert.sampling import StreamSample
from lightning_invert.watch.advice import advise
from lightning_invert.watch.findings.reach import Reach
from lightning_invert.watch.isolation import isolated
from lightning_invert.watch.maps import MapError, WatchedMap
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.points import Frame, Points
from lightning_invert.watch.roughness import ROUGH
from lightning_invert.watch.voice import Voice, explain, sentence

__all__ = ["Gather", "Look", "Memory"]

Gather: TypeAlias = Callable[[Any], Sequence[Any]]
"""Returns what every process passed to it, in the same order on each."""

Inspect: TypeAlias = Callable[[WatchedMap, Points, Tensor | None, str], Observation]
"""Looks at a map at some points: (map, points, outcomes, dataloader) -> observation."""

Raises: TypeAlias = Literal["all", "lasting", "none"]
"""Which failures are raised: those that would come again, whatever the batch and the machine's state,
are lasting."""

TRANSIENT = (torch.OutOfMemoryError, torch.linalg.LinAlgError, MemoryError)  # type: ignore[attr-defined]
"""Errors that any map may raise now and then."""


class Failure(NamedTuple):
    """Why a map is missing from a look, in what processes can exchange, but for the cause."""

    part: str
    why: str
    kind: str
    is_transient: bool
    cause: BaseException | None


@dataclass
class Memory:
    """What is remembered of a fit's maps from look to look.

    Attributes:
        names: Names of the maps.
        named: Whether the user or the module named them.
        given_up: Whether the default map cannot be watched: then nothing is.
        num_outputs: m of each map that was looked at before.
        plans: How hard to look at each map.
        num_outcomes: At how many points the solver may try to reach the outcome.
        rough: Kind of roughness -> maps, of which the user was not told yet.
    """

    names: list[str] = field(default_factory=list)
    named: bool = False
    given_up: bool = False
    num_outputs: dict[str, int] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    num_outcomes: dict[str, int] = field(default_factory=dict)
    rough: dict[str, list[str]] = field(default_factory=dict)


class Look:
    """Take batches, then look at all maps at a sample of their points.

    :meth:`~lightning_invert.watch.watcher.Watcher.begin` makes it. What fails leaves out its map: it
    is said once, or raised.

    Args:
        root: The module that owns the maps.
        maps: The maps.
        samples: For each dataloader, or for all together: name of a map -> its sample.
        inspect: Looks at one map.
        memory: What is remembered of the fit.
        voice: Tells the user.
        raises: Which failures are raised.
        gather: How several processes exchange values; ``None``: there is one process.
        error: Why the default map was not found.
    """

    def __init__(
        self,
        root: nn.Module,
        maps: Sequence[WatchedMap],
        samples: Sequence[Mapping[str, StreamSample]],
        *,
        inspect: Inspect,
        memory: Memory,
        voice: Voice,
        raises: Raises = "none",
        gather: Gather | None = None,
        error: Exception | None = None,
    ) -> None:
        self.seconds = 0.0
        """What taking batches in has cost."""
        self._root = root
        self._maps = maps
        self._samples = samples
        self._inspect = inspect
        self._memory = memory
        self._voice = voice
        self._raises = raises
        self._gather = gather
        self._failures: dict[str, Failure] = {}
        self._frames: dict[str, Frame] = {}
        self._batch: Any = None
        """One of those that the default map was tried on, to show what it consists of."""
        if error is not None:
            self._fail("forward", "forward", error)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Leave a look out of any copy of what holds it: it cannot go on elsewhere."""
        return type(None), ()

    def offer(self, batch: Any, dataloader: int = 0) -> None:
        """Offer the points of a batch to the sample.

        Raises:
            MapError: If they cannot be taken and that is to be raised. Several processes raise only
                when they :meth:`read`, all together.
        """
        if not self._samples:
            return
        begun = time.monotonic()
        if not (self._memory.named or self._memory.num_outputs):
            self._batch = batch
        samples = self._samples[dataloader if len(self._samples) > 1 else 0]
        runs_code = any(watched.runs_code for watched in self._maps)
        with isolated(self._root, weights=False) if runs_code else nullcontext():
            for watched in self._maps:
                if watched.name not in self._failures:
                    try:
                        self._add(samples[watched.name], watched, batch)
                    except Exception as error:  # noqa: BLE001  # whatever it is
                        self._fail(watched.name, "input", error)
        self.seconds += time.monotonic() - begun
        if self._failures and self._gather is None and (self._is_raised() or not self._maps):
            self._settle()

    def read(self, device: torch.device | str | None = None) -> list[Observation]:
        """Look at all maps at the sampled points; this ends the look.

        Args:
            device: Where the maps are; by default where the points are.

        Returns:
            An observation for each map, and for each dataloader if they are watched separately.

        Raises:
            MapError: If a map fails and that is to be raised; of several processes, all raise.
        """
        samples, self._samples = self._samples, ()
        if not samples:
            return []
        observations: list[Observation] = []
        with isolated(self._root, *(owner for watched in self._maps for owner in watched.owners)):
            self._share_failures()
            self._warn_of_no_points(samples)
            for number, of_maps in enumerate(samples):
                part = f"dataloader_{number}" if len(samples) > 1 else ""
                for watched in self._maps:
                    if watched.name not in self._failures:
                        observations += self._look_at(watched, of_maps[watched.name], part, device)
            self._share_failures()
        self._tell_of_roughness()
        failed = self._settle()
        return [observation for observation in observations if observation.name not in failed]

    def _add(self, sample: StreamSample, watched: WatchedMap, batch: Any) -> None:
        points = watched.take(batch)
        self._frames[watched.name] = points.frame
        keys = [watched.name, *(f"{watched.name}, context {i}" for i in range(len(points.context)))]
        rows = dict(zip(keys, points.rows, strict=True))
        if (reach := watched.question(Reach)) is not None:
            rows[f"{watched.name}, outcomes"] = reach.take(batch, watched.root)
        sample.add(rows)

    def _look_at(
        self,
        watched: WatchedMap,
        sample: StreamSample,
        part: str,
        device: torch.device | str | None,
    ) -> list[Observation]:
        frame = self._frames.get(watched.name)
        if self._gather is not None:
            # Every process looks at all points of the common sample: it is small, and processes that
            # share a module's weights (FSDP) have to call it equally often.
            sample.merge(self._gather)
            frame = next((f for f in self._gather(frame) if f is not None), None)
        if len(sample) == 0 or frame is None:
            return []
        try:
            inputs, *context = sample.rows().values()
            outcomes = context.pop() if watched.question(Reach) else None
            points = Points(inputs, tuple(context), frame).to(device)
            return [self._inspect(watched, points, outcomes, part)]
        except Exception as error:  # noqa: BLE001  # whatever it is, it does not end a fit
            self._fail(watched.name, "forward", error)
            return []

    def _warn_of_no_points(self, samples: Sequence[Mapping[str, StreamSample]]) -> None:
        mine = [any(map(len, of_maps.values())) for of_maps in samples]
        of_all = [mine] if self._gather is None else self._gather(mine)
        for number, filled in enumerate(zip(*of_all, strict=True)):
            if not any(filled) and not self._failures:
                where = f" of dataloader_{number}" if len(samples) > 1 else ""
                self._voice.warn(f"there were no points{where} in this epoch. Nothing is logged.")

    def _tell_of_roughness(self) -> None:
        """Tell, of all maps together, whose Jacobian differs from that of what it learned."""
        rough, self._memory.rough = self._memory.rough, {}
        for kind, names in rough.items():
            self._voice.info(ROUGH[kind].format(", ".join(map(repr, names))), once=(kind, *names))

    # Failures.

    def _fail(self, name: str, part: str, error: Exception) -> None:
        cause = error.__cause__ if isinstance(error, MapError) and error.__cause__ else error
        part, why = getattr(error, "part", part), getattr(error, "why", None) or explain(error)
        kind, is_transient = type(cause).__name__, isinstance(cause, TRANSIENT)
        self._failures[name] = Failure(part, why, kind, is_transient, cause)

    def _is_raised(self) -> bool:
        if self._raises == "lasting":
            return not all(failure.is_transient for failure in self._failures.values())
        return self._raises == "all"

    def _share_failures(self) -> None:
        """Let every process take the same decision: those left alone would wait without end."""
        if self._gather is None:
            return
        mine = {name: failure._replace(cause=None) for name, failure in self._failures.items()}
        for process, failures in enumerate(self._gather(mine)):
            for name, failure in failures.items():
                why = f"in process {process}: {failure.why}"
                self._failures.setdefault(name, failure._replace(why=why))

    def _settle(self) -> set[str]:
        """Raise the failures or tell the user, and return the names of the maps that failed."""
        is_raised = self._is_raised()
        failures, self._failures = self._failures, {}  # an error holds on to all that there was
        for name, failure in failures.items():
            if is_raised:
                self._samples = ()
                speaker = self._voice.speaker
                raise MapError(name, failure.part, failure.why, speaker) from failure.cause
            if self._memory.named or name in self._memory.num_outputs:
                self._voice.warn(
                    f"map {name!r} cannot be watched, because of its {failure.part}: "
                    f"{sentence(failure.why)} The map is missing from this look; training goes on. "
                    "This is said once.",
                    once=(name, failure.kind),
                )
            else:
                self._give_up(failure.why)
        return set(failures)

    def _give_up(self, why: str) -> None:
        self._memory.given_up, self._samples = True, ()
        try:
            advice = advise(self._root, self._batch, why, speaker=self._voice.speaker)
        except Exception:  # noqa: BLE001  # of whatever the batch is made
            advice = f"it is not clear what to watch. {sentence(why)}"
        self._voice.warn(advice, once="default map")
