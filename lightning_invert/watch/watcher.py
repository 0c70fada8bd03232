"""Watch the maps of a module: the settings, and what is remembered of a fit."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from multiprocessing.context import get_spawning_popen
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lightning_invert.arguments import check_choice, check_integer, check_number, to_builtin
from lightning_invert.jacobians.contexts import evaluation_mode
from lightning_invert.jacobians.evaluation import with_context
from lightning_invert.jacobians.jacobian import count_outputs
from lightning_invert.jacobians.spectrum import Effort
from lightning_invert.jacobians.thresholds import Thresholds
from lightning_invert.jacobians.work import MAX_WORK, Plan, flops_of, plan
from lightning_invert.watch.findings.reach import Reach
from lightning_invert.watch.findings.truth import AgainstTruth
from lightning_invert.watch.look import Known, Look, Memory, Raises
from lightning_invert.watch.maps import WatchedMap
from lightning_invert.watch.observation import Observation, Precision, Scale, observe
from lightning_invert.watch.point_sample import Gather, PointSample
from lightning_invert.watch.points import Points
from lightning_invert.watch.resolution import parse_maps, resolve_maps
from lightning_invert.watch.roughness import roughness
from lightning_invert.watch.surroundings import AS_IT_IS, Surroundings
from lightning_invert.watch.voice import Voice, Whisper

__all__ = ["OnError", "Watcher"]

OnError = Literal["warn", "raise"]

POINTS_OF_A_TRIAL = 2
"""A trial shows that the maps can be watched, not what they are."""

MAX_WORK_OF_A_TRY = MAX_WORK / 20
"""There may be several: a Jacobian that takes more is bounded and estimated."""


class Watcher:
    """Watch the maps of a module at samples of the batches that pass by, without Lightning.

    The code that runs the module begins a look (``begin``), offers it the batches (``offer``) and reads it
    (``read``). This leaves no trace in the module or in the random streams.
    :class:`~lightning_invert.InvertibilityCallback` explains the arguments; ``seed`` is that of the
    samples, ``voice`` tells the user.

    Example:
        >>> net = nn.Sequential(nn.Linear(7, 4), nn.Tanh())
        >>> look = Watcher(num_points=50).begin(net)
        >>> for batch in torch.randn(10, 20, 7):
        ...     look.offer(batch)
        >>> (observation,) = look.read()
        >>> observation.name, observation.num_points, observation.shape
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
        sampling: Literal["reservoir", "fixed"] = "reservoir",
        dataloaders: Literal["merged", "separate"] = "merged",
        on_error: OnError = "warn",
        max_work: float | None = MAX_WORK,
        reachable_steps: int | None = None,
        voice: Voice | None = None,
    ) -> None:
        maps = to_builtin(maps)
        if maps is not None:
            parse_maps(maps)
        if max_work is not None:
            max_work = check_number("max_work", max_work, low=0.0, open_low=True, what="or None")
        if reachable_steps is not None:
            reachable_steps = check_integer(
                "reachable_steps", reachable_steps, low=1, what="or None"
            )
        self.maps = maps
        self.num_points = check_integer("num_points", num_points, low=1)
        self.thresholds = thresholds or Thresholds()
        self.scale = check_choice("scale", scale, (None, *get_args(Scale)))
        self.precision = check_choice("precision", precision, get_args(Precision))
        self.seed = check_integer("seed", seed, low=0)
        self.sampling = check_choice("sampling", sampling, ("reservoir", "fixed"))
        self.dataloaders = check_choice("dataloaders", dataloaders, ("merged", "separate"))
        self.on_error = check_choice("on_error", on_error, get_args(OnError))
        self.max_work = max_work
        self.reachable_steps = reachable_steps
        self.voice = voice or Voice("Watcher")
        self.memory = Memory()
        """What is remembered of the maps; begin a fit of another module with a new one."""

    def __getstate__(self) -> dict[str, Any]:
        """Name the map that cannot be given to a process, where a trainer starts processes anew."""
        for name, described in (self.maps or {}).items() if get_spawning_popen() else ():
            try:
                pickle.dumps(described)
            except Exception as error:
                raise TypeError(
                    f"Expected map {name!r} to be pickled for another process, as `ddp_spawn` does, but a "
                    f"part of it cannot be: {error}. Name a path, or a function of a file instead of a "
                    "lambda; or use strategy='ddp'."
                ) from error
        return vars(self)

    def names_of(self, root: nn.Module) -> list[str]:
        """Return the names of a module's maps, none if its default map is not found.

        It raises ValueError if a named map is not found, or if ``reachable_steps`` are given and no
        map says from where to reach its outcomes.
        """
        self._find_maps(root)
        return self.memory.names

    def begin(
        self,
        root: nn.Module,
        *,
        trial: bool = False,  # look at two points only
        raises: Raises | None = None,  # which failures; in a trial of named maps the lasting ones
        dataloaders: int = 1,
        when: tuple[int, ...] = (),  # differs from look to look: seeds a fresh sample
        process: int = 0,
        gather: Gather | None = None,  # of several processes, all of which begin and read then
        surroundings: Surroundings = AS_IT_IS,  # in which the module is run
    ) -> Look:
        """Begin a look at the maps of a module."""
        maps, error = self._find_maps(root, surroundings)
        # Each process and dataloader draws keys of its own; and each look fresh ones. Maps have the
        # same, so that they are watched at the same points.
        fresh = when if self.sampling == "reservoir" else ()
        seeds = np.random.SeedSequence((self.seed, *fresh, process)).generate_state(
            dataloaders if self.dataloaders == "separate" else 1
        )
        num_points = min(POINTS_OF_A_TRIAL, self.num_points) if trial else self.num_points
        samples = [
            {name: PointSample(num_points, seed=int(seed)) for name in self.memory.names}
            for seed in seeds
        ]
        lasting: Raises = "lasting" if self.memory.named and trial else "none"
        return Look(
            root,
            maps,
            () if self.memory.given_up else samples,
            inspect=partial(self._inspect, trial=trial),
            memory=self.memory,
            voice=self.voice,
            raises="all" if self.on_error == "raise" else raises or lasting,
            is_trial=trial,
            gather=gather,
            # What is only tried advises nothing; several processes would have to agree on each try.
            watch=None
            if gather or isinstance(self.voice, Whisper)
            else partial(self._try, root, surroundings),
            error=error,
        )

    def _try(
        self, root: nn.Module, surroundings: Surroundings, maps: Mapping[str, Any], batch: Any
    ) -> Observation:
        """Watch one map at two rows of a batch, or raise what fails."""
        watcher = Watcher(
            maps,
            num_points=POINTS_OF_A_TRIAL,
            scale=self.scale,
            precision=self.precision,
            on_error="raise",
            max_work=MAX_WORK_OF_A_TRY,
            voice=Whisper(""),
        )
        look = watcher.begin(root, trial=True, surroundings=surroundings)
        look.offer(batch)
        (observation,) = look.read()
        return observation

    def _find_maps(
        self, root: nn.Module, surroundings: Surroundings = AS_IT_IS
    ) -> tuple[list[WatchedMap], Exception | None]:
        """Return the maps, and why the default map is not found, if it is not."""
        memory = self.memory
        by_module = callable(getattr(root, "invertibility_maps", None))
        memory.named, memory.names = self.maps is not None or by_module, []
        if memory.given_up:
            return [], None
        is_reaching = self.reachable_steps is not None
        try:
            maps = resolve_maps(
                self.maps,
                root,
                reachable_steps=self.reachable_steps,
                surroundings=surroundings,
            )
        except (ValueError, TypeError) as error:
            if memory.named or is_reaching:
                raise
            return [], error
        if is_reaching and all(watched.question(Reach) is None for watched in maps):
            raise ValueError(
                "Expected argument `reachable_steps` to be None, because no map says how its outcomes "
                "are reached. Name the inverse and the outcomes, as in maps={'forward': {'module': "
                "'net', 'input': 0, 'reach': {'inverse': 'inverse_net', 'outcomes': 1}}}, or train a "
                "ForwardInverseModule."
            )
        memory.names = [watched.name for watched in maps]
        return maps, None

    def _inspect(
        self,
        watched: WatchedMap,
        points: Points,
        outcomes: Tensor | None,
        part: str,
        *,
        trial: bool,
    ) -> Observation:
        """Look at a map at some points, as hard as ``max_work`` allows, and tell what is unusual."""
        name, memory = watched.name, self.memory
        known = memory.known[name, points.shape]
        is_new = known.num_outputs is None
        if is_new:
            _check_weights(watched.owner)
            self._warn_of_noise(watched, points[:2])
        if self.max_work is not None and known.plan is None:
            self._plan(known, watched, points[:1], self.max_work)
        if not trial:
            self._tell_of_few_points(len(points), known.plan)
        effort, num_points = Effort(), len(points)
        if known.plan is not None:
            points = points[: known.plan.num_points]
            effort = Effort(known.plan.formed, known.plan.probes, known.plan.steps)
        if outcomes is not None:
            outcomes = outcomes[: len(points)][: known.num_outcomes]
        observation = observe(
            watched,
            points,
            effort=effort,
            thresholds=self.thresholds,
            scale=self.scale,
            precision=self.precision,
            num_outputs=known.num_outputs,
            arithmetic=known.arithmetic,
            part=part,
            outcomes=outcomes if outcomes is not None and len(outcomes) else None,
            check=not known.is_checked,
        )
        known.num_outputs, known.arithmetic = observation.shape[0], observation.arithmetic
        memory.watched.add(name)
        if not trial:  # rows of a trial are too few to tell
            known.is_checked = True
            self._tell_of_bound(observation, num_points)
        self._tell_of_gaps(watched, observation)
        if is_new and observation.formed:
            with suppress(Exception):  # a word of advice ends no fit
                for kind in roughness(watched, points):
                    memory.rough.setdefault(kind, []).append(name)
        return observation

    def _plan(self, known: Known, watched: WatchedMap, point: Points, max_work: float) -> None:
        """Decide from the work at one point at how many points, and how, to look at a map."""
        with evaluation_mode([watched.owner]):
            function = with_context(point.call(watched), point.context)
            m, n = count_outputs(function, point.inputs), point.inputs.numel()
            flops = flops_of(function, point.inputs)
        known.plan = plan(flops, (m, n), self.num_points, max_work=max_work)
        if self.reachable_steps is not None:
            # A step forms a Jacobian, as the look does; and the solver evaluates the start.
            bound = max_work / (1 + self.reachable_steps)
            reaching = plan(flops, (m, n), self.num_points, max_work=bound)
            known.num_outcomes = reaching.num_points if reaching.formed else 0

    # Messages.

    def _warn_of_noise(self, watched: WatchedMap, points: Points) -> None:
        first, second = (watched.outputs(points) for _ in range(2))
        if not torch.equal(first.nan_to_num(), second.nan_to_num()):
            self.voice.warn(
                f"map {watched.name!r} gives another output each time, also in evaluation mode, because "
                "of noise such as dropout that stays on or a random code. The logged values are of one "
                "draw. This is said once.",
                once=("noise", watched.name),
            )

    def _tell_of_few_points(self, num_points: int, chosen: Plan | None) -> None:
        if num_points < min(self.num_points, chosen.num_points if chosen else self.num_points):
            self.voice.info(
                f"there are only {num_points} points, fewer than num_points={self.num_points}. All of "
                "them are watched.",
                once="few points",
            )

    def _tell_of_bound(self, observation: Observation, num_points: int) -> None:
        """Tell at how few of the points a map is watched, or how roughly."""
        name, (m, n), watched = observation.name, observation.shape, observation.num_points
        if self.max_work is None or (observation.formed and watched == num_points):
            return
        what = f"map {name!r} ({n} → {m}) is watched"
        if not observation.formed:
            what = f"the Jacobian of map {name!r} ({n} → {m}) is not formed, but bounded and estimated,"
        self.voice.info(
            f"{what} at {watched} of {num_points} points, to keep a look to "
            f"max_work={self.max_work:.0e} operations. max_work=None lifts this bound.",
            once=("bound", name, n, m),
        )

    def _tell_of_gaps(self, watched: WatchedMap, observation: Observation) -> None:
        """Tell which points or findings an observation lacks."""
        name, share = watched.name, observation.scalars["nonfinite_fraction"]
        if share > 0:
            self.voice.warn(
                f"map {name!r} or its Jacobian has a NaN or inf at {share:.1%} of the watched points. "
                "They are counted in `nonfinite_fraction` and left out of the rest. This is said once.",
                once="nonfinite",
            )
        if watched.question(AgainstTruth) and not observation.formed:
            self.voice.info(
                f"the Jacobian of map {name!r} is not compared with its truth: it is too large to be "
                "formed.",
                once=("truth", name),
            )
        if watched.question(Reach) and "reach" not in observation.findings:
            self.voice.info(
                f"`reachable_fraction` of map {name!r} is not computed: its Jacobian is too large for "
                f"{self.reachable_steps} solver steps. Raise max_work or lower reachable_steps.",
                once=("reach", name),
            )


def _check_weights(module: nn.Module) -> None:
    """Raise an error for lazy weights: a look that made them would draw others than a step."""
    if any(map(is_lazy, module.parameters())):
        raise RuntimeError(f"{type(module).__name__} has lazy weights that no forward has made yet")
