"""Watch, while training runs, where the maps of a module can be inverted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch.nn.parameter import is_lazy

from lightning_invert.callbacks.base import Callback
from lightning_invert.callbacks.batches import is_merged, peek
from lightning_invert.callbacks.best_checkpoint import Ending, ending_of
from lightning_invert.callbacks.validations import is_last_validation, why_never_validated
from lightning_invert.doorway import Drawn
from lightning_invert.jacobians.thresholds import Thresholds
from lightning_invert.jacobians.work import MAX_WORK
from lightning_invert.report.display import Display
from lightning_invert.report.loggers import logger_step
from lightning_invert.report.tags import scalars_by_tag
from lightning_invert.sampling import gather_objects
from lightning_invert.watch.history import History, record, remember
from lightning_invert.watch.look import Look, Memory
from lightning_invert.watch.maps import MapError
from lightning_invert.watch.observations import Observations
from lightning_invert.watch.schedule import Schedule
from lightning_invert.watch.surroundings import AS_IT_IS, surroundings_of
from lightning_invert.watch.voice import Voice, sentence
from lightning_invert.watch.watcher import Watcher

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

__all__ = ["InvertibilityCallback"]

MUCH_SECONDS, MUCH_OF_AN_EPOCH = 1.0, 0.1  # a first look that takes more than both is reported


class InvertibilityCallback(Drawn, Callback):
    """Log at how many points of the validation data a module's maps can be inverted.

    A look takes place at each watched validation of a fit, in ``validate`` and in ``test``. It draws a
    uniform sample of points, computes each map's Jacobian there, and logs the scalars of
    :class:`~lightning_invert.InvertibilityMetric` under ``invertibility/{map}/``, in ``test`` under
    ``test/invertibility/{map}/``. All scalars reach ``trainer.callback_metrics``, where
    ``EarlyStopping`` and ``ModelCheckpoint`` find them. Every logger gets the essential scalars;
    loggers that can show figures and tables get those, too.

    A Jacobian that is too large to be formed is bounded and estimated (``probes``). Watching changes
    nothing in the training: not weights, random streams, gradients or buffers.

    Args:
        maps: What to watch, name -> map. A map is the path of a submodule or method, such as
            ``{"encoder": "encoder"}``, or a mapping with these keys:

            * ``module``: a path, a module or a callable.
            * ``input``: the part of the batch by which the map is differentiated.
            * ``argument``: the argument that takes the input, by position or name. Default: the first.
            * ``within``: the collection that the map takes whole, with the input in it; ``[]``: the batch.
            * ``context``: further arguments, held fixed: parts in their order, or name -> part.
            * ``constants``: arguments with a fixed value, name -> value.
            * ``output``: the part of the returned value to differentiate.
            * ``target``: the part of the batch with the known outcomes; R² is logged.
            * ``identity``: whether the map is a round trip.
            * ``truth``: the true map: a path, a module or a callable of the same arguments.
            * ``reach``: see ``reachable_steps``.
            * ``input_names``, ``output_names``, ``input_std``, ``output_std``: of the columns.

            A part is an index, a key, an attribute, a method to call (``"float()"``), a list of those
            (a path), or a callable of the batch, or of batch and module. A list of lists names several
            parts. ``input`` and ``context`` can also be the value of another map,
            ``{"map": "encoder"}``, or of a function, ``{"module": <path>, "input": ...}``.

            ``None``: the module's ``invertibility_maps()``, else its ``forward`` at the first part of
            the batch. If that fails, one message lists what the batch holds, and training goes on.
        num_points: Points for each map and look, over all processes together.
        every_n_validations: Which validations of a fit to watch. n: 0, n, 2n, ... ``"log"``: 0, 1, 2,
            4, 8, ... A list: 0 and these. The last validation is watched, too, where it is known
            beforehand; an ``EarlyStopping`` or an interrupt is not.
        scale: ``"standardized"``: Jacobians between standardised inputs and outputs, by the module's
            statistics, else by the spread of the sampled inputs and of the outcomes (those of
            ``target`` if a map has one, else the predicted ones). ``"physical"``: as the module
            computes them. ``None``: standardised where the module has statistics, else physical.
        thresholds: What counts as full rank, singular, stable and ill-conditioned.
        precision: Arithmetic of the Jacobian, ``"native"`` or ``"float64"``. Singular values are always
            computed in float64.
        sampling: ``"reservoir"``: a fresh uniform sample at each look. ``"fixed"``: the same points at
            each look, so that only the map moves a curve. This needs a loader that does not shuffle.
        dataloaders: How to watch several validation dataloaders. ``"merged"``: one sample of all their
            points. ``"separate"``: one of each, under ``invertibility/dataloader_{i}/{map}/``.
        figures: ``"auto"``: whether a map gets worse and where, after the last look, and before it
            while drawing takes less than 1 % of the time. ``"all"``: every figure that applies,
            equally often. ``True``: all at each look. ``False``: none.
        save_figures: ``True``: save the figures as PNG in the folder ``invertibility`` beside the logs.
            A path: in that folder. A later figure of a map replaces the earlier one.
        scalars: Which scalars the loggers get in fit: ``"essential"`` or ``"all"``.
        max_work: Bound on the floating point operations of a look at a map, estimated from shapes.
            Default: about 1.5 s on two cores. Beyond it fewer points are watched, or the Jacobian is
            not formed; a message says so. ``None``: no bound.
        reachable_steps: Also log ``reachable_fraction``: start from the inverse's proposal, take this
            many solver steps within the bounds, count the outcomes reached to 0.01 standard deviations.
            This needs a :class:`~lightning_invert.ForwardInverseModule`, or a map with ``reach``:
            ``{"inverse": <path, module or callable>, "outcomes": <part of the batch>, "bounds": (low,
            high)}``; the ends of the sampled inputs stand in for bounds. ``None``: off.
        on_error: What a failed look, figure or logger does. ``"warn"``: one warning names the cause, and
            training goes on. ``"raise"``: the error is raised.

    Attributes:
        watcher: The :class:`~lightning_invert.watch.watcher.Watcher` that looks, without Lightning.
        observations: An :class:`~lightning_invert.Observation` of each map from the latest look.
        kept_observations: After a fit, the same for the weights of the kept checkpoint, at the same
            points. Empty if no checkpoint is kept, or if the latest look was at its weights.
        history: Map name -> rows, one for each look of the fit, for a data frame: see
            :data:`~lightning_invert.watch.history.Record`. Beyond 512 rows older ones are thinned out.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> watch = InvertibilityCallback({"encoder": "encoder"}, num_points=512, figures=False)
        >>> trainer = Trainer(callbacks=[watch], logger=False, accelerator="cpu")
    """

    def __init__(
        self,
        maps: Mapping[str, Any] | None = None,
        *,
        num_points: int = 256,
        every_n_validations: int | Literal["log"] | list[int] = 1,
        scale: Literal["standardized", "physical"] | None = None,
        thresholds: Thresholds | None = None,
        precision: Literal["native", "float64"] = "native",
        sampling: Literal["reservoir", "fixed"] = "reservoir",
        dataloaders: Literal["merged", "separate"] = "merged",
        figures: Literal["auto", "all"] | bool = "auto",
        save_figures: bool | str | Path = False,
        scalars: Literal["essential", "all"] = "essential",
        max_work: float | None = MAX_WORK,
        reachable_steps: int | None = None,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__()
        self._voice = Voice("InvertibilityCallback")
        self.watcher = Watcher(
            maps,
            num_points=num_points,
            thresholds=thresholds,
            scale=scale,
            precision=precision,
            sampling=sampling,
            dataloaders=dataloaders,
            on_error=on_error,
            max_work=max_work,
            reachable_steps=reachable_steps,
            voice=self._voice,
        )
        self.observations = self.kept_observations = Observations()
        self.history = History()
        self._schedule = Schedule(every_n_validations)
        self._validations = self._last_look = 0  # of this fit: how many, and which was watched last
        self._why_never = ""  # why this fit cannot be watched, if that is known from its start
        self._look: Look | None = None
        self._tried = False  # whether the named maps were, in this fit
        self._epoch_began: float | None = None
        self._surroundings = AS_IT_IS
        self._display = Display(
            figures=figures,
            save_figures=save_figures,
            scalars=scalars,
            on_error=on_error,
            voice=self._voice,
        )

    @property
    def _shown(self) -> Observations:
        return self.observations

    @property
    def state_key(self) -> str:
        """Tell several of these in one trainer apart."""
        watcher, maps = self.watcher, self.watcher.maps
        names = None if maps is None else sorted(maps)
        return self._generate_state_key(
            maps=names, scale=watcher.scale, precision=watcher.precision
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed fit needs to go on as if it had not been interrupted."""
        return {
            "history": {name: list(looks) for name, looks in self.history.items()},
            "validations": self._validations,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where the saved fit was."""
        self.history = History((n, list(looks)) for n, looks in state_dict["history"].items())
        self._validations = state_dict["validations"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin anew, unless a fit goes on."""
        self.watcher.memory = Memory()
        self.observations = self.kept_observations = Observations()
        self._look, self._tried, self._why_never, self._is_unresolved = None, False, "", False
        self._ending = Ending()
        self._display.begin(trainer)
        self._surroundings = surroundings_of(
            lambda: trainer.precision_plugin.forward_context(), trainer.strategy.root_device.type
        )
        if stage == "fit" and trainer.current_epoch == trainer.global_step == 0:
            self.history, self._validations = History(), 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report what is not going to work before an epoch has been trained."""
        try:
            self.watcher.names_of(pl_module)
        except ValueError:  # a hook of the module, or the next callback, may make what is named
            self._is_unresolved = True
        self._display.declare(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report that this fit never validates, if it is known."""
        self._display.start(trainer)
        self._why_never = why_never_validated(trainer)
        if self._why_never:
            self._voice.warn(f"nothing will be watched: {self._why_never}")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock that a look is compared with; raise an error for a path that leads nowhere."""
        if self._is_unresolved:
            self.watcher.names_of(pl_module)
            self._is_unresolved = False
        self._epoch_began = time.monotonic()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Try the named maps before the first step, where there was no sanity check."""
        if self._tried or not trainer.enable_validation or not self.watcher.memory.named:
            return
        if any(map(is_lazy, pl_module.parameters())):  # the first step makes them
            return
        self._tried = True
        try:
            self._try(trainer, pl_module, batch, raises="all")
        except MapError:
            # Batches of training may be of another form than those of validation, which count.
            batch = peek(trainer, pl_module)
            if batch is not None:
                self._try(trainer, pl_module, batch)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a look if this validation is watched."""
        if trainer.sanity_checking:
            batches = trainer.num_sanity_val_batches
            with suppress(ValueError) if self._is_unresolved else nullcontext():
                self._look = self._begin(trainer, pl_module, batches, trial=True)
            return
        if _is_fitting(trainer):
            number, self._validations = self._validations, self._validations + 1
            if not self._schedule.is_due(number) and not is_last_validation(trainer):
                return
        self._look = self._begin(trainer, pl_module, trainer.num_val_batches)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hold the parts of the batch, which a step may take out of it."""
        if self._look is not None:
            self._look.hold(batch)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Offer the batch's points to the sample."""
        if self._look is not None:
            self._look.offer(batch, dataloader_idx)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the sampled points and log what is found."""
        self._read(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sum up, after ``trainer.validate`` and ``trainer.test``."""
        if not _is_fitting(trainer):
            self._display.finish(trainer)
            self._display.sum_up()

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a look."""
        self._look = self._begin(trainer, pl_module, trainer.num_test_batches)

    on_test_batch_start = on_validation_batch_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end
    on_test_end = on_validation_end

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the last look while the loggers are open, and look at the kept checkpoint."""
        self._display.finish(trainer)
        self._ending = ending_of(trainer, pl_module, self.watcher, self.observations)
        self.kept_observations = self.observations.kept = self._ending.observations

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sum up, after the progress bar has gone."""
        self._display.sum_up(self._validations - self._last_look)
        self._ending.tell()
        self._tell_of_gaps()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Show what was seen before an interrupt or an error, within about a second."""
        self._look = self.watcher.memory.latest = None
        with suppress(Exception):  # the user's own is what counts
            self._display.sum_up(self._validations - self._last_look)
            if _is_fitting(trainer) and not isinstance(exception, Exception):
                ending_of(trainer, pl_module, self.watcher, ()).tell()
                self._tell_of_gaps()
            self._display.finish(trainer, in_haste=True)

    def _begin(
        self, trainer: Trainer, pl_module: LightningModule, batches: Sequence[Any], **how: Any
    ) -> Look:
        gather = partial(gather_objects, world_size=trainer.world_size)
        return self.watcher.begin(
            pl_module,
            **how,
            dataloaders=1 if is_merged(trainer) else len(batches),
            when=(trainer.current_epoch, trainer.global_step),
            process=trainer.global_rank,
            gather=gather if trainer.world_size > 1 else None,
            surroundings=self._surroundings,
        )

    def _try(self, trainer: Trainer, pl_module: LightningModule, batch: Any, **how: Any) -> None:
        look = self._begin(trainer, pl_module, [batch], trial=True, **how)
        look.offer(batch)
        look.read(pl_module.device)

    def _read(self, trainer: Trainer, pl_module: LightningModule) -> None:
        look, self._look = self._look, None
        if look is None:
            return
        begun = time.monotonic()
        observations = look.read(pl_module.device)
        self._tried = self._tried or bool(trainer.sanity_checking)
        if trainer.sanity_checking or not observations:
            return
        history = self.history if _is_fitting(trainer) else {}
        self.observations = Observations(observations, history)
        if _is_fitting(trainer):
            if not self.history:
                self._tell_cost(time.monotonic() - begun + look.seconds)
            for observation in observations:
                epoch, step = trainer.current_epoch, logger_step(trainer)
                looks = self.history.setdefault(observation.label, [])
                remember(looks, record(observation, epoch=epoch, step=step))
            self._last_look = self._validations
        prefix = "test/invertibility" if trainer.testing else "invertibility"
        self._display.log(trainer, scalars_by_tag(observations, prefix), prefix)
        self._display.show(trainer, self.observations, prefix=prefix)

    def _tell_cost(self, seconds: float) -> None:
        epoch = time.monotonic() - (self._epoch_began or time.monotonic())
        if seconds > MUCH_SECONDS and seconds > MUCH_OF_AN_EPOCH * epoch:
            self._voice.info(
                f"the first look took {seconds:.2g} s, {seconds / epoch:.0%} of the first epoch. Lower "
                "num_points, or watch fewer validations with every_n_validations."
            )

    def _tell_of_gaps(self) -> None:
        """Tell at the end of a fit what was not watched, and why."""
        missing = self.watcher.memory.missing
        of_maps = "; ".join(f"map {name!r}: {why}" for name, why in missing.items())
        if not self.observations:
            why = self._why_never or of_maps or "no validation was completed"
            self._voice.info(f"nothing was watched in this fit: {sentence(why)}")
        elif missing:
            self._voice.info(f"the last look lacks {sentence(of_maps)}")


def _is_fitting(trainer: Trainer) -> bool:
    return trainer.state.fn == "fit"
