"""Watch, while training runs, where the maps of a module can be inverted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only, rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from lightning_invert.callbacks.base import Callback
from lightning_invert.callbacks.tensorboard import histogram, logger_step, tensorboard_writers
from lightning_invert.jacobian import differentiable
from lightning_invert.maps import WatchedMap, evaluation_mode, resolve_maps
from lightning_invert.metrics import LOG10_COND_CAP, InvertibilityMetric, check_thresholds
from lightning_invert.report import MapReport, report_table
from lightning_invert.sampling import StreamSample
from lightning_invert.spectra import measure_spectra
from lightning_invert.spectrum import condition_number, numerical_rank

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer
    from matplotlib.figure import Figure

__all__ = ["InvertibilityCallback"]

DRAWING_SHARE = 0.05
"""What ``figures="auto"`` may spend on drawing before the end of fit, as a share of its time."""

FIRST_DRAWING_SECONDS = 0.5
"""What a map's figures are assumed to cost until they have been timed once."""

MOST_INPUTS_KEPT = 1024
"""With more inputs than that (images), points are not kept for the fragile-zone figure."""


class _Observation(NamedTuple):
    """What one look at one map found, over all processes, on the CPU."""

    watched: WatchedMap
    report: MapReport
    scalars: dict[str, Tensor]
    singular_values: Tensor  # (N, k), finite points only, like the three below
    condition: Tensor  # (N,)
    rank: Tensor  # (N,)
    points: Tensor | None  # (N, n)
    tag: str
    step: int


class InvertibilityCallback(Callback):
    r"""Log how much of the data a module's maps can be inverted on.

    Each watched epoch it takes a uniform sample of the validation (or test) points, computes the
    Jacobian of each map there and logs, under ``invertibility/{map}/``, the share of points at full
    rank, the distribution of condition numbers and the rest of
    :class:`~lightning_invert.InvertibilityMetric`. The scalars go to every logger and to
    ``trainer.callback_metrics``, where ``EarlyStopping`` and ``ModelCheckpoint`` find them;
    histograms and figures go to TensorBoard. In ``trainer.test`` the tags begin with ``test/``.

    A Jacobian with more than 1024 singular values or 4 194 304 entries is not formed. Its condition
    number is then a lower bound, there is no effective rank, and *full rank* means not shown to be
    deficient: see :func:`~lightning_invert.matrix_free.extreme_singular_values`.

    Watching changes nothing in the training: weights, random streams, gradients, BatchNorm
    statistics and training flags are afterwards what they were.

    Args:
        maps: What to watch: name -> path of a submodule, or a mapping with ``module`` (a path, a
            module or a callable), ``input`` and ``output`` (an index, key or callable that picks
            the map's input out of the batch, and its output out of what the module returns),
            ``input_names`` and ``output_names``. ``None``: the module's own
            ``invertibility_maps()``, else its ``forward`` at the first part of the batch.
        num_points: Points for each map and watched epoch, over all processes together.
        every_n_epochs: Watch epochs 0, n, 2n, ... and the last one.
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
            often as keeps drawing below 5 % of the time. ``False``: never.
        seed: Seed of the sample, which is fresh in every epoch.
        dataloaders: Of several validation dataloaders: ``"merged"`` watches a sample of all their
            points, ``"separate"`` one of each, under ``invertibility/dataloader_{i}/{map}/``.
        save_figures: Also save the figures as PNG: ``True`` for the folder ``invertibility``
            beside the logs, or a folder. A later figure of a map replaces the earlier.
        verbose: Whether to print a summary at the end of fit, validate and test.

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
    ) -> None:
        super().__init__()
        for name, value in {"num_points": num_points, "every_n_epochs": every_n_epochs}.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"Expected argument `{name}` to be at least 1, but got {value}.")
        _check_choice("scale", scale, (None, "standardized", "physical"))
        _check_choice("precision", precision, ("native", "float64"))
        _check_choice("figures", figures, ("auto", True, False))
        _check_choice("dataloaders", dataloaders, ("merged", "separate"))
        check_thresholds(rank_atol, rank_rtol, singular_floor, bands)
        self.maps = maps
        self.num_points = num_points
        self.every_n_epochs = every_n_epochs
        self.scale = scale
        self.rank_atol = rank_atol
        self.rank_rtol = rank_rtol
        self.singular_floor = singular_floor
        self.bands = bands
        self.precision = precision
        self.histograms = histograms
        self.figures = figures
        self.seed = seed
        self.dataloaders = dataloaders
        self.save_figures = save_figures
        self.verbose = verbose
        self.last_watched: tuple[int, int] | None = None
        """Epoch and step of the latest look in fit, for callbacks that act on what was logged."""
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
        self._seen: list[_Observation] = []
        self._drawn: list[_Observation] = []
        self._folder: Path | None = None
        self._started = time.monotonic()
        self._spent_drawing = self._last_drawing = 0.0
        self._warned_nonfinite = self._said_fewer = False
        self._outputs: dict[str, int] = {}
        """Of maps that were looked at before: how many there are, and whether points mix, is asked
        once."""

    # Where the trainer calls.

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find out where figures go; every process has to ask."""
        self._started, self._spent_drawing = time.monotonic(), 0.0
        self._seen, self._drawn, self._outputs = [], [], {}
        if self.save_figures is True:
            self._folder = Path(trainer.log_dir or trainer.default_root_dir) / "invertibility"
        elif self.save_figures:
            self._folder = Path(self.save_figures)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Complain about what is not going to work before an epoch has been trained."""
        self._maps = resolve_maps(self.maps, pl_module)
        if not trainer.enable_validation:
            rank_zero_warn(
                "InvertibilityCallback watches validation points, but this fit has no validation "
                "loop: nothing will be watched. Give the trainer validation data and the module a "
                "`validation_step`."
            )

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a fresh sample if this epoch is watched."""
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
        self._offer(batch, dataloader_idx)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the sampled points and log what is found."""
        self._watch(trainer, pl_module, tag="invertibility")

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a fresh sample."""
        self._begin(trainer, pl_module, len(trainer.num_test_batches))

    on_test_batch_end = on_validation_batch_end

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the sampled points and log what is found."""
        self._watch(trainer, pl_module, tag="test/invertibility")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sum up, after ``trainer.validate``."""
        if not _fitting(trainer):
            self._sum_up()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sum up."""
        self._sum_up()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the last look, while the loggers are still open."""
        if self.figures is not False and self._drawn is not self._seen:
            self._draw(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sum up, after the progress bar has gone."""
        self._sum_up()

    # The way of the data.

    def _is_watched(self, trainer: Trainer) -> bool:
        if not _fitting(trainer) or trainer.sanity_checking:
            return True
        epoch = trainer.current_epoch
        return epoch % self.every_n_epochs == 0 or epoch + 1 == trainer.max_epochs

    def _begin(self, trainer: Trainer, pl_module: LightningModule, loaders: int) -> None:
        self._maps = resolve_maps(self.maps, pl_module)
        # Each epoch, step, process and dataloader draws keys of its own.
        parts = (self.seed, trainer.current_epoch, trainer.global_step, trainer.global_rank)
        seeds = np.random.SeedSequence(parts).generate_state(
            loaders if self.dataloaders == "separate" else 1
        )
        self._samples = [StreamSample(self.num_points, seed=int(seed)) for seed in seeds]

    def _offer(self, batch: Any, dataloader_idx: int) -> None:
        if self._samples:
            sample = self._samples[dataloader_idx if self.dataloaders == "separate" else 0]
            sample.add({watched.name: watched.select(batch) for watched in self._maps})

    def _watch(self, trainer: Trainer, pl_module: LightningModule, *, tag: str) -> None:
        samples, self._samples = self._samples, []
        if not samples:
            return
        seen: list[_Observation] = []
        for number, sample in enumerate(samples):
            part = f"dataloader_{number}" if len(samples) > 1 else ""
            seen += self._look_at(trainer, pl_module, sample, tag, part)
        if trainer.sanity_checking or not seen:
            return
        self._seen = seen
        if _fitting(trainer):
            self.last_watched = (trainer.current_epoch, trainer.global_step)
        scalars = {name: value for one in seen for name, value in one.scalars.items()}
        self._log(trainer, pl_module, scalars)
        if self.histograms:
            self._write_histograms(trainer)
        if self._may_draw(trainer):
            self._draw(trainer)

    def _look_at(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        sample: StreamSample,
        tag: str,
        part: str,
    ) -> list[_Observation]:
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
        if len(sample) < self.num_points and not (self._said_fewer or trainer.sanity_checking):
            self._said_fewer = True
            rank_zero_info(
                f"InvertibilityCallback watches {len(sample)} points, all that there are, and not "
                f"the {self.num_points} it was asked for."
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
        for logger in trainer.loggers:
            logger.log_metrics({**values, "epoch": trainer.current_epoch}, logger_step(trainer))

    def _look(
        self, trainer: Trainer, watched: WatchedMap, x: Tensor, tag: str, part: str
    ) -> _Observation:
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
                    outputs=self._outputs.get(watched.name),
                    check=watched.name not in self._outputs,
                )
            except (TypeError, ValueError) as why:
                problem = f"InvertibilityCallback cannot watch map {watched.name!r}: {why}"
                raise type(why)(problem) from why
            self._outputs[watched.name] = spectra.shape[0]
            error = self._consistency_error(function, x)

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
        )
        logged = {f"{tag}/{watched.name}/{name}": value for name, value in scalars.items()}
        if error is not None:
            logged[f"{tag}/consistency_error"] = error
        finite = sigma.isfinite().all(-1)
        sigma = sigma[finite]
        return _Observation(
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

    def _consistency_error(self, watched: WatchedMap, y: Tensor) -> Tensor | None:
        """Return the standardised RMS of F(I(y)) - y, for the map that is F∘I."""
        if watched.name != "round_trip":
            return None
        _, scale = self._scales(watched, y)
        with torch.no_grad():
            deviation = (watched(y) - y).flatten(1) / scale
        return deviation.square().mean().sqrt()

    def _warn_of_nonfinite(self, name: str, share: float) -> None:
        if share > 0 and not self._warned_nonfinite:
            self._warned_nonfinite = True
            rank_zero_warn(
                f"The Jacobian of map {name!r} has a NaN or inf at {share:.1%} of the watched "
                "points. They are counted in `nonfinite_fraction` and left out of the rest; this "
                "is said once."
            )

    # What people see.

    @rank_zero_only
    def _write_histograms(self, trainer: Trainer) -> None:
        for writer in tensorboard_writers(trainer):
            for one in self._seen:
                if len(one.rank) == 0:
                    continue
                log10_cond = one.condition.log10().clamp(max=LOG10_COND_CAP)
                kinds = {
                    "log10_cond": histogram(log10_cond, 0.0, LOG10_COND_CAP),
                    "sigma": histogram(one.singular_values.flatten()),
                }
                if one.report.complete:
                    k = min(one.report.shape)
                    kinds["rank"] = histogram(one.rank, -0.5, k + 0.5, bins=k + 1)
                for name, counts in kinds.items():
                    writer.add_histogram_raw(f"{one.tag}/{name}", **counts, global_step=one.step)

    def _may_draw(self, trainer: Trainer) -> bool:
        if self.figures != "auto" or not _fitting(trainer):
            return self.figures is not False
        elapsed = time.monotonic() - self._started
        per_drawing = FIRST_DRAWING_SECONDS * len(self._seen)
        if self._drawn:
            per_drawing = self._last_drawing
        # The last look is drawn in any case.
        return self._spent_drawing + 2 * per_drawing <= DRAWING_SHARE * elapsed

    @rank_zero_only
    def _draw(self, trainer: Trainer) -> None:
        begun = time.monotonic()
        writers = tensorboard_writers(trainer)
        if writers or self._folder:
            from lightning_invert.figures import map_figures

            try:
                for one in self._seen:
                    title = f"{one.report.name}, step {one.step}"
                    names = one.watched.input_names
                    figures = map_figures(
                        one.report, one.condition, one.rank, one.points, names, title
                    )
                    for name, figure in figures.items():
                        self._publish(writers, figure, one, name)
            except Exception as error:  # noqa: BLE001  # a picture is not worth a training run
                rank_zero_warn(f"InvertibilityCallback could not draw its figures: {error!r}")
        self._last_drawing = time.monotonic() - begun
        self._spent_drawing += self._last_drawing
        self._drawn = self._seen

    def _publish(self, writers: list[Any], figure: Figure, one: _Observation, name: str) -> None:
        from lightning_invert.figures import to_image, to_png

        for writer in writers:
            writer.add_image(f"{one.tag}/{name}", to_image(figure), one.step, dataformats="HWC")
        if self._folder is not None:
            prefix = "test_" if one.tag.startswith("test/") else ""
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{prefix}{one.report.name}_{name}.png"
            path.write_bytes(to_png(figure))

    @rank_zero_only
    def _sum_up(self) -> None:
        if self.verbose and self._seen:
            print(report_table([one.report for one in self._seen]))
            if self._folder is not None and self._drawn:
                print(f"Figures: {self._folder}")


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
