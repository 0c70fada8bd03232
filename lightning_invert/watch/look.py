"""One look at the maps of a module: take batches, then read what is found at a sample of their points."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import KW_ONLY, InitVar, dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from lightning_invert.jacobians.independence import MixedRowsError
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

TRANSIENT = (torch.OutOfMemoryError, torch.linalg.LinAlgError, MemoryError, MixedRowsError)  # type: ignore[attr-defined]
"""Errors that end no fit: those that any map may raise now and then, and that of a map which works but
has no Jacobians."""


class Failure(NamedTuple):
    """Why a map is missing from a look, in what processes can exchange, but for the cause."""

    part: str
    why: str
    kind: str
    is_transient: bool
    cause: BaseException | None


@dataclass
class Memory:
    """What is remembered of a fit's maps from look to look."""

    names: list[str] = field(default_factory=list)
    named: bool = False  # whether the user or the module named the maps
    given_up: bool = False  # whether the default map cannot be watched: then nothing is
    missing: dict[str, str] = field(default_factory=dict)  # map -> why the last look lacks it
    num_outputs: dict[str, int] = field(default_factory=dict)  # m of each map looked at before
    # Maps that treat the rows of a batch independently.
    checked: set[str] = field(default_factory=set)
    # The coarsest dtype that computes in each.
    arithmetic: dict[str, torch.dtype | None] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)  # how hard to look at each map
    num_outcomes: dict[str, int] = field(default_factory=dict)  # that the solver may try to reach
    # Kind of roughness -> maps, of which the user was not told yet.
    rough: dict[str, list[str]] = field(default_factory=dict)


@dataclass(eq=False, repr=False)
class Look:
    """Take batches, then look at all maps at a sample of their points.

    :meth:`~lightning_invert.watch.watcher.Watcher.begin` makes it. What fails leaves out its map: it
    is said once, or raised.
    """

    root: nn.Module  # owns the maps
    maps: Sequence[WatchedMap]
    # For each dataloader, or for all together: name of a map -> its sample. Empty: the look is over.
    samples: Sequence[Mapping[str, StreamSample]]
    _: KW_ONLY
    inspect: Inspect
    memory: Memory
    voice: Voice
    raises: Raises = "none"
    gather: Gather | None = None  # how several processes exchange values; None: there is one
    error: InitVar[Exception | None] = None  # why the default map was not found
    seconds: float = 0.0  # what taking batches in has cost
    failures: dict[str, Failure] = field(default_factory=dict)
    frames: dict[str, Frame] = field(default_factory=dict)
    # One of those that the default map was tried on, to show what it consists of.
    batch: Any = None

    def __post_init__(self, error: Exception | None) -> None:
        if error is not None:
            self._fail("forward", "forward", error)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Leave a look out of any copy of what holds it: it cannot go on elsewhere."""
        return type(None), ()

    def offer(self, batch: Any, dataloader: int = 0) -> None:
        """Offer the points of a batch to the sample, or raise MapError if that is to be raised.

        Several processes raise only when they :meth:`read`, all together.
        """
        if not self.samples:
            return
        begun = time.monotonic()
        if not (self.memory.named or self.memory.num_outputs):
            self.batch = batch
        samples = self.samples[dataloader if len(self.samples) > 1 else 0]
        runs_code = any(watched.runs_code for watched in self.maps)
        with isolated(self.root, weights=False) if runs_code else nullcontext():
            for watched in self.maps:
                if watched.name not in self.failures:
                    try:
                        self._add(samples[watched.name], watched, batch)
                    except Exception as error:  # noqa: BLE001  # whatever it is
                        self._fail(watched.name, "input", error)
        self.seconds += time.monotonic() - begun
        if self.failures and self.gather is None and (self._is_raised() or not self.maps):
            self._settle()

    def read(self, device: torch.device | str | None = None) -> list[Observation]:
        """Look at all maps at the sampled points; this ends the look.

        It returns an observation for each map, and for each dataloader if these are separate. The
        maps are on the ``device``, by default that of the points. It raises MapError if a map fails
        and that is to be raised; of several processes, all raise.
        """
        samples, self.samples = self.samples, ()
        if not samples:
            return []
        observations: list[Observation] = []
        with isolated(self.root, *(owner for watched in self.maps for owner in watched.owners)):
            self._share_failures()
            self._warn_of_no_points(samples)
            for number, of_maps in enumerate(samples):
                part = f"dataloader_{number}" if len(samples) > 1 else ""
                for watched in self.maps:
                    if watched.name not in self.failures:
                        observations += self._look_at(watched, of_maps[watched.name], part, device)
            self._share_failures()
        self._tell_of_roughness()
        failed = self._settle()
        found = [observation for observation in observations if observation.name not in failed]
        seen = {observation.name for observation in found}
        for watched in self.maps:
            if watched.name in seen:
                self.memory.missing.pop(watched.name, None)
            elif watched.name not in failed:
                self.memory.missing[watched.name] = "it got no points"
        return found

    def _add(self, sample: StreamSample, watched: WatchedMap, batch: Any) -> None:
        points = watched.take(batch)
        known = self.frames.get(watched.name, points.frame)
        # The last batch may be smaller than what the map takes.
        sizes = max(points.frame.sizes, known.sizes)
        self.frames[watched.name] = replace(points.frame, sizes=sizes)
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
        frame = self.frames.get(watched.name)
        if self.gather is not None:
            # Every process looks at all points of the common sample: it is small, and processes that
            # share a module's weights (FSDP) have to call it equally often.
            sample.merge(self.gather)
            frame = next((f for f in self.gather(frame) if f is not None), None)
        if len(sample) == 0 or frame is None:
            return []
        try:
            inputs, *context = sample.rows().values()
            outcomes = context.pop() if watched.question(Reach) else None
            points = Points(inputs, tuple(context), frame).to(device)
            return [self.inspect(watched, points, outcomes, part)]
        except Exception as error:  # noqa: BLE001  # whatever it is, it does not end a fit
            self._fail(watched.name, "forward", error)
            return []

    def _warn_of_no_points(self, samples: Sequence[Mapping[str, StreamSample]]) -> None:
        own = [any(map(len, of_maps.values())) for of_maps in samples]
        of_all = [own] if self.gather is None else self.gather(own)
        for number, filled in enumerate(zip(*of_all, strict=True)):
            if not any(filled) and not self.failures:
                where = f" of dataloader_{number}" if len(samples) > 1 else ""
                self.voice.warn(f"there were no points{where} in this epoch. Nothing is logged.")

    def _tell_of_roughness(self) -> None:
        """Tell, of all maps together, whose Jacobian differs from that of what it learned."""
        rough, self.memory.rough = self.memory.rough, {}
        for kind, names in rough.items():
            self.voice.info(ROUGH[kind].format(", ".join(map(repr, names))), once=(kind, *names))

    # Failures.

    def _fail(self, name: str, part: str, error: Exception) -> None:
        cause = error.__cause__ if isinstance(error, MapError) and error.__cause__ else error
        part, why = getattr(error, "part", part), getattr(error, "why", None) or explain(error)
        kind, is_transient = type(cause).__name__, isinstance(cause, TRANSIENT)
        self.failures[name] = Failure(part, why, kind, is_transient, cause)

    def _is_raised(self) -> bool:
        if self.raises == "lasting":
            return not all(failure.is_transient for failure in self.failures.values())
        return self.raises == "all"

    def _share_failures(self) -> None:
        """Let every process take the same decision: those left alone would wait without end."""
        if self.gather is None:
            return
        own = {name: failure._replace(cause=None) for name, failure in self.failures.items()}
        for process, failures in enumerate(self.gather(own)):
            for name, failure in failures.items():
                why = f"in process {process}: {failure.why}"
                self.failures.setdefault(name, failure._replace(why=why))

    def _settle(self) -> set[str]:
        """Raise the failures or tell the user, and return the names of the maps that failed."""
        is_raised = self._is_raised()
        failures, self.failures = self.failures, {}  # an error holds on to all that there was
        for name, failure in failures.items():
            if is_raised:
                self.samples = ()
                speaker = self.voice.speaker
                raise MapError(name, failure.part, failure.why, speaker) from failure.cause
            self.memory.missing[name] = failure.why
            if self.memory.named or name in self.memory.num_outputs:
                self.voice.warn(
                    f"map {name!r} cannot be watched, because of its {failure.part}: "
                    f"{sentence(failure.why)} The map is missing from this look; training goes on. "
                    "This is said once.",
                    once=(name, failure.kind),
                )
            else:
                self._give_up(failure.why)
        return set(failures)

    def _give_up(self, why: str) -> None:
        self.memory.given_up, self.samples = True, ()
        try:
            advice = advise(self.root, self.batch, why, speaker=self.voice.speaker)
        except Exception:  # noqa: BLE001  # of whatever the batch is made
            advice = f"it is not clear what to watch. {sentence(why)}"
        self.voice.warn(advice, once="default map")
