"""One look at the maps of a module: take batches, then read what is found at a sample of their points."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import KW_ONLY, InitVar, dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from lightning_invert.devices import making_tensors_on_cpu
from lightning_invert.jacobians.arithmetic import eps
from lightning_invert.jacobians.work import Plan
from lightning_invert.watch.advice import advise, advise_on_named
from lightning_invert.watch.domain import observe_domain
from lightning_invert.watch.findings.reach import Reach
from lightning_invert.watch.isolation import isolated
from lightning_invert.watch.maps import MapError, WatchedMap
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.parts import NoSuchPart
from lightning_invert.watch.point_sample import Gather, PointSample, SampledPoints
from lightning_invert.watch.points import Points, Shape
from lightning_invert.watch.roughness import ROUGH
from lightning_invert.watch.search import Watch
from lightning_invert.watch.voice import Voice, explain, sentence
from lightning_invert.watch.weights import with_weights

__all__ = ["Known", "Look", "Memory", "Raises"]

MIN_BYTES = 4
"""Of a number that is no coarser than weights commonly are."""

Inspect: TypeAlias = Callable[..., Observation]
"""Looks at a map at some points: (map, points, outcomes=, part=) -> observation."""

Taken: TypeAlias = tuple[Points, Tensor | None]
"""Points of a batch, and their outcomes."""

Raises: TypeAlias = Literal["all", "lasting", "none"]
"""Which failures are raised: lasting ones are those of a map that names a part that there is not."""


class Failure(NamedTuple):
    """Why a map is missing from a look, in what processes can exchange, but for the cause."""

    part: str
    why: str
    kind: str
    is_lasting: bool
    cause: BaseException | None

    @classmethod
    def of(cls, error: Exception, part: str) -> Failure:
        """Describe what was raised, by default because of a part."""
        cause = error.__cause__ if isinstance(error, MapError) and error.__cause__ else error
        part, why = getattr(error, "part", part), getattr(error, "why", None) or explain(error)
        return cls(part, why, type(cause).__name__, isinstance(cause, NoSuchPart), cause)


@dataclass
class Known:
    """What is remembered of a map at points of one shape."""

    num_outputs: int | None = None  # m; None: it was not looked at before
    is_checked: bool = False  # whether it treats rows independently
    arithmetic: torch.dtype | None = None  # the coarsest
    plan: Plan | None = None  # how hard to look
    num_outcomes: int | None = None  # that may be reached for; None: all


@dataclass
class Memory:
    """What is remembered of a fit's maps from look to look."""

    names: list[str] = field(default_factory=list)
    named: bool = False  # whether the user or the module named the maps
    given_up: bool = False  # whether the default map cannot be watched: then nothing is
    missing: dict[str, str] = field(default_factory=dict)  # map -> why the last look lacks it
    watched: set[str] = field(default_factory=set)  # names of maps that were looked at before
    hopeless: set[str] = field(default_factory=set)  # maps whose points were tried apart in vain
    known: dict[tuple[str, Shape], Known] = field(default_factory=lambda: defaultdict(Known))
    advised: set[str] = field(default_factory=set)  # maps that failed, for which advice was sought
    latest: Look | None = None  # with its points, to be looked at again
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
    samples: Sequence[Mapping[str, PointSample]]
    _: KW_ONLY
    inspect: Inspect
    memory: Memory
    voice: Voice
    raises: Raises = "none"
    is_trial: bool = False
    gather: Gather | None = None  # how several processes exchange values; None: there is one
    error: InitVar[Exception | None] = None  # why the default map was not found
    seconds: float = 0.0  # what taking batches in has cost
    # One of those that a map was tried on for the first time, to show what it consists of.
    batch: Any = None
    watch: Watch | None = None  # watches what may be advised; None: nothing is tried
    held: tuple[Any, dict[str, Taken]] | None = None  # the batch that is under way, and its parts
    gaps: dict[str, Failure] = field(default_factory=dict)  # why a map had no points in a batch
    failures: dict[str, Failure] = field(default_factory=dict)
    # The points that were looked at, kept on the CPU: a module's device is for its training.
    seen: list[tuple[str, WatchedMap, SampledPoints]] = field(default_factory=list)

    def __post_init__(self, error: Exception | None) -> None:
        if error is not None:
            self.failures["forward"] = Failure.of(error, "forward")

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Leave a look out of any copy of what holds it: it cannot go on elsewhere."""
        return type(None), ()

    def hold(self, batch: Any) -> None:
        """Hold the parts of a batch until it is offered: a step may take them out of it."""
        if not self.samples:
            return
        begun = time.monotonic()
        if len(self.memory.watched) < max(1, len(self.maps)):
            self.batch = copy(batch) if type(batch) in (dict, list) else batch
        self.held = batch, self._take(batch, self.maps)
        self.seconds += time.monotonic() - begun

    def _take(self, batch: Any, maps: Sequence[WatchedMap]) -> dict[str, Taken]:
        """Return the parts of a batch for each of the maps that it has points of."""
        parts: dict[str, Taken] = {}
        runs_code = any(watched.runs_code for watched in maps)
        with isolated(self.root, weights=False) if runs_code else nullcontext():
            for watched in maps:
                try:
                    if (points := watched.take(batch)) is not None:
                        reach = watched.question(Reach)
                        outcomes = None if reach is None else reach.take(batch, watched.root)
                        parts[watched.name] = points, outcomes
                except Exception as error:  # noqa: BLE001  # whatever it is: others may have points
                    self._note_gap(watched.name, error)
        return parts

    def offer(self, batch: Any, dataloader: int = 0) -> None:
        """Offer the points of a batch to the sample: its parts as they were held, or as they are."""
        if not self.samples:
            return
        if self.held is None or self.held[0] is not batch:
            self.hold(batch)
        assert self.held is not None
        begun = time.monotonic()
        # Of their numbers those that a step left: where it changes them, its forward sees them changed.
        (_, parts), self.held = self.held, None
        gaps = {name for name, gap in self.gaps.items() if gap.is_lasting} - {*parts}
        if gaps:  # a hook or a step may have put it into the batch
            parts |= self._take(batch, [watched for watched in self.maps if watched.name in gaps])
        samples = self.samples[dataloader if len(self.samples) > 1 else 0]
        for name, (points, outcomes) in parts.items():
            try:
                samples[name].add(points, outcomes)
            except Exception as error:  # noqa: BLE001
                self._note_gap(name, error)
        self.seconds += time.monotonic() - begun

    @making_tensors_on_cpu()
    def read(self, device: torch.device | str | None = None) -> list[Observation]:
        """Look at all maps at the sampled points; this ends the look.

        It returns an observation for each map, and for each dataloader if these are separate. The
        maps are on the ``device``, by default that of the points. It raises MapError if a map fails
        and that is to be raised; of several processes, all raise.
        """
        samples, self.samples = self.samples, ()
        if not samples:
            return []
        parts = [f"dataloader_{i}" for i in range(len(samples))] if len(samples) > 1 else [""]
        observations: list[Observation] = []
        with isolated(self.root, *(owner for watched in self.maps for owner in watched.owners)):
            # Every process looks at all points of the common sample: it is small, and processes that
            # share a module's weights (FSDP) have to call it equally often.
            chosen = [
                (part, watched, of_maps[watched.name].choose(self.gather))
                for part, of_maps in zip(parts, samples, strict=True)
                for watched in self.maps
            ]
            self._find_gaps(chosen)
            for part, watched, sampled in chosen:
                if sampled is not None and watched.name not in self.failures:
                    observations += self._look_at(watched, sampled, part, device, keep=True)
            self._share_failures()
        rough, self.memory.rough = self.memory.rough, {}
        for kind, names in rough.items():
            self.voice.info(ROUGH[kind].format(", ".join(map(repr, names))), once=(kind, *names))
        failed = self._settle()
        self.seen = [entry for entry in self.seen if entry[1].name not in failed]
        found = [observation for observation in observations if observation.name not in failed]
        seen = {observation.name for observation in found}
        for watched in self.maps:
            if watched.name in seen:
                self.memory.missing.pop(watched.name, None)
            elif watched.name not in failed:
                self.memory.missing[watched.name] = "it got no points"
        self.batch = self.held = None
        if found and not self.is_trial:
            self.memory.latest = self
        return found

    @making_tensors_on_cpu()
    def again(
        self, weights: Mapping[str, Tensor], device: torch.device | str | None = None
    ) -> list[Observation]:
        """Look at the same points again, with other weights of the module meanwhile.

        It raises MapError if a map fails; of several processes, all raise.
        """
        observations: list[Observation] = []
        with (
            isolated(self.root, *(owner for watched in self.maps for owner in watched.owners)),
            with_weights(self.root, weights),
        ):
            for part, watched, sampled in self.seen:
                observations += self._look_at(watched, sampled, part, device)
            self._share_failures()
        failures, self.failures = self.failures, {}
        for name, failure in failures.items():
            raise MapError(name, failure.part, failure.why, self.voice.speaker) from failure.cause
        return observations

    def _note_gap(self, name: str, error: Exception) -> None:
        # Without the cause, whose traceback would hold the batch.
        self.gaps[name] = Failure.of(error, "input")._replace(cause=None)

    def _find_gaps(self, chosen: Sequence[tuple[str, WatchedMap, SampledPoints | None]]) -> None:
        """Let maps fail that had points in no batch, for a reason; tell of other gaps."""
        filled = {watched.name for _, watched, sampled in chosen if sampled is not None}
        self.failures |= {
            name: gap
            for name, gap in self.gaps.items()
            if name not in filled or (self.raises == "all" and not gap.is_lasting)
        }
        self._share_failures()
        for part, watched, sampled in () if self.is_trial else chosen:
            name, where = watched.name, part and f" of {part}"
            gap = self.gaps.get(name)
            if sampled is not None and gap is not None and not gap.is_lasting:
                self.voice.warn(
                    f"some batches have no points of map {name!r}, because of its {gap.part}: "
                    f"{sentence(gap.why)} They are left out. This is said once.",
                    once=("batches", name),
                )
            if sampled is None and not self.failures:
                self.voice.warn(
                    f"there are no points{where} for map {name!r}. Nothing is logged there.",
                    once=("no points", name, part),
                )
            elif sampled is not None and sampled.num_left_out:
                self.voice.warn(
                    f"the batches of map {name!r}{where} differ in the shape of their points, or in context "
                    "that has no row for each point. Only the most frequent kind, of shape "
                    f"{tuple(sampled.points.inputs.shape[1:])}, is watched; the other "
                    f"{sampled.num_left_out} points are left out. Pad or crop them, for all to count. "
                    "This is said once.",
                    once=("shapes", name, part),
                )

    def _look_at(
        self,
        watched: WatchedMap,
        sampled: SampledPoints,
        part: str,
        device: Any,
        *,
        keep: bool = False,
    ) -> list[Observation]:
        points, outcomes, _ = sampled
        try:
            voice = None if self.is_trial else self.voice
            look = partial(self.inspect, watched, outcomes=outcomes, part=part)
            # A step may make more of batches that are kept in half precision.
            dtypes = watched.dtypes if points.inputs.element_size() < MIN_BYTES else []
            coarser = dtypes and eps(points.inputs.dtype) > eps(dtypes[-1])
            points = points.to(device, dtypes[-1] if coarser else None)
            hopeless = set[str]() if self.is_trial else self.memory.hopeless
            observation = observe_domain(look, watched, points, voice, hopeless=hopeless)
            if keep:
                self.seen.append((part, watched, sampled.to("cpu")))
            return [observation]
        except Exception as error:  # noqa: BLE001  # whatever it is, it does not end a fit
            self.failures[watched.name] = Failure.of(error, "forward")
            return []

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
        failures, self.failures = self.failures, {}  # an error holds on to all that there was
        for name, failure in failures.items():
            if self.raises == "all" or (self.raises == "lasting" and failure.is_lasting):
                why = f"{failure.why}{self._advise(name, failure)}"
                raise MapError(name, failure.part, why, self.voice.speaker) from failure.cause
        for name, failure in failures.items():
            self.memory.missing[name] = failure.why
            if self.memory.named or name in self.memory.watched:
                advice = "" if name in self.memory.advised else self._advise(name, failure)
                self.memory.advised.add(name)
                self.voice.warn(
                    f"map {name!r} cannot be watched, because of its {failure.part}: "
                    f"{sentence(failure.why)} The map is missing from this look; training goes on. "
                    f"This is said once.{advice}",
                    once=(name, failure.kind),
                )
            else:
                self._give_up(failure.why)
        return set(failures)

    def _advise(self, name: str, failure: Failure) -> str:
        """Return what to write instead for a map that was named, where something else works."""
        watched = next((watched for watched in self.maps if watched.name == name), None)
        if watched is None or self.watch is None or self.batch is None:
            return ""
        try:
            return advise_on_named(watched, self.batch, self.watch)
        except Exception:  # noqa: BLE001  # of whatever the batch is made
            return ""

    def _give_up(self, why: str) -> None:
        self.memory.given_up, self.samples = True, ()
        speaker = self.voice.speaker
        try:
            advice = advise(self.root, self.batch, why, speaker=speaker, watch=self.watch)
        except Exception:  # noqa: BLE001  # of whatever the batch is made
            advice = f"it is not clear what to watch. {sentence(why)}"
        self.voice.warn(advice, once="default map")
