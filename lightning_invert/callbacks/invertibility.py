"""Watch, while training runs, where the maps of a module can be inverted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch.utils.data import DataLoader, IterableDataset

from lightning_invert.arguments import check_integer
from lightning_invert.callbacks.base import Callback
from lightning_invert.jacobians.thresholds import Thresholds
from lightning_invert.jacobians.work import MAX_WORK
from lightning_invert.report.display import Display
from lightning_invert.report.loggers import logger_step
from lightning_invert.report.tags import scalars_by_tag
from lightning_invert.watch.history import Record, record, remember
from lightning_invert.watch.isolation import isolated
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.schedule import Budget, Schedule
from lightning_invert.watch.watcher import Watcher

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

__all__ = ["InvertibilityCallback"]

MUCH_SECONDS, MUCH_OF_AN_EPOCH = 1.0, 0.1
"""A look that takes more than both is worth a word."""

POINTS_OF_A_TRIAL = 2
"""A sanity check is to show that the maps can be watched, not what they are."""


class InvertibilityCallback(Callback):
    r"""Log how much of the data a module's maps can be inverted on.

    Each watched epoch it takes a uniform sample of the validation (or test) points, computes the
    Jacobian of each map there and logs, under ``invertibility/{map}/``, the share of points at full
    rank, the distribution of condition numbers and the rest of
    :class:`~lightning_invert.InvertibilityMetric`. The scalars go to ``trainer.callback_metrics``,
    where ``EarlyStopping`` and ``ModelCheckpoint`` find them, and the essential to every logger;
    histograms and figures go to the loggers that can show them (TensorBoard, Weights & Biases;
    MLflow the figures). In ``trainer.test`` the tags begin with ``test/``.

    A Jacobian that would take too long is formed at fewer points, or not at all. Of one that is not
    formed only what is known is logged: its largest singular value, a lower bound of its condition
    number, stable rank and participation ratio with their errors; nothing of its rank or bands. See
    :func:`~lightning_invert.jacobians.lanczos.probe_jacobians`.

    Watching changes nothing in the training: weights, random streams, gradients, BatchNorm
    statistics and training flags are afterwards what they were.

    Args:
        maps: What to watch: name -> path of a submodule or method, or a mapping with ``module`` (a
            path, a module or a callable), ``input`` (the part of the batch by which the Jacobian is
            taken), ``within`` (the collection that the function takes whole, with the input in it,
            if it takes one), ``context`` (further arguments, which are held fixed) and ``output`` (the part
            of what the module returns). A part is an index, a key, an attribute, a list of those
            (a path) or a callable of the batch, or of batch and module; a list of lists is
            several parts: for ``input`` their joint Jacobian. Also ``input_names``,
            ``output_names``, ``input_std`` and ``output_std`` (to standardise by), ``identity``
            (whether it is a round trip), and ``truth`` (the true map, or any other, as a path, a
            module or a callable of the same arguments: what the Jacobians are held against, see
            :func:`~lightning_invert.watch.truth.summarise_truth`). ``None``: the module's own
            ``invertibility_maps()``, else its ``forward`` at the first part of the batch; if that
            cannot be watched, it is said what there is to choose from, and training goes on.
        num_points: Points for each map and watched epoch, over all processes together.
        every_n_epochs: Watch epochs 0, n, 2n, ... and the last one. Where such an epoch has no
            validation, the next that has.
        scale: ``"standardized"``: Jacobians between standardised inputs and outputs, by the
            module's statistics or else by the spread of the sampled points (a column that does
            not vary is left as it is). ``"physical"``: as the module computes them. ``None``:
            standardised for a module that has statistics, physical for any other.
        rank_atol: A singular value counts for the rank if it is above this ...
        rank_rtol: ... and above this times the largest.
        singular_floor: The condition number is infinite if the smallest singular value is below.
        bands: Condition numbers where *stable* ends and *ill-conditioned* begins.
        precision: ``"native"`` or ``"float64"``: in what the Jacobian is computed. The singular
            values are always computed in float64.
        histograms: Whether to write histograms of rank, log10 condition number and singular values.
        figures: ``True``: every watched epoch. ``"auto"``: after the last epoch and, before it, as
            often as keeps drawing below 1 % of the time. ``False``: never.
        seed: Seed of the sample.
        dataloaders: Of several validation dataloaders: ``"merged"`` watches a sample of all their
            points, ``"separate"`` one of each, under ``invertibility/dataloader_{i}/{map}/``.
        save_figures: Also save the figures as PNG: ``True`` for the folder ``invertibility``
            beside the logs, or a folder. A later figure of a map replaces the earlier.
        verbose: Whether to print a summary at the end of fit, validate and test.
        sampling: ``"reservoir"``: a uniform sample of the points, fresh in every epoch.
            ``"fixed"``: the same one in every epoch, so that a curve does not move because the
            points do. ``"first"``: the first points. The latter two hold for loaders that do not
            shuffle, as those of validation should not.
        epochs: Watch these epochs and the last one, or ``"log"``: 0, 1, 2, 4, 8, ...
        max_overhead: What share of the time watching may take. Where it takes more, fewer points
            are watched, down to 16, and then fewer epochs; this is said. A fit that is resumed with
            the same ``num_points`` goes on with as few, with another with that.
        worst_points: Rows of the table of the worst points, ``invertibility/{map}_worst_points.csv``
            beside the logs; 0: no table.
        scalars: Which scalars the loggers get in fit: ``"essential"`` (for each map the shares at
            full rank, stable, ill-conditioned and singular, the median and 95th percentile of log10
            condition number and the median of the smallest singular value; and the errors of a
            round trip) or ``"all"``. ``trainer.callback_metrics`` has all in any case.
        max_work: Floating point operations that a look at a map may take, as estimated from its shapes
            before, so that it is the same on every machine: about two seconds on two cores. Beyond
            it fewer points are looked at, or the Jacobian is not formed; this is said once.
            ``None``: any.
        reachable_steps: Also tell, as ``reachable_fraction`` of the forward map, how many of the
            sampled outcomes are reached within so many steps of the solver (10, say), to a hundredth
            of a standard deviation, from what the inverse proposes for them, without leaving the
            box of the inputs: the ``low`` and ``high`` of its variables, or the range of the sampled
            inputs where there is none. For a :class:`~lightning_invert.ForwardInverseModule`, and
            for maps with ``reach``: ``{"inverse": ..., "outcomes": ..., "bounds": (low, high)}``, a
            path, a module or a callable, a part of the batch, and, if they are known, the ends. It
            takes up to ``max_work`` again. ``None``: it is not told.
        on_error: ``"warn"``: what fails (out of memory, another shape, LAPACK; a logger, a figure, a
            full disk) is said once, with its cause; that look, or that picture of it, is missing,
            and training goes on. ``"raise"``: it is raised.

    Attributes:
        watcher: What watches; it knows nothing of Lightning.
        observations: What the latest look found, one for each map.
        history: Name of a map -> its looks in fit, each a dictionary of plain numbers: see
            :class:`~lightning_invert.watch.history.Record`. Of more than 512 the older are thinned
            out, the first excepted.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> watch = InvertibilityCallback(maps={"encoder": "encoder"}, num_points=512)
        >>> trainer = Trainer(callbacks=[watch], logger=False, accelerator="cpu")
    """

    def __init__(
        self,
        maps: Mapping[str, Any] | None = None,
        num_points: int = 256,
        every_n_epochs: int = 1,
        scale: Literal["standardized", "physical"] | None = None,
        rank_atol: float = Thresholds.rank_atol,
        rank_rtol: float = Thresholds.rank_rtol,
        singular_floor: float = Thresholds.singular_floor,
        bands: tuple[float, float] = Thresholds.bands,
        precision: Literal["native", "float64"] = "native",
        histograms: bool = True,
        figures: Literal["auto"] | bool = "auto",
        seed: int = 42,
        dataloaders: Literal["merged", "separate"] = "merged",
        save_figures: bool | str | Path = False,
        verbose: bool = True,
        sampling: Literal["reservoir", "fixed", "first"] = "reservoir",
        epochs: Literal["log"] | list[int] | None = None,
        max_overhead: float | None = None,
        worst_points: int = 20,
        scalars: Literal["essential", "all"] = "essential",
        on_error: Literal["warn", "raise"] = "warn",
        max_work: float | None = MAX_WORK,
        reachable_steps: int | None = None,
    ) -> None:
        super().__init__()
        self.num_points = check_integer("num_points", num_points, low=1)
        self.figures = figures
        self.max_overhead = max_overhead
        self.watcher = Watcher(
            maps,
            num_points=num_points,
            thresholds=Thresholds(rank_atol, rank_rtol, singular_floor, bands),
            scale=scale,
            precision=precision,
            seed=seed,
            sampling=sampling,
            dataloaders=dataloaders,
            on_error=on_error,
            max_work=max_work,
            reachable_steps=reachable_steps,
        )
        self.observations: Sequence[Observation] = ()
        self.history: dict[str, list[Record]] = {}
        self._epoch_began: float | None = None
        self._tried = False
        """Whether the named maps were tried before the first training step."""
        self._schedule = Schedule(every_n_epochs, epochs)
        self._budget = Budget(num_points, max_overhead)
        self._display = Display(
            histograms=histograms,
            figures=figures,
            save_figures=save_figures,
            worst_points=worst_points,
            verbose=verbose,
            scalars=scalars,
            on_error=on_error,
        )

    # What a checkpoint keeps.

    @property
    def state_key(self) -> str:
        """Tell several of these in one trainer apart."""
        names = None if self.watcher.maps is None else sorted(self.watcher.maps)
        return self._generate_state_key(
            maps=names, scale=self.watcher.scale, precision=self.watcher.precision
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed fit needs to go on as if it had not been interrupted."""
        return {
            "history": {name: list(looks) for name, looks in self.history.items()},
            "num_points": self._budget.num_points,
            "num_points_wanted": self.num_points,
            "last_epoch": self._schedule.last,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where the saved fit was."""
        self.history = {name: list(looks) for name, looks in state_dict["history"].items()}
        # Who now wants others, or sets no bound on the time, is not held to what a budget left then.
        if self.max_overhead is not None and self.num_points == state_dict.get("num_points_wanted"):
            self._budget.num_points = state_dict["num_points"]
        self._schedule.last = state_dict["last_epoch"]

    # Where the trainer calls.

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin anew, unless a fit goes on."""
        self.watcher.forget()
        self.observations, self._tried = (), False
        self._display.begin(trainer)
        if stage == "fit" and trainer.current_epoch == 0:
            self.history, self._schedule.last = {}, -1
            self._budget.num_points = self.num_points

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Complain about what is not going to work before an epoch has been trained."""
        self.watcher.resolve(pl_module)
        self._budget.begin()
        self._display.declare(trainer, pl_module, self.watcher.names)
        if not trainer.enable_validation:
            rank_zero_warn(
                "InvertibilityCallback watches validation points, but this fit has no validation "
                "loop: nothing will be watched. Give the trainer validation data and the module a "
                "`validation_step`."
            )
        elif _never_validated(trainer):
            rank_zero_warn(
                "InvertibilityCallback watches validation points, but with "
                f"check_val_every_n_epoch={trainer.check_val_every_n_epoch} and "
                f"max_epochs={trainer.max_epochs} this fit never validates: nothing will be watched."
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock that a look is compared with."""
        self._epoch_began = time.monotonic()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Try the named maps before the first step, where there was no sanity check."""
        if self._tried or not trainer.enable_validation or not self.watcher.named:
            return
        self._tried = True
        try:
            self._try(trainer, pl_module, batch)
        except RuntimeError:  # a MapError, or another process's
            # Batches of training may be of another form than those of validation, which count.
            batch = _peek(trainer, pl_module)
            self._tried = batch is not None
            if batch is not None:
                self._try(trainer, pl_module, batch)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a sample if this epoch is watched."""
        if trainer.sanity_checking:
            self._begin(trainer, pl_module, len(trainer.num_sanity_val_batches), trial=True)
        elif self._is_watched(trainer):
            # Where they could not be tried before, this is the first time that it can be said.
            strict = _fitting(trainer) and not self._tried
            self._begin(trainer, pl_module, len(trainer.num_val_batches), strict=strict)
            self._tried = True

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
        self.watcher.offer(batch, dataloader_idx)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the sampled points and log what is found."""
        self._look(trainer, pl_module, prefix="invertibility")

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a sample."""
        self._begin(trainer, pl_module, len(trainer.num_test_batches))

    on_test_batch_end = on_validation_batch_end

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the sampled points and log what is found."""
        self._look(trainer, pl_module, prefix="test/invertibility")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sum up, after ``trainer.validate``."""
        if not _fitting(trainer):
            self._display.finish(trainer, {})
            self._display.sum_up()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sum up."""
        self._display.finish(trainer, {})
        self._display.sum_up()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the last look, while the loggers are still open."""
        self._display.finish(trainer, self.history)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sum up, after the progress bar has gone."""
        self._display.sum_up()

    # What they lead to.

    def _is_watched(self, trainer: Trainer) -> bool:
        if not _fitting(trainer):
            return True
        epoch, end = trainer.current_epoch, trainer.max_epochs or -1
        if epoch < end <= epoch + (trainer.check_val_every_n_epoch or 1):
            return True  # the last one
        if not self._schedule.is_due(epoch):
            return False
        allowed = self._budget.allows()
        if self.max_overhead is not None:
            allowed = trainer.strategy.broadcast(allowed)
        return allowed

    def _begin(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        dataloaders: int,
        *,
        trial: bool = False,
        strict: bool = False,
    ) -> None:
        self.watcher.num_points = self._budget.num_points
        self.watcher.begin(
            pl_module,
            num_points=POINTS_OF_A_TRIAL if trial else None,
            strict=trial or strict,
            dataloaders=dataloaders,
            when=(trainer.current_epoch, trainer.global_step),
            process=trainer.global_rank,
            gather=partial(_gather, trainer.world_size) if trainer.world_size > 1 else None,
        )

    def _try(self, trainer: Trainer, pl_module: LightningModule, batch: Any) -> None:
        self._begin(trainer, pl_module, 1, trial=True)
        self.watcher.offer(batch)
        self.watcher.look(pl_module.device)

    def _look(self, trainer: Trainer, pl_module: LightningModule, *, prefix: str) -> None:
        begun, drawing = time.monotonic(), self._display.seconds_drawing
        warm, first = self.watcher.warm, not self.history
        seen = self.watcher.look(pl_module.device)
        if trainer.sanity_checking:
            self._tried = True
        if trainer.sanity_checking or not seen:
            return
        self.observations = seen
        self.watcher.say_fewer(seen)
        if _fitting(trainer):
            self._take_down(trainer, seen)
        self._log(trainer, pl_module, scalars_by_tag(seen, prefix))
        draw = self._may_draw(trainer, len(seen))
        self._display.show(trainer, seen, self.history, prefix=prefix, draw=draw)
        if _fitting(trainer):
            drawn = self._display.seconds_drawing - drawing
            seconds = time.monotonic() - begun - drawn + self.watcher.seconds_offering
            # The first look has more to do than those that follow.
            self._account(trainer, seconds if warm else 0.0)
            if first:
                self._say_cost(seconds)

    def _take_down(self, trainer: Trainer, seen: Sequence[Observation]) -> None:
        """Remember what was seen when."""
        epoch = self._schedule.last = trainer.current_epoch
        for one in seen:
            kept = record(one, epoch=epoch, step=logger_step(trainer))
            remember(self.history.setdefault(one.label, []), kept)

    def _may_draw(self, trainer: Trainer, maps: int) -> bool:
        if self.figures != "auto" or not _fitting(trainer):
            return self.figures is not False
        return self._display.may_draw(maps, self.max_overhead)

    def _account(self, trainer: Trainer, seconds: float) -> None:
        before = self._budget.num_points
        self._budget.account(seconds)
        if self.max_overhead is None:
            return
        # The clocks of the processes differ: the first decides.
        self._budget.num_points = trainer.strategy.broadcast(self._budget.num_points)
        if self._budget.num_points < before:
            rank_zero_info(
                f"InvertibilityCallback took {1e3 * seconds:.3g} ms in epoch "
                f"{trainer.current_epoch}, more than max_overhead={self.max_overhead:g} allows: it "
                f"watches {self._budget.num_points} points from now on, not {before}."
            )

    def _say_cost(self, seconds: float) -> None:
        epoch = time.monotonic() - (self._epoch_began or time.monotonic())
        if seconds > MUCH_SECONDS and seconds > MUCH_OF_AN_EPOCH * epoch:
            rank_zero_info(
                f"InvertibilityCallback: the first look took {seconds:.2g} s, "
                f"{seconds / epoch:.0%} of the first epoch. Watch fewer points (num_points), fewer "
                "epochs (every_n_epochs, epochs='log'), or say how much it may take (max_overhead)."
            )

    def _log(self, trainer: Trainer, pl_module: LightningModule, scalars: dict[str, float]) -> None:
        if not _fitting(trainer):
            # Then `trainer.validate` and `trainer.test` return and print them too.
            pl_module.log_dict(scalars, sync_dist=trainer.world_size > 1, batch_size=1)
            return
        # As Lightning's own LearningRateMonitor does it: `log_dict` takes 0.3 ms for each scalar,
        # which for three maps would be more than all the rest of watching.
        values = torch.tensor(list(scalars.values()), dtype=torch.float64)
        tensors = dict(zip(scalars, values, strict=True))
        trainer.callback_metrics.update(tensors)
        logged = self._display.log(trainer, scalars)
        trainer.logged_metrics.update({tag: tensors[tag] for tag in logged})


def _peek(trainer: Trainer, pl_module: LightningModule) -> Any:
    """Return a batch of validation, if one can be had without a trace."""
    trainer.fit_loop.epoch_loop.val_loop.setup_data()
    loader: Any = trainer.val_dataloaders
    loader = loader[0] if isinstance(loader, list | tuple) and loader else loader
    if type(loader) is not DataLoader or isinstance(loader.dataset, IterableDataset):
        return None
    state = loader.generator and loader.generator.get_state()
    with isolated(pl_module):
        batch = next(iter(loader), None)
    if state is not None:
        loader.generator.set_state(state)
    return None if batch is None else trainer.strategy.batch_to_device(batch, dataloader_idx=0)


def _never_validated(trainer: Trainer) -> bool:
    every, last = trainer.check_val_every_n_epoch, trainer.max_epochs
    return every is not None and last is not None and 0 < last < every


def _fitting(trainer: Trainer) -> bool:
    return trainer.state.fn == "fit"


def _gather(world_size: int, mine: Any) -> list[Any]:
    """Return what every process passes here."""
    everywhere: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(everywhere, mine)
    return everywhere
