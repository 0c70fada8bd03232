"""Watch, while training runs, where the maps of a module can be inverted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from lightning_invert.callbacks.base import Callback
from lightning_invert.jacobians.contexts import differentiable, evaluation_mode
from lightning_invert.jacobians.spectrum import Spectra, measure_spectra
from lightning_invert.jacobians.thresholds import Thresholds, condition_number, numerical_rank
from lightning_invert.report.display import Display
from lightning_invert.report.loggers import declare_metrics, galleries, logger_step
from lightning_invert.report.words import MapReport
from lightning_invert.watch.history import Look, remember
from lightning_invert.watch.maps import WatchedMap, resolve_maps
from lightning_invert.watch.metric import InvertibilityMetric
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.sampling import StreamSample
from lightning_invert.watch.schedule import Budget, Schedule

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

__all__ = ["InvertibilityCallback"]

MOST_INPUTS_KEPT = 1024
"""With more inputs than that (images), points are not kept for the fragile-zone figure."""


class InvertibilityCallback(Callback):
    r"""Log how much of the data a module's maps can be inverted on.

    Each watched epoch it takes a uniform sample of the validation (or test) points, computes the
    Jacobian of each map there and logs, under ``invertibility/{map}/``, the share of points at full
    rank, the distribution of condition numbers and the rest of
    :class:`~lightning_invert.InvertibilityMetric`. The scalars go to every logger and to
    ``trainer.callback_metrics``, where ``EarlyStopping`` and ``ModelCheckpoint`` find them;
    histograms and figures go to the loggers that can show them (TensorBoard, Weights & Biases;
    MLflow the figures). In ``trainer.test`` the tags begin with ``test/``.

    A Jacobian with more than 1024 singular values or 4 194 304 entries is not formed. Its condition
    number is then a lower bound, there is no effective rank, and *full rank* means not shown to be
    deficient: see :func:`~lightning_invert.jacobians.lanczos.extreme_singular_values`.

    Watching changes nothing in the training: weights, random streams, gradients, BatchNorm
    statistics and training flags are afterwards what they were.

    Args:
        maps: What to watch: name -> path of a submodule, or a mapping with ``module`` (a path, a
            module or a callable), ``input`` and ``output`` (an index, key or callable that picks
            the map's input out of the batch, and its output out of what the module returns),
            ``input_names`` and ``output_names``. ``None``: the module's own
            ``invertibility_maps()``, else its ``forward`` at the first part of the batch.
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
            are watched, down to 16, and then fewer epochs; this is said.
        worst_points: Rows of the table of the worst points, ``invertibility/{map}_worst_points.csv``
            beside the logs; 0: no table.

    Attributes:
        history: Name of a map -> its looks in fit, each a dictionary of plain numbers: see
            :class:`~lightning_invert.watch.history.Look`.

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
        rank_atol: float = 1e-5,
        rank_rtol: float = 0.0,
        singular_floor: float = 1e-12,
        bands: tuple[float, float] = (100.0, 1e4),
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
    ) -> None:
        super().__init__()
        _check_choice("scale", scale, (None, "standardized", "physical"))
        _check_choice("precision", precision, ("native", "float64"))
        _check_choice("figures", figures, ("auto", True, False))
        _check_choice("dataloaders", dataloaders, ("merged", "separate"))
        _check_choice("sampling", sampling, ("reservoir", "fixed", "first"))
        Thresholds(rank_atol, rank_rtol, singular_floor, bands)
        if not isinstance(worst_points, int) or worst_points < 0:
            raise ValueError(
                f"Expected argument `worst_points` to be at least 0, but got {worst_points}."
            )
        self.maps = maps
        self.num_points = num_points
        self.scale = scale
        self.rank_atol = rank_atol
        self.rank_rtol = rank_rtol
        self.singular_floor = singular_floor
        self.bands = bands
        self.precision = precision
        self.figures = figures
        self.seed = seed
        self.dataloaders = dataloaders
        self.sampling = sampling
        self.max_overhead = max_overhead
        self.history: dict[str, list[Look]] = {}
        self.last_watched: tuple[int, int] | None = None
        """Epoch and step of the latest look in fit, for callbacks that act on what was logged."""
        self._schedule = Schedule(every_n_epochs, epochs)
        self._budget = Budget(num_points, max_overhead)
        self._display = Display(
            histograms=histograms,
            figures=figures,
            save_figures=save_figures,
            worst_points=worst_points,
            verbose=verbose,
        )
        self._metric = InvertibilityMetric(
            rank_atol=rank_atol,
            rank_rtol=rank_rtol,
            singular_floor=singular_floor,
            bands=bands,
            sync_on_compute=False,  # every process has all points
        )
        self._maps: list[WatchedMap] = []
        self._samples: list[StreamSample] = []
        """One, or one of each dataloader; none where nothing is watched."""
        self._offering_seconds = 0.0
        self._failure: Exception | None = None
        self._warned_nonfinite = self._said_fewer = False
        self._outputs: dict[str, int] = {}
        """Of maps that were looked at before: how many there are, and whether points mix, is asked
        once."""

    # What a checkpoint keeps.

    @property
    def state_key(self) -> str:
        """Tell several of these in one trainer apart."""
        names = None if self.maps is None else sorted(self.maps)
        return self._generate_state_key(maps=names, scale=self.scale, precision=self.precision)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed fit needs to go on as if it had not been interrupted."""
        return {
            "history": {name: list(looks) for name, looks in self.history.items()},
            "num_points": self._budget.num_points,
            "last_epoch": self._schedule.last,
            "last_watched": self.last_watched,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where the saved fit was."""
        self.history = {name: list(looks) for name, looks in state_dict["history"].items()}
        self._budget.num_points = min(self.num_points, state_dict["num_points"])
        self._schedule.last = state_dict["last_epoch"]
        self.last_watched = state_dict["last_watched"]

    # Where the trainer calls.

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin anew, unless a fit goes on."""
        self._outputs = {}
        self._display.begin(trainer)
        if stage == "fit" and trainer.current_epoch == 0:
            self.history, self.last_watched, self._schedule.last = {}, None, -1
            self._budget.num_points = self.num_points

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Complain about what is not going to work before an epoch has been trained."""
        self._maps = resolve_maps(self.maps, pl_module)
        self._budget.begin()
        declare_metrics(trainer, pl_module, [watched.name for watched in self._maps])
        if not trainer.enable_validation:
            rank_zero_warn(
                "InvertibilityCallback watches validation points, but this fit has no validation "
                "loop: nothing will be watched. Give the trainer validation data and the module a "
                "`validation_step`."
            )

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a sample if this epoch is watched."""
        if self._is_watched(trainer):
            batches = trainer.num_sanity_val_batches if trainer.sanity_checking else None
            self._begin(trainer, pl_module, len(batches or trainer.num_val_batches))

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
        if self._samples and self._failure is None:
            begun = time.monotonic()
            try:
                self._offer(batch, dataloader_idx)
            except Exception as error:
                if trainer.world_size == 1:
                    raise
                self._failure = error  # The other processes are told when they gather.
            self._offering_seconds += time.monotonic() - begun

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the sampled points and log what is found."""
        self._watch(trainer, pl_module, tag="invertibility")

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a sample."""
        self._begin(trainer, pl_module, len(trainer.num_test_batches))

    on_test_batch_end = on_validation_batch_end

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the sampled points and log what is found."""
        self._watch(trainer, pl_module, tag="test/invertibility")

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

    # The way of the data.

    def _is_watched(self, trainer: Trainer) -> bool:
        if not _fitting(trainer) or trainer.sanity_checking:
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

    def _begin(self, trainer: Trainer, pl_module: LightningModule, loaders: int) -> None:
        self._maps = resolve_maps(self.maps, pl_module)
        self._offering_seconds, self._failure = 0.0, None
        # Each process and dataloader draws keys of its own; and each epoch and step fresh ones.
        fresh = (trainer.current_epoch, trainer.global_step)
        when = fresh if self.sampling == "reservoir" else ()
        seeds = np.random.SeedSequence((self.seed, *when, trainer.global_rank)).generate_state(
            loaders if self.dataloaders == "separate" else 1
        )
        num_points, first = self._budget.num_points, self.sampling == "first"
        self._samples = [StreamSample(num_points, seed=int(s), first=first) for s in seeds]

    def _offer(self, batch: Any, dataloader_idx: int) -> None:
        sample = self._samples[dataloader_idx if self.dataloaders == "separate" else 0]
        sample.add({watched.name: watched.select(batch) for watched in self._maps})

    def _watch(self, trainer: Trainer, pl_module: LightningModule, *, tag: str) -> None:
        begun, drawing = time.monotonic(), self._display.seconds_drawing
        samples, self._samples = self._samples, []
        if not samples:
            return
        warm = bool(self._outputs)
        seen: list[Observation] = []
        with _together(trainer, self._failure):
            for number, sample in enumerate(samples):
                part = f"dataloader_{number}" if len(samples) > 1 else ""
                seen += self._look_at(trainer, pl_module, sample, tag, part)
        if trainer.sanity_checking or not seen:
            return
        if _fitting(trainer):
            self._take_down(trainer, seen)
        scalars = {name: value for one in seen for name, value in one.scalars.items()}
        self._log(trainer, pl_module, scalars)
        self._display.show(trainer, seen, self.history, draw=self._may_draw(trainer, len(seen)))
        if _fitting(trainer):
            drawn = self._display.seconds_drawing - drawing
            seconds = time.monotonic() - begun - drawn + self._offering_seconds
            # The first look has more to do than those that follow.
            self._account(trainer, seconds if warm else 0.0)

    def _take_down(self, trainer: Trainer, seen: list[Observation]) -> None:
        """Remember what was seen when."""
        self.last_watched = (trainer.current_epoch, trainer.global_step)
        self._schedule.last = trainer.current_epoch
        for one in seen:
            looks = self.history.setdefault(one.report.name, [])
            looks.append(remember(one, trainer.current_epoch))

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

    def _look_at(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        sample: StreamSample,
        tag: str,
        part: str,
    ) -> list[Observation]:
        """Look at all maps at the points of a sample."""
        if trainer.world_size > 1:
            # Every process looks at all points of the common sample: it is small, and processes that
            # share a module's weights (FSDP) have to call it equally often.
            sample.merge(partial(_gather, trainer.world_size))
        if len(sample) == 0:
            where = f" of {part}" if part else ""
            rank_zero_warn(
                f"InvertibilityCallback saw no points{where} in this epoch: nothing is logged."
            )
            return []
        if len(sample) < sample.num_points and not (self._said_fewer or trainer.sanity_checking):
            self._said_fewer = True
            rank_zero_info(
                f"InvertibilityCallback watches {len(sample)} points, all that there are, and not "
                f"the {sample.num_points} it was asked for."
            )
        rows = sample.rows()
        cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
        with isolate_rng(include_cuda=cuda), _silent(pl_module):
            return [
                self._look(trainer, watched, rows[watched.name].to(pl_module.device), tag, part)
                for watched in self._maps
            ]

    def _log(
        self, trainer: Trainer, pl_module: LightningModule, scalars: dict[str, Tensor]
    ) -> None:
        if not _fitting(trainer):
            # Then `trainer.validate` and `trainer.test` return and print them too.
            pl_module.log_dict(scalars, sync_dist=trainer.world_size > 1, batch_size=1)
            return
        # As Lightning's own LearningRateMonitor does it: `log_dict` takes 0.3 ms for each scalar,
        # which for three maps would be more than all the rest of watching.
        trainer.callback_metrics.update(scalars)
        trainer.logged_metrics.update(scalars)
        values = {name: value.item() for name, value in scalars.items()}
        for gallery in galleries(trainer):
            gallery.scalars({**values, "epoch": trainer.current_epoch}, logger_step(trainer))

    def _look(
        self, trainer: Trainer, watched: WatchedMap, x: Tensor, tag: str, part: str
    ) -> Observation:
        with evaluation_mode([watched.owner]), differentiable(x.device.type):
            function: WatchedMap = watched
            if self.precision == "float64":
                function, x = watched.in_float64(), x.double()
            scale = self._scale_in_force(watched)
            try:
                spectra = measure_spectra(
                    function,
                    x,
                    scales=self._scales(function, x) if scale == "standardized" else None,
                    identity=watched.name == "round_trip",
                    outputs=self._outputs.get(watched.name),
                    check=watched.name not in self._outputs,
                )
            except (TypeError, ValueError) as why:
                problem = f"InvertibilityCallback cannot watch map {watched.name!r}: {why}"
                raise type(why)(problem) from why
            self._outputs[watched.name] = spectra.shape[0]
            of_pair = self._errors_of_pair(function, x, spectra)

        sigma, resolvable = spectra.singular_values, spectra.resolvable
        metric = self._metric
        if metric.device != sigma.device:
            metric.to(sigma.device)
        metric.reset()
        metric.update(sigma, resolvable=resolvable, complete=spectra.complete)
        scalars = metric.compute()
        sigma = sigma.cpu()
        points = x.detach().flatten(1).cpu() if x[0].numel() <= MOST_INPUTS_KEPT else None
        self._warn_of_nonfinite(watched.name, scalars["nonfinite_fraction"].item())

        tag = f"{tag}/{part}" if part else tag
        report = MapReport(
            f"{watched.name}_{part}" if part else watched.name,
            spectra.shape,
            len(sigma),
            {name: value.item() for name, value in scalars.items()},
            resolvable,
            scale,
            self.bands,
            spectra.complete,
            self.rank_atol,
            self.rank_rtol,
            self.singular_floor,
        )
        logged = {f"{tag}/{watched.name}/{name}": value for name, value in scalars.items()}
        logged |= {f"{tag}/{name}": value for name, value in of_pair.items()}
        finite = sigma.isfinite().all(-1)
        sigma = sigma[finite]
        return Observation(
            watched=watched,
            report=report,
            scalars=logged,
            singular_values=sigma,
            condition=condition_number(sigma, floor=self.singular_floor),
            rank=numerical_rank(sigma, atol=self.rank_atol, rtol=self.rank_rtol),
            points=points[finite] if points is not None else None,
            tag=f"{tag}/{watched.name}",
            step=logger_step(trainer),
        )

    def _scale_in_force(self, watched: WatchedMap) -> str:
        given = watched.input_scale is not None and watched.output_scale is not None
        return self.scale or ("standardized" if given else "physical")

    def _scales(self, watched: WatchedMap, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the spread of each input and of each output."""
        if watched.input_scale is not None and watched.output_scale is not None:
            return watched.input_scale, watched.output_scale
        with torch.no_grad():
            y = watched(x)
        return _spread(x), _spread(y)

    def _errors_of_pair(
        self, watched: WatchedMap, y: Tensor, spectra: Spectra
    ) -> dict[str, Tensor]:
        """Return how far F∘I is from the identity, in value and in slope, in standard units."""
        if watched.name != "round_trip":
            return {}
        _, scale = self._scales(watched, y)
        with torch.no_grad():
            deviation = (watched(y) - y).flatten(1) / scale
        errors = {"consistency_error": deviation.square().mean().sqrt()}
        if spectra.deviation is not None:
            finite = spectra.deviation[spectra.deviation.isfinite()]
            errors["jacobian_consistency_error"] = finite.square().mean().sqrt()
        return errors

    def _warn_of_nonfinite(self, name: str, share: float) -> None:
        if share > 0 and not self._warned_nonfinite:
            self._warned_nonfinite = True
            rank_zero_warn(
                f"The Jacobian of map {name!r} has a NaN or inf at {share:.1%} of the watched "
                "points. They are counted in `nonfinite_fraction` and left out of the rest; this "
                "is said once."
            )


@contextmanager
def _silent(module: LightningModule) -> Iterator[None]:
    """Let what a module logs in its forward go nowhere: these are not steps of its own."""
    own = dict(vars(module))
    for name in ("log", "log_dict"):
        vars(module)[name] = lambda *_, **__: None
    try:
        yield
    finally:
        for name in ("log", "log_dict"):
            vars(module).pop(name)
            if name in own:
                vars(module)[name] = own[name]


@contextmanager
def _together(trainer: Trainer, failure: Exception | None) -> Iterator[None]:
    """Fail in every process if one fails: those left alone would wait for it without end."""
    _agree(trainer, failure)
    failure = None
    try:
        yield
    except Exception as error:
        if trainer.world_size == 1:
            raise
        failure = error
    _agree(trainer, failure)


def _agree(trainer: Trainer, failure: Exception | None) -> None:
    if trainer.world_size > 1:
        failures = _gather(trainer.world_size, failure and f"{type(failure).__name__}: {failure}")
        others = [(rank, text) for rank, text in enumerate(failures) if text]
        if others and failure is None:
            rank, text = others[0]
            raise RuntimeError(f"InvertibilityCallback failed in process {rank}: {text}")
    if failure is not None:
        raise failure


def _fitting(trainer: Trainer) -> bool:
    return trainer.state.fn == "fit"


def _gather(world_size: int, mine: Any) -> list[Any]:
    """Return what every process passes here."""
    everywhere: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(everywhere, mine)
    return everywhere


def _spread(rows: Tensor) -> Tensor:
    """Return the standard deviation of each column; 1 where there is none."""
    rows = rows.detach().flatten(1)
    rows = rows if rows.device.type == "mps" else rows.double()  # MPS has no float64
    spread = rows.std(0) if len(rows) > 1 else torch.zeros_like(rows[0])
    return torch.where(spread > 0, spread, 1.0)


def _check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if not any(value is choice or value == choice for choice in choices):
        raise ValueError(f"Expected argument `{name}` to be one of {choices}, but got {value!r}.")
