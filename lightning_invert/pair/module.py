"""Train a forward surrogate and its inverse together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.optim import Adam

from lightning_invert.arguments import check_choice, check_flag, check_integer, check_number, wrong
from lightning_invert.pair.batch import split_batch
from lightning_invert.pair.kept import KeptPair
from lightning_invert.pair.learning_rate import one_cycle_over
from lightning_invert.pair.objective import (
    AlphaSchedule,
    ConstantAlpha,
    PairLoss,
    frozen,
    pair_loss,
)
from lightning_invert.pair.penalty import ConditioningPenalty, JacobianConsistency
from lightning_invert.pair.physical import dtype_of
from lightning_invert.variables import ColumnStatistics, Variable, check_rounding, named

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler

__all__ = ["ForwardInverseModule"]


class ForwardInverseModule(KeptPair):
    r"""A forward surrogate F: x -> y and an inverse I: y -> x, trained jointly.

    .. math:: L = \mathrm{MSE}(F(x), y) + (1 - \alpha)\, \mathrm{MSE}(I(y), x)
                  + \alpha\, \mathrm{MSE}(F(I(y)), y)

    It takes and gives physical units, in float64; the networks and the loss work in standardised
    ones, in the networks' dtype. Batches may come in any dtype that holds their columns. Mean and
    standard deviation of the training split come from the data module (its ``statistics``), or are
    computed from the training loader when fit starts. They are buffers, so that a checkpoint alone
    predicts correctly; once known they stay, whatever is fitted later. The networks themselves
    are in the checkpoint too: ``load_from_checkpoint(path)`` needs nothing else.

    F may be an :class:`~lightning_invert.Ensemble`: then each of its members fits the data by
    itself, and everything else goes through their mean.

    Logged once an epoch, under ``train/``, ``val/`` and ``test/``: ``loss``, which is minimised, and
    its terms ``forward``, ``inverse`` and ``consistency`` before they are weighted (of an ensemble,
    ``forward`` is the loss of the mean); ``mae/{output}``, in physical units; in validation and
    test ``r2/{output}``. And ``alpha``, and under ``train/`` the penalties that were asked for,
    which are minimised too but are no part of ``loss``.

    Args:
        forward_net: F, any module that maps (N, n) to (N, m) in standardised units. ``None``: a
            :class:`~lightning_invert.SmoothMLP`, sized by the data module.
        inverse_net: I, maps (N, m) to (N, n); ``None`` likewise.
        alpha: Weight of the consistency term: a number in [0, 1], or a schedule over the epochs. It
            is an attribute and may be changed while training; resuming takes it from the
            checkpoint.
        consistency_trains_forward: Let the consistency term's gradient reach F's weights. By
            default it trains I alone, lest F learn to agree with a wrong I.
        forward_warmup_epochs: Train F alone for so many epochs first.
        freeze_forward: Keep a trained F as it is, in evaluation mode. With ``alpha=1`` this is the
            *tandem* network of inverse design.
        forward_from: Checkpoint of a ForwardInverseModule whose F and statistics to start from,
            instead of ``forward_net``.
        learning_rate: Of Adam; the highest of the schedule.
        learning_rate_schedule: ``"one_cycle"``: it rises in the first 30 % of fit and falls to
            nothing at its end, see :func:`~lightning_invert.pair.learning_rate.one_cycle`;
            constant where the trainer does not know how many steps there will be.
            ``"constant"``.
        betas: Of Adam: how much of the mean gradient, and of its mean square, a step keeps. With
            batches of some hundred rows, (0.95, 0.99) and a higher rate fit a smooth process
            closer in the same time (docs/blast_furnace.md).
        standardize: ``False`` if the data are standardised already: the networks then work in the
            units of the data.
        conditioning_penalty: A term that keeps the condition number of F low, in standardised
            units; ``None``: none.
        jacobian_consistency: A term that asks the slope of F∘I to be that of the identity, and
            trains I alone unless ``consistency_trains_forward``; ``None``: none.
        keep_points: How many rows of the training split, and of the validation split, are kept, also
            in the checkpoint: where :meth:`propose` begins and what its trust rests on. 0
            keeps no row of the data.
        predict_proposals: Whether :meth:`predict_step` also proposes settings for y.
        allow: Names of packages, modules and classes that a checkpoint's networks and schedule may
            name, in ``forward_from`` and where a trainer resumes. Of others, only torch's layers
            and this package's own are imported and run.

    Raises:
        ValueError: If an argument is out of its range or the arguments contradict each other.
        TypeError: If a network is not an ``nn.Module``.

    Example:
        >>> from lightning_invert import LinearDecayAlpha, ResidualMLP
        >>> pair = ForwardInverseModule(
        ...     ResidualMLP(7, 4), ResidualMLP(4, 7), alpha=LinearDecayAlpha(0.1, epochs=500)
        ... )
        >>> y = pair(torch.randn(10, 7))
        >>> pair.inverse(y).shape, pair.round_trip(y).shape
        (torch.Size([10, 7]), torch.Size([10, 4]))
    """

    takes_float64 = True
    """For a data module: batches are standardised here, before they are rounded to float32."""

    def __init__(
        self,
        forward_net: nn.Module | None = None,
        inverse_net: nn.Module | None = None,
        alpha: float | AlphaSchedule = 0.1,
        consistency_trains_forward: bool = False,
        forward_warmup_epochs: int = 0,
        freeze_forward: bool = False,
        forward_from: str | Path | None = None,
        learning_rate: float = 3e-3,
        learning_rate_schedule: Literal["one_cycle", "constant"] = "one_cycle",
        betas: tuple[float, float] = (0.9, 0.999),
        standardize: bool = True,
        conditioning_penalty: ConditioningPenalty | None = None,
        jacobian_consistency: JacobianConsistency | None = None,
        keep_points: int = 4096,
        predict_proposals: bool = True,
        allow: Sequence[str] = (),
    ) -> None:
        super().__init__(allow, check_integer("keep_points", keep_points, low=0))
        for name, network in {"forward_net": forward_net, "inverse_net": inverse_net}.items():
            if network is not None and not isinstance(network, nn.Module):
                raise TypeError(
                    f"Expected argument `{name}` to be an nn.Module or None, but got "
                    f"{type(network).__name__}."
                )
        flags = {
            "consistency_trains_forward": consistency_trains_forward,
            "freeze_forward": freeze_forward,
            "standardize": standardize,
            "predict_proposals": predict_proposals,
        }
        for name, flag in flags.items():
            check_flag(name, flag)
        for name, term, kind in (
            ("conditioning_penalty", conditioning_penalty, ConditioningPenalty),
            ("jacobian_consistency", jacobian_consistency, JacobianConsistency),
        ):
            if term is not None and not isinstance(term, nn.Module):  # or one's own in its place
                raise TypeError(wrong(name, f"a {kind.__name__}(weight=...) or None", term))
        learning_rate = check_number("learning_rate", learning_rate, low=0.0, open_low=True)
        check_choice("learning_rate_schedule", learning_rate_schedule, ("one_cycle", "constant"))
        betas = _checked_betas(betas)
        check_integer("forward_warmup_epochs", forward_warmup_epochs, low=0)
        if freeze_forward and forward_warmup_epochs:
            raise ValueError(
                "Expected argument `forward_warmup_epochs` to be 0 with `freeze_forward=True`: a "
                "frozen F has nothing to warm up."
            )
        if freeze_forward and conditioning_penalty is not None:
            raise ValueError(
                "Expected argument `conditioning_penalty` to be None with `freeze_forward=True`: it "
                "trains F, which is frozen."
            )
        if forward_net is not None and forward_from is not None:
            raise ValueError("Expected only one of the arguments `forward_net` and `forward_from`.")
        if forward_from is not None and (
            not isinstance(forward_from, str | Path) or not str(forward_from)
        ):
            raise TypeError(wrong("forward_from", "the path of a checkpoint or None", forward_from))
        forward_from = str(forward_from) if forward_from is not None else None
        # What is not a plain value is packed into the checkpoint by `on_save_checkpoint`.
        schedule = ("alpha",) if isinstance(alpha, AlphaSchedule) else ()
        penalties = ("conditioning_penalty", "jacobian_consistency")
        self.save_hyperparameters(
            ignore=["forward_net", "inverse_net", *penalties, *schedule, "allow"]
        )
        self.forward_net = forward_net
        self.inverse_net = inverse_net
        self.alpha = alpha
        self.consistency_trains_forward = consistency_trains_forward
        self.forward_warmup_epochs = forward_warmup_epochs
        self.freeze_forward = freeze_forward
        self.forward_from = forward_from
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.betas = betas
        self.standardize = standardize
        self.predict_proposals = predict_proposals
        self.conditioning_penalty = conditioning_penalty
        self.jacobian_consistency = jacobian_consistency
        self._held: set[tuple[str, torch.dtype]] = set()
        self._steps = math.inf

    def invertibility_maps(
        self, truth: Callable[[Tensor], Tensor] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Tell ``InvertibilityCallback`` what to watch: F at x, I and F∘I at y.

        Args:
            truth: The process itself, (N, n) -> (N, m) in physical units, which F and F∘I are held
                against; an inverse has no truth, as it is not unique. By default what the data
                module has as ``problem.forward``, if it has that.
        """
        truth = truth or self._true_forward()
        truths: dict[str, Callable[[Tensor], Tensor]] = {}
        if truth is not None:
            truths = {"forward": truth, "round_trip": lambda y: truth(self.inverse(y))}
        reach = {
            "inverse": self.inverse,
            "outcomes": lambda batch: split_batch(batch)[1],
            "bounds": _bounds(self.inputs),
        }
        known = self.standardize and self.scale_x.fitted
        x = (_labels(self.inputs), self.scale_x.std if known else None)
        y = (_labels(self.outputs), self.scale_y.std if known else None)
        return {
            name: {
                "module": function,
                "input": lambda batch, wanted=wanted: split_batch(batch)[wanted],
                "input_names": domain[0],
                "input_std": domain[1],
                "output_names": image[0],
                "output_std": image[1],
                "dtype": self.scale_x.mean.dtype,
                "identity": name == "round_trip",
                "truth": truths.get(name),
                "reach": reach if name == "forward" else None,
            }
            for name, function, wanted, domain, image in (
                ("forward", self.forward, 0, x, y),
                ("inverse", self.inverse, 1, y, x),
                ("round_trip", self.round_trip, 1, y, y),
            )
        }

    def _true_forward(self) -> Callable[[Tensor], Tensor] | None:
        data = getattr(self.trainer, "datamodule", None) if self._attached else None
        forward = getattr(getattr(data, "problem", None), "forward", None)
        return forward if callable(forward) else None

    @property
    def alpha(self) -> AlphaSchedule:
        """The schedule of the weight of the consistency term; set it to a number or a schedule."""
        return self._alpha

    @alpha.setter
    def alpha(self, value: float | AlphaSchedule) -> None:
        if not isinstance(value, AlphaSchedule):
            value = ConstantAlpha(
                check_number("alpha", value, low=0.0, high=1.0, what="or a schedule of such")
            )
        self._alpha = value

    @property
    def current_alpha(self) -> float:
        """The weight in force in the current epoch: 0 while F is warming up."""
        if self._warming_up:
            return 0.0
        epoch = self.current_epoch if self._attached else 0
        alpha = self.alpha(epoch)
        if not 0 <= alpha <= 1:
            raise ValueError(
                f"Expected the schedule {type(self.alpha).__name__} to return a number in [0, 1], "
                f"but it returned {alpha} for epoch {epoch}."
            )
        return alpha

    # Training.

    def setup(self, stage: str) -> None:
        """Take names, sizes and statistics over from the data module."""
        data = getattr(self.trainer, "datamodule", None)
        inputs, outputs = getattr(data, "inputs", None), getattr(data, "outputs", None)
        if inputs and outputs:
            self.inputs = tuple(map(Variable.of, inputs))
            self.outputs = tuple(map(Variable.of, outputs))
        if self.forward_from is not None and self.forward_net is None:
            self._take_forward_from(self.forward_from)
        missing = frozenset(n for n in ("forward_net", "inverse_net") if getattr(self, n) is None)
        # Those of a checkpoint take their places, unless the strategy has sharded them by then.
        self._sized = (
            frozenset() if self.trainer.strategy.restore_checkpoint_after_setup else missing
        )
        # Only to train are weights drawn; else a checkpoint's take their place.
        with nullcontext() if stage == "fit" else isolate_rng(include_cuda=False):
            self._build_missing()
        statistics = getattr(data, "statistics", None)
        if self.standardize and statistics is not None and not self.scale_x.fitted:
            self._fit_scales(*statistics)

    def on_fit_start(self) -> None:
        """Compute statistics from the training loader if no data module gave them."""
        if self.standardize and not self.scale_x.fitted:
            self._fit_scales(*self._statistics_of_loader())
        if self.trainer.ckpt_path is None:
            self.evidence.begin(self.trainer.global_rank)

    def on_train_start(self) -> None:
        """Forget what an interrupted epoch left."""
        self._sums.clear()
        self._penalties.clear()
        self._steps = self.trainer.estimated_stepping_batches

    def train(self, mode: bool = True) -> ForwardInverseModule:
        """Set the mode; a frozen F stays in evaluation mode."""
        super().train(mode)
        if self.freeze_forward and self.forward_net is not None:
            self.forward_net.eval()
        return self

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return Adam over all weights that are trained, and how its learning rate goes."""
        trained = [p for p in self.parameters() if p.requires_grad]
        # Lightning cannot clip gradients that a fused step unscales by itself.
        fused = self.device.type in ("cpu", "cuda") and self.trainer.precision != "16-mixed"
        optimizer = Adam(trained, lr=self.learning_rate, betas=self.betas, fused=fused)
        if self.learning_rate_schedule == "constant" or self._endless:
            return optimizer
        # The number of steps needs the loaders, which do not exist yet.
        scheduler = one_cycle_over(optimizer, lambda: self._steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of a batch of (x, y) in physical units."""
        self.proposer.reset()  # trainers set the mode without `train`
        x, y = self._standardized(batch, keep="train")
        return self._loss(x, y, "train").total + self._penalty(x, y)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Add a batch to the epoch's sums."""
        keep = "val" if self._validates_fit else None
        self._loss(*self._standardized(batch, keep), "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Add a batch to the epoch's sums."""
        self._loss(*self._standardized(batch), "test")

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Return the pair's predictions for a batch of (x, y), in physical units.

        Returns:
            ``x`` and ``y`` as they came, ``y_hat`` = F(x), ``x_hat`` = I(y) and ``y_round_trip`` =
            F(I(y)); with ``predict_proposals`` and where the box of the settings is known, also
            the columns of :meth:`.Proposer.prediction_columns`, which takes most of the time: 9 s for 10 000 rows of
            the furnace on one processor, twice that with an ensemble of four. For a batch that is
            a mapping with only ``x`` or only ``y``, what follows from it.
        """
        x, y = self._checked(split_batch(batch, complete=False))
        found: dict[str, Tensor] = {}
        if x is not None:
            found |= {"x": x, "y_hat": self.forward(x)}
        if y is not None:
            x_hat = self.inverse(y)
            found |= {"y": y, "x_hat": x_hat, "y_round_trip": self.forward(x_hat)}
            if self.predict_proposals:
                found |= self.proposer.prediction_columns(y)
        return found

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means and alpha."""
        self._log_means("train")
        self._complete("train")
        for name, terms in self._penalties.items():
            mean = torch.stack(terms).mean()
            self.log(f"train/{name}", mean, sync_dist=self.trainer.world_size > 1)
        self._penalties.clear()
        self.log("alpha", self.current_alpha, sync_dist=self.trainer.world_size > 1)

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's means."""
        self._log_means("val")
        if self._validates_fit:
            self._complete("val")

    def on_test_epoch_end(self) -> None:
        """Log the epoch's means."""
        self._log_means("test")

    # Details.

    @property
    def _endless(self) -> bool:
        """Whether the trainer goes on until somebody stops it."""
        return self.trainer.max_epochs == -1 and self.trainer.max_steps == -1

    @property
    def _validates_fit(self) -> bool:
        if not self._attached:
            return False
        return self.trainer.state.fn == "fit" and not self.trainer.sanity_checking

    @property
    def _warming_up(self) -> bool:
        if self.forward_warmup_epochs == 0 or not self._attached:
            return False
        return self.trainer.state.fn == "fit" and self.current_epoch < self.forward_warmup_epochs

    def _build_missing(self) -> None:
        if self.freeze_forward and self.forward_net is None:
            raise ValueError(
                "Expected a trained F with `freeze_forward=True`: give `forward_net` or "
                "`forward_from`."
            )
        super()._build_missing()
        if self.freeze_forward:
            self._net("forward_net").requires_grad_(False).eval()

    def _fit_scales(
        self, input_mean: Tensor, input_std: Tensor, output_mean: Tensor, output_std: Tensor
    ) -> None:
        self.scale_x.fit(input_mean, input_std)
        self.scale_y.fit(output_mean, output_std)

    def _statistics_of_loader(self) -> tuple[Tensor, ...]:
        """Return mean and standard deviation of x and of y, over all processes' training data."""
        self.trainer.fit_loop.setup_data()
        rank_zero_info("ForwardInverseModule reads the training data once for their statistics.")
        with isolate_rng(include_cuda=False):
            pairs = [split_batch(batch) for batch in self.trainer.train_dataloader or ()]
        statistics: list[Tensor] = []
        for side, columns in zip("xy", zip(*pairs, strict=True), strict=True):
            mine = ColumnStatistics()
            for rows in columns:
                mine.add(rows.to(self.device))
            everywhere = mine.summed(self._reduced)
            everywhere.check(self._variables(side, everywhere.mean), "of the training loader")
            statistics += [everywhere.mean, everywhere.std]
        return tuple(statistics)

    def _complete(self, split: str) -> None:
        self.evidence.complete(split, self._gathered)

    def _gathered(self, mine: Any) -> list[Any]:
        """Return what every process passes here, in the order of their ranks."""
        parts: list[Any] = [mine] * self.trainer.world_size
        if self.trainer.world_size > 1:
            torch.distributed.all_gather_object(parts, mine)
        return parts

    def _reduced(self, sums: Tensor) -> Tensor:
        return self.trainer.strategy.reduce(sums, reduce_op="sum")

    def _standardized(self, batch: Any, keep: str | None = None) -> tuple[Tensor, Tensor]:
        x, y = self._checked(split_batch(batch))
        if keep is not None:
            self.evidence.add(keep, x, y)
        dtype = dtype_of(self._net("forward_net"))
        return self.scale_x(x).to(dtype=dtype), self.scale_y(y).to(dtype=dtype)

    def _checked(self, pair: tuple[Any, Any]) -> tuple[Any, Any]:
        """Return x and y, unless they come in a dtype that does not hold them."""
        for side, part in zip("xy", pair, strict=True):
            if part is None or part.dtype == torch.float64 or (side, part.dtype) in self._held:
                continue
            scale = self.scale_x if side == "x" else self.scale_y
            if scale.fitted and part.is_floating_point():
                variables = self._variables(side, scale.mean)
                check_rounding(variables, scale.mean, scale.std, part.dtype)
                self._held.add((side, part.dtype))
        return pair

    def _variables(self, side: str, columns: Tensor) -> Sequence[Variable]:
        known = self.inputs if side == "x" else self.outputs
        return named(known, side, len(columns))

    def _loss(self, x: Tensor, y: Tensor, stage: str) -> PairLoss:
        loss = pair_loss(
            self._net("forward_net"),
            self._net("inverse_net"),
            x,
            y,
            alpha=self.current_alpha,
            consistency_trains_forward=self.consistency_trains_forward,
            forward_only=self._warming_up,
        )
        self._sums[stage].add(loss, y)
        return loss

    def _penalty(self, x: Tensor, y: Tensor) -> Tensor | float:
        f, i = self._net("forward_net"), self._net("inverse_net")
        terms: dict[str, Tensor] = {}
        if self.conditioning_penalty is not None:
            terms["conditioning_penalty"] = self.conditioning_penalty(f, x)
        if self.jacobian_consistency is not None and not self._warming_up:
            with frozen(f, unless=self.consistency_trains_forward):
                terms["jacobian_consistency"] = self.jacobian_consistency(f, i, y)
        for name, term in terms.items():
            self._penalties.setdefault(name, []).append(term.detach())
        return sum(terms.values())

    def _log_means(self, stage: str) -> None:
        if self._sums[stage].empty:
            return  # Lightning ends an epoch of no steps where it resumes after the last batch
        means = self._sums[stage].means(self._reduced)
        names = self.output_names or tuple(str(i) for i in range(len(means.mae)))
        logged = dict(means.losses)
        mae = means.mae * self.scale_y.std
        logged |= {f"mae/{name}": value for name, value in zip(names, mae, strict=True)}
        if stage != "train":
            logged |= {f"r2/{name}": value for name, value in zip(names, means.r2, strict=True)}
        everywhere = self.trainer.world_size > 1
        loss = logged.pop("loss")
        self.log(f"{stage}/loss", loss, prog_bar=True, sync_dist=everywhere, batch_size=1)
        self.log_dict(
            {f"{stage}/{name}": value for name, value in logged.items()},
            sync_dist=everywhere,
            batch_size=1,
        )


def _bounds(variables: Sequence[Variable] | None) -> tuple[list[float | None], ...] | None:
    if variables is None:
        return None
    return tuple([getattr(variable, end) for variable in variables] for end in ("low", "high"))


def _checked_betas(betas: Sequence[float]) -> tuple[float, float]:
    if not isinstance(betas, list | tuple) or len(betas) != 2:
        raise TypeError(wrong("betas", "a pair like (0.9, 0.999)", betas))
    first, second = (check_number("betas", b, low=0.0, high=1.0, open_high=True) for b in betas)
    return first, second


def _labels(variables: Sequence[Variable] | None) -> list[str] | None:
    return None if variables is None else [variable.label for variable in variables]
