"""Watching: begin a sample, offer it batches, look at all maps at the points that it kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor, nn

from lightning_invert.arguments import check_choice, check_integer, check_number
from lightning_invert.jacobians.contexts import differentiable, evaluation_mode
from lightning_invert.jacobians.evaluation import with_context
from lightning_invert.jacobians.jacobian import count_outputs
from lightning_invert.jacobians.spectrum import Effort
from lightning_invert.jacobians.thresholds import Thresholds
from lightning_invert.jacobians.work import MAX_WORK, Plan, flops_of, plan
from lightning_invert.sampling import StreamSample
from lightning_invert.watch.advice import advise
from lightning_invert.watch.isolation import isolated
from lightning_invert.watch.maps import MapError, WatchedMap, checked_maps, resolve_maps
from lightning_invert.watch.notices import say, warn
from lightning_invert.watch.observation import Observation, Precision, Scale, observe
from lightning_invert.watch.points import Frame, Points
from lightning_invert.watch.roughness import ROUGH, roughness

__all__ = ["Gather", "OnError", "Watcher"]

Gather: TypeAlias = Callable[[Any], Sequence[Any]]
"""Returns what every process passed to it, in the same order on each."""

OnError = Literal["warn", "raise"]

OF_THE_MOMENT = (torch.OutOfMemoryError, torch.linalg.LinAlgError, MemoryError)  # type: ignore[attr-defined]
"""What may go wrong with any map, and say nothing against it."""


class Watcher:
    r"""Watch the maps of a module at a sample of the batches that pass by.

    It knows nothing of Lightning: whoever runs the module says when an epoch begins (``begin``),
    hands over its batches (``offer``) and asks what is to be seen at a sample of their points
    (``look``). Nothing of that leaves a trace in the module or in the random streams.

    What fails is said once, with the map and the cause, and that map is missing from the look.
    Where nobody named a map and ``forward`` cannot be watched, it is said what there is and what to
    write, and nothing is watched.

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
        on_error: ``"raise"`` to raise what fails.
        max_work: Floating point operations that a look at a map may take, as estimated from shapes
            before: beyond it fewer points are looked at, or the Jacobian is not formed, which is
            said once. ``None``: any.
        reachable_steps: Within how many steps of the solver outcomes are to be reached, by the maps
            that say from where; these steps may take as much work again. ``None``: not asked.

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
        on_error: OnError = "warn",
        max_work: float | None = MAX_WORK,
        reachable_steps: int | None = None,
    ) -> None:
        if maps is not None:
            checked_maps(maps)
        self.maps = maps
        self.num_points = check_integer("num_points", num_points, low=1)
        self.thresholds = thresholds or Thresholds()
        self.scale = check_choice("scale", scale, (None, *get_args(Scale)))
        self.precision = check_choice("precision", precision, get_args(Precision))
        self.seed = check_integer("seed", seed, low=0)
        self.sampling = check_choice("sampling", sampling, ("reservoir", "fixed", "first"))
        self.dataloaders = check_choice("dataloaders", dataloaders, ("merged", "separate"))
        self.on_error = check_choice("on_error", on_error, get_args(OnError))
        self.max_work = (
            None
            if max_work is None
            else check_number("max_work", max_work, low=0.0, open_low=True, what="or None")
        )
        self.reachable_steps = (
            None
            if reachable_steps is None
            else check_integer("reachable_steps", reachable_steps, low=1, what="or None")
        )
        self.seconds_offering = 0.0
        """What taking batches in has cost since ``begin``."""
        self._root: nn.Module | None = None
        self._watched: list[WatchedMap] = []
        self._samples: list[dict[str, StreamSample]] = []
        """Of each dataloader, or of all: a sample for each map. None where no look was begun."""
        self._frames: dict[str, Frame] = {}
        self._gather: Gather | None = None
        self._strict = False
        self._failed: dict[str, Exception] = {}
        self._batch: Any = None
        """One that made a default map fail, until it was said what it consists of."""
        self._num_outputs: dict[str, int] = {}
        """Of maps that were looked at before: m, and whether points mix, is asked once."""
        self._plans: dict[str, Plan] = {}
        self._num_outcomes: dict[str, int] = {}
        """How many may be asked for, by the work that they take."""
        self._given_up = False
        self._rough: dict[str, list[str]] = {}
        """What was found of the maps that were looked at for the first time: kind -> names."""
        self._said: set[tuple[str, ...]] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is only of the look that is under way: a module cannot always be pickled."""
        at_rest: dict[str, Any] = {
            "_root": None,
            "_watched": [],
            "_samples": [],
            "_frames": {},
            "_gather": None,
            "_failed": {},
            "_batch": None,
        }
        return {**vars(self), **at_rest}

    @property
    def names(self) -> list[str]:
        """The maps that are watched."""
        return [watched.name for watched in self._watched]

    @property
    def named(self) -> bool:
        """Whether somebody named the maps: the user, or the module."""
        return self.maps is not None or callable(getattr(self._root, "invertibility_maps", None))

    @property
    def warm(self) -> bool:
        """Whether there was a look before: the first has more to do than those that follow."""
        return bool(self._num_outputs)

    def resolve(self, root: nn.Module) -> None:
        """Find the maps.

        Args:
            root: The module whose they are.

        Raises:
            ValueError: If a map that somebody named is not found, or ``reachable_steps`` are given
                and no map says from where to reach.
        """
        self._root, self._watched = root, []
        if self._given_up:
            return
        try:
            self._watched = resolve_maps(self.maps, root, reach=self.reachable_steps is not None)
        except (ValueError, TypeError) as error:
            if self.named:
                raise
            self._failed = {"forward": error}
        asked = self.reachable_steps is not None
        if asked and all(watched.reach is None for watched in self._watched):
            raise ValueError(
                "Expected argument `reachable_steps` to be None for maps of which none says from "
                "where to reach its outcomes: name the inverse and what is wanted, as in "
                "maps={'forward': {'module': 'net', 'input': 0, 'reach': {'inverse': 'inverse_net', "
                "'outcomes': 1}}}, or train a ForwardInverseModule, which says it by itself."
            )

    def forget(self) -> None:
        """Take each map for one that was never looked at."""
        self._num_outputs, self._plans, self._given_up, self._failed = {}, {}, False, {}
        self._num_outcomes = {}

    def begin(
        self,
        root: nn.Module,
        *,
        num_points: int | None = None,
        dataloaders: int = 1,
        when: tuple[int, ...] = (),
        process: int = 0,
        gather: Gather | None = None,
        strict: bool = False,
    ) -> None:
        """Begin a sample.

        Args:
            root: The module whose maps are watched.
            num_points: Of this look; by default as many as of all.
            dataloaders: How many there are.
            when: Numbers that differ from look to look: what a reservoir's seed is made of.
            process: The number of this process.
            gather: How several processes talk with each other; ``None``: there is one. All have to
                call ``begin`` and ``look`` then, though not ``offer``.
            strict: Raise what fails in a map that somebody named, unless it is of the moment: this
                is the time to say that a map cannot be watched.
        """
        self._failed = {}
        self.resolve(root)
        self.seconds_offering, self._gather, self._strict = 0.0, gather, strict
        self._frames = {}
        # Each process and dataloader draws keys of its own; and each look fresh ones. Maps have the
        # same, so that they are watched at the same points.
        fresh = when if self.sampling == "reservoir" else ()
        seeds = np.random.SeedSequence((self.seed, *fresh, process)).generate_state(
            dataloaders if self.dataloaders == "separate" else 1
        )
        num_points, first = num_points or self.num_points, self.sampling == "first"
        self._samples = [
            {name: StreamSample(num_points, seed=int(s), first=first) for name in self.names}
            for s in seeds
        ]
        if self._given_up:
            self._samples = []

    def offer(self, batch: Any, dataloader: int = 0) -> None:
        """Offer the points of a batch to the sample, if one was begun.

        Args:
            batch: What each map's ``input`` is taken from.
            dataloader: Which of the dataloaders it comes from.

        Raises:
            MapError: If they cannot be taken and ``begin`` was strict, or ``on_error="raise"``; of
                several processes, all raise when they ``look``.
        """
        if not self._samples or self._root is None:
            return
        begun = time.monotonic()
        if not (self.named or self.warm):
            self._batch = batch
        samples = self._samples[dataloader if self.dataloaders == "separate" else 0]
        runs_code = any(watched.runs_code for watched in self._watched)
        with isolated(self._root, weights=False) if runs_code else nullcontext():
            for watched in self._watched:
                if watched.name not in self._failed:
                    try:
                        self._add(samples[watched.name], watched, batch)
                    except Exception as error:  # noqa: BLE001  # whatever it is
                        self._failed[watched.name] = error
        self.seconds_offering += time.monotonic() - begun
        if self._failed and self._gather is None and (self._raises or not self._watched):
            self._settle([])

    def look(self, device: torch.device | str | None = None) -> list[Observation]:
        """Look at all maps at the points that were kept, and end the sample.

        Args:
            device: Where the maps are; by default where the points are.

        Returns:
            An observation for each map, and for each dataloader if they are watched separately;
            nothing if no sample was begun.

        Raises:
            MapError: If a map fails and ``begin`` was strict, or ``on_error="raise"``; of several
                processes, all raise if one does.
        """
        samples, self._samples = self._samples, []
        if not samples or self._root is None:
            return []
        found: list[Observation] = []
        with isolated(self._root, *(part for one in self._watched for part in one.owners)):
            self._share_failures()
            self._say_of_nothing(samples)
            for number, of_maps in enumerate(samples):
                part = f"dataloader_{number}" if len(samples) > 1 else ""
                for watched in self._watched:
                    if watched.name not in self._failed:
                        found += self._look_at(watched, of_maps[watched.name], part, device)
            self._share_failures()
        self._say_of_roughness()
        return self._settle(found)

    # What is done for one map.

    def _add(self, sample: StreamSample, watched: WatchedMap, batch: Any) -> None:
        points = watched.take(batch)
        self._frames[watched.name] = points.frame
        keys = [watched.name, *(f"{watched.name}, context {i}" for i in range(len(points.context)))]
        rows = dict(zip(keys, points.rows, strict=True))
        if watched.reach is not None:
            rows[f"{watched.name}, outcomes"] = watched.take_outcomes(batch)
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
        known = watched.name in self._num_outputs
        try:
            inputs, *context = sample.rows().values()
            outcomes = context.pop() if watched.reach is not None else None
            points = Points(inputs, tuple(context), frame).to(device)
            if not known:
                self._warn_of_noise(watched, points[:2])
            points, effort = self._within_bounds(watched, points)
            outcomes = self._affordable(watched, points, outcomes)
            found = observe(
                watched,
                points,
                effort=effort,
                thresholds=self.thresholds,
                scale=self.scale,
                precision=self.precision,
                num_outputs=self._num_outputs.get(watched.name),
                check=not known,
                part=part,
                outcomes=outcomes,
                reachable_steps=self.reachable_steps or 0,
            )
        except Exception as error:  # noqa: BLE001  # whatever it is, it does not end a fit
            self._failed[watched.name] = error
            return []
        self._num_outputs[watched.name] = found.shape[0]
        self._warn_of_nonfinite(found)
        if watched.truth is not None and not found.formed:
            self._once(
                ("truth", watched.name),
                f"InvertibilityCallback: the Jacobian of map {watched.name!r} is not formed, and so "
                "not held against its truth.",
                say,
            )
        if watched.reach is not None and found.reach is None:
            self._once(
                ("reach", watched.name),
                f"InvertibilityCallback: it is not told how many outcomes of map {watched.name!r} are "
                "reached: its Jacobian is too large for that many steps.",
                say,
            )
        if not known and found.formed:
            with suppress(Exception):  # a word of advice ends no fit
                for kind in roughness(watched, points):
                    self._rough.setdefault(kind, []).append(watched.name)
        return [found]

    def _within_bounds(self, watched: WatchedMap, points: Points) -> tuple[Points, Effort]:
        """Return as many of the points as may be looked at, and how hard to look at each."""
        if self.max_work is None:
            return points, Effort()
        if watched.name not in self._plans:
            with evaluation_mode([watched.owner]):
                first = points[:1]
                alone = with_context(first.call(watched), first.context)
                m = count_outputs(alone, first.inputs)
                n = first.inputs.numel()
                flops = flops_of(alone, first.inputs)
            chosen = plan(flops, (m, n), self.num_points, max_work=self.max_work)
            self._plans[watched.name] = chosen
            if self.reachable_steps is not None:
                # A step forms a Jacobian, as the look does; and the solver evaluates the start.
                bound = self.max_work / (1 + self.reachable_steps)
                reaching = plan(flops, (m, n), self.num_points, max_work=bound)
                num_outcomes = reaching.num_points if reaching.formed else 0
                self._num_outcomes[watched.name] = num_outcomes
            self._say_of_bounds(watched.name, (m, n), chosen)
        chosen = self._plans[watched.name]
        return points[: chosen.num_points], Effort(chosen.formed, chosen.probes, chosen.steps)

    def _affordable(
        self, watched: WatchedMap, points: Points, outcomes: Tensor | None
    ) -> Tensor | None:
        """Return as many of the points' outcomes as may be asked for, None if that is none."""
        if outcomes is None:
            return None
        some = outcomes[: min(len(points), self._num_outcomes.get(watched.name, len(points)))]
        return some if len(some) else None

    # What is said, and when it is raised.

    @property
    def _raises(self) -> bool:
        if self.on_error == "raise":
            return True
        of_the_moment = all(isinstance(_cause(e), OF_THE_MOMENT) for e in self._failed.values())
        return self._strict and self.named and not of_the_moment

    def _share_failures(self) -> None:
        """Let every process take the same decision: those left alone would wait without end."""
        if self._gather is None:
            return
        mine = {name: f"{type(e).__name__}: {e}" for name, e in self._failed.items()}
        for process, theirs in enumerate(self._gather(mine)):
            for name, text in theirs.items():
                problem = RuntimeError(f"InvertibilityCallback failed in process {process}: {text}")
                self._failed.setdefault(name, problem)

    def _settle(self, found: list[Observation]) -> list[Observation]:
        """Return what was found of maps that did not fail, and say or raise what did."""
        raises = self._raises
        failed, self._failed = self._failed, {}  # an error holds on to all that there was
        batch, self._batch = self._batch, None
        for name, error in failed.items():
            explained = _explained(name, error)
            if raises:
                self._samples = []
                raise explained from _cause(error)
            if self.named or name in self._num_outputs:
                words = f"{explained} It is missing from this look; training goes on, and this is "
                self._once((name, type(_cause(error)).__name__), f"{words}said once.")
            else:
                self._given_up, self._samples = True, []
                why = getattr(error, "why", str(error))
                try:
                    advice = advise(self._root or nn.Module(), batch, why)
                except Exception:  # noqa: BLE001  # of whatever the batch is made
                    advice = f"InvertibilityCallback does not know what to watch: {why}"
                self._once(("default",), advice)
        return [one for one in found if one.name not in failed]

    def _once(self, key: tuple[str, ...], words: str, tell: Callable[[str], None] = warn) -> None:
        if key not in self._said:
            self._said.add(key)
            tell(words)

    def _say_of_nothing(self, samples: Sequence[Mapping[str, StreamSample]]) -> None:
        mine = [any(map(len, of_maps.values())) for of_maps in samples]
        everywhere = [mine] if self._gather is None else self._gather(mine)
        for number, filled in enumerate(zip(*everywhere, strict=True)):
            if not any(filled) and not self._failed:
                where = f" of dataloader_{number}" if len(samples) > 1 else ""
                warn(
                    f"InvertibilityCallback saw no points{where} in this epoch: nothing is logged."
                )

    def _warn_of_nonfinite(self, found: Observation) -> None:
        share = found.scalars["nonfinite_fraction"]
        if share > 0:
            self._once(
                ("nonfinite",),
                f"The Jacobian of map {found.name!r} has a NaN or inf at {share:.1%} of the watched "
                "points. They are counted in `nonfinite_fraction` and left out of the rest; this "
                "is said once.",
            )

    def _say_of_roughness(self) -> None:
        """Say once, of all maps together, where the Jacobian is not that of what was learned."""
        rough, self._rough = self._rough, {}
        for kind, names in rough.items():
            maps = ", ".join(map(repr, names))
            self._once((kind, *names), f"InvertibilityCallback: {ROUGH[kind].format(maps)}", say)

    def _warn_of_noise(self, watched: WatchedMap, points: Points) -> None:
        """Say once that a map has another output each time: dropout that stays on, a random code."""
        with evaluation_mode([watched.owner]), differentiable(points.inputs.device.type):
            one, two = (points.call(watched)(*points.rows).detach() for _ in range(2))
        if not torch.equal(one.nan_to_num(), two.nan_to_num()):
            self._once(
                ("noise", watched.name),
                f"Map {watched.name!r} gives another output each time, also in evaluation mode: "
                "there is noise in it, such as dropout that stays on or a random code. What is "
                "logged is of one draw; this is said once.",
            )

    def _say_of_bounds(self, name: str, shape: tuple[int, int], chosen: Plan) -> None:
        m, n = shape
        if chosen.formed and chosen.num_points >= self.num_points:
            return
        how = "" if chosen.formed else " by bounds and estimates, without being formed,"
        say(
            f"InvertibilityCallback: the Jacobian of map {name!r} ({n} → {m}) is looked at{how} at "
            f"{min(chosen.num_points, self.num_points)} of {self.num_points} points, so that a look "
            f"keeps to max_work={self.max_work:.0e} operations; max_work=None lifts this bound."
        )

    def say_fewer(self, found: Sequence[Observation]) -> None:
        """Say once that there are fewer points than were asked for."""
        bounds = {name: chosen.num_points for name, chosen in self._plans.items()}
        fewer = [
            one
            for one in found
            if one.num_points < min(self.num_points, bounds.get(one.name, self.num_points))
        ]
        if fewer:
            words = (
                f"InvertibilityCallback watches {fewer[0].num_points} points, all that there are, "
                f"and not the {self.num_points} it was asked for."
            )
            self._once(("fewer",), words, say)


def _cause(error: BaseException) -> BaseException:
    """Return what an error of a map comes from."""
    return error.__cause__ if isinstance(error, MapError) and error.__cause__ else error


def _explained(name: str, error: Exception) -> Exception:
    who = "InvertibilityCallback"
    if isinstance(error, MapError):
        return error.by(who)
    if str(error).startswith(who):
        return error
    return MapError(name, "forward", f"{type(error).__name__}: {error}", who)
