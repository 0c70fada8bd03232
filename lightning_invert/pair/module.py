"""Train a forward surrogate and its inverse together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from lightning_invert.arguments import check_flag, check_integer, check_number
from lightning_invert.doorway import Shown
from lightning_invert.pair import checkpoint as files
from lightning_invert.pair.allowed_classes import check_allow
from lightning_invert.pair.alpha import AlphaSchedule, weight
from lightning_invert.pair.delegation import AttributeOf
from lightning_invert.pair.learning_rate import adam_over, follow_loss
from lightning_invert.pair.objective import Objective
from lightning_invert.pair.pair import COLUMNS, Pair, split_batch
from lightning_invert.pair.penalty import ConditioningPenalty, JacobianConsistency
from lightning_invert.pair.settings import AdamSettings, ForwardTraining, read_settings
from lightning_invert.proposals.evidence import Evidence
from lightning_invert.proposals.predictions import prediction_columns
from lightning_invert.proposals.proposer import Proposer
from lightning_invert.sampling import gather_objects

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler
    from typing_extensions import Self

    from lightning_invert.pair.loss import PairLoss
    from lightning_invert.pair.networks import Standardize
    from lightning_invert.proposals.proposal import Proposal
    from lightning_invert.proposals.reliability import Reliability
    from lightning_invert.proposals.trials import Trials
    from lightning_invert.solver.constraint import Linear
    from lightning_invert.variables import Variable

__all__ = ["ForwardInverseModule"]
ADAM, JOINTLY = AdamSettings(), ForwardTraining()


class ForwardInverseModule(Shown, LightningModule):
    r"""Train a forward surrogate F: x -> y and an inverse I: y -> x jointly.

    .. math:: L = \mathrm{MSE}(F(x), y) + (1 - \alpha)\, \mathrm{MSE}(I(y), x)
                  + \alpha\, \mathrm{MSE}(F(I(y)), y)

    Batches, predictions and proposals are in physical units, in float64. The networks and the loss work in
    standardised units, in the networks' dtype. Means and standard deviations come from the data
    module's ``statistics``, else from the training loader; a fitted module keeps them.

    Each epoch logs, under ``train/``, ``val/`` and ``test/``: ``loss``, which is minimised; its unweighted
    terms ``forward``, ``inverse`` and ``consistency``; ``mae/{output}`` in physical units. Validation and test
    add ``r2/{output}``; training adds ``alpha`` and the penalties, which ``loss`` leaves out.

    Args:
        forward_net: F, any module that maps (N, n) to (N, m) in standardised units. ``None``: an
            :class:`~lightning_invert.Ensemble` of three :class:`~lightning_invert.SmoothMLP`.
        inverse_net: I, maps (N, m) to (N, n). ``None``: a :class:`~lightning_invert.SmoothMLP`.
        alpha: Weight of the consistency term: a number in [0, 1], or a schedule over the epochs. You may
            set it during training; a resumed fit takes it from the checkpoint.
        forward_training: How F is trained: a :class:`.ForwardTraining`, or a mapping such as
            ``{"warmup_epochs": 5}``.
        learning_rate: Highest learning rate of Adam's schedule.
        adam: :class:`~lightning_invert.pair.settings.AdamSettings`, or a mapping of its fields.
        standardize: ``False``: the networks work in the units of the batches.
        conditioning_penalty: Penalty that keeps F's condition number low, in standardised units.
        jacobian_consistency: Penalty that pulls the Jacobian of F∘I to the identity. It trains I alone
            unless F learns consistency.
        keep_points: Most rows of each split to keep, also in checkpoints: :meth:`propose` starts from
            them and judges its proposals by them. 0 keeps no row.
        predict_proposals: Whether :meth:`predict_step` also proposes settings for y.
        allow: Packages, modules and classes that the networks and schedules of a checkpoint may come
            from. Without it only torch's and this package's are loaded.

    Attributes:
        pair: The :class:`~lightning_invert.pair.pair.Pair` of F and I with their scales and columns.
        proposer: The :class:`~lightning_invert.Proposer` behind :meth:`propose`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or two arguments contradict each other.

    Example:
        >>> import torch
        >>> pair = ForwardInverseModule(nn.Linear(7, 4), nn.Linear(4, 7), alpha=0.8)
        >>> y = pair(torch.randn(10, 7))
        >>> pair.inverse(y).shape, pair.round_trip(y).shape
        (torch.Size([10, 7]), torch.Size([10, 4]))
    """

    takes_float64 = True  # batches are standardised here, before they are rounded to float32

    forward_net: AttributeOf[nn.Module | None] = AttributeOf("pair")
    inverse_net: AttributeOf[nn.Module | None] = AttributeOf("pair")
    scale_x: AttributeOf[Standardize] = AttributeOf("pair")
    scale_y: AttributeOf[Standardize] = AttributeOf("pair")
    inputs: AttributeOf[tuple[Variable, ...] | None] = AttributeOf("pair")
    outputs: AttributeOf[tuple[Variable, ...] | None] = AttributeOf("pair")
    input_names: AttributeOf[tuple[str, ...] | None] = AttributeOf("pair")
    output_names: AttributeOf[tuple[str, ...] | None] = AttributeOf("pair")
    constraints: AttributeOf[tuple[Linear, ...]] = AttributeOf("pair")
    inverse: AttributeOf[Callable[[Tensor], Tensor]] = AttributeOf("pair")
    round_trip: AttributeOf[Callable[[Tensor], Tensor]] = AttributeOf("pair")
    propose: AttributeOf[Callable[..., Proposal]] = AttributeOf("proposer")
    trade_off: AttributeOf[Callable[..., Any]] = AttributeOf("proposer")
    windows: AttributeOf[Callable[..., Any]] = AttributeOf("proposer")
    backtest: AttributeOf[Callable[..., Any]] = AttributeOf("proposer")
    observe: AttributeOf[Callable[..., Trials]] = AttributeOf("proposer")
    reliability: AttributeOf[Reliability | None] = AttributeOf("proposer")
    evidence: AttributeOf[Evidence] = AttributeOf("proposer")
    alpha: AttributeOf[AlphaSchedule] = AttributeOf("objective")
    conditioning_penalty: AttributeOf[nn.Module | None] = AttributeOf("objective")
    jacobian_consistency: AttributeOf[nn.Module | None] = AttributeOf("objective")

    def __init__(
        self,
        forward_net: nn.Module | None = None,
        inverse_net: nn.Module | None = None,
        alpha: float | AlphaSchedule = 0.8,
        forward_training: ForwardTraining = JOINTLY,
        learning_rate: float = 3e-3,
        adam: AdamSettings = ADAM,
        standardize: bool = True,
        conditioning_penalty: ConditioningPenalty | None = None,
        jacobian_consistency: JacobianConsistency | None = None,
        keep_points: int = 4096,
        predict_proposals: bool = True,
        allow: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.forward_training = read_settings(ForwardTraining, "forward_training", forward_training)
        self.adam = read_settings(AdamSettings, "adam", adam)
        self.learning_rate = check_number("learning_rate", learning_rate, low=0.0, open_low=True)
        self.standardize = check_flag("standardize", standardize)
        self.predict_proposals = check_flag("predict_proposals", predict_proposals)
        self.allow = check_allow(allow)
        if forward_net is not None and self.forward_training.start_from is not None:
            raise ValueError("Expected only one of the arguments `forward_net` and `start_from`.")
        evidence = Evidence(check_integer("keep_points", keep_points, low=0))
        self.pair = pair = Pair(forward_net, inverse_net, frozen=self.forward_training.frozen)
        self.proposer = Proposer(
            pair, evidence=evidence, inverse=pair.inverse, members=pair.members
        )
        self.objective = Objective(
            alpha, self.forward_training, conditioning_penalty, jacobian_consistency
        )
        # What is not a plain value is packed into the checkpoint by `on_save_checkpoint`.
        settings = ("forward_training", "adam")
        packed = {*files.PARTS} - ({"alpha"} if not isinstance(alpha, AlphaSchedule) else set())
        self.save_hyperparameters(ignore=[*packed, *settings, "allow"])
        self.save_hyperparameters({name: asdict(getattr(self, name)) for name in settings})
        self._steps = math.inf
        self._keeps_alpha = False  # of an argument, where a checkpoint has another
        self._sized_networks: set[str] = set()  # by the data: a checkpoint's take their places

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(getattr(type(self), name, None), AttributeOf):
            object.__setattr__(self, name, value)  # torch would register a module here
        else:
            super().__setattr__(name, value)

    def forward(self, x: Tensor) -> Tensor:
        """Predict the outcomes of settings: F, (N, n) -> (N, m)."""
        return self.pair(x)  # type: ignore[no-any-return]

    def invertibility_maps(
        self, truth: Callable[[Tensor], Tensor] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Return the maps that ``InvertibilityCallback`` watches: F at x, I and F∘I at y.

        Args:
            truth: The true map, (N, n) -> (N, m) in physical units. Default: the data module's ``problem``.
        """
        problem = getattr(getattr(self._trainer_or_none, "datamodule", None), "problem", None)
        truth = truth or getattr(problem, "forward", None)
        return self.pair.maps(truth if callable(truth) else None)

    @property
    def current_alpha(self) -> float:
        """The weight of the consistency term in the current epoch; 0 while F is warming up."""
        if self._warming_up:
            return 0.0
        return weight(self.alpha, self.current_epoch if self._trainer_or_none else 0)

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: Any,
        map_location: Any = "cpu",
        *,
        strict: bool | None = None,
        allow: Sequence[str] = (),
        **arguments: Any,
    ) -> Self:
        """Load a pair from a checkpoint.

        Only torch's layers, this package's classes and what ``allow`` names are imported and run.

        Args:
            checkpoint_path: Path, URL or open file.
            map_location: As in :func:`torch.load`.
            strict: As in :meth:`torch.nn.Module.load_state_dict`.
            allow: Further packages, modules and classes to allow, such as ``["my_package"]``.
            arguments: Arguments of the class that replace those in the file, such as
                ``forward_net=MyNet()``.

        Raises:
            FileNotFoundError: If there is no such file.
            TypeError: If the file needs a class that is not allowed.
            ValueError: If the file is damaged, holds no pair, or its weights do not fit.
        """
        checkpoint = files.read_checkpoint(checkpoint_path, map_location)
        module = cls(**{**files.plain_arguments(cls, checkpoint), **arguments})
        module.allow = check_allow(allow)
        module._keeps_alpha = "alpha" in arguments
        module.configure_model()
        with files.naming_file(checkpoint_path):
            module.on_load_checkpoint(checkpoint)
            strict = module.strict_loading if strict is None else strict
            module.load_state_dict(checkpoint["state_dict"], strict=strict)
        return module.to(files.device_of(checkpoint))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep networks, schedule, variables and rows of the data beside the weights."""
        parts = {name: getattr(self, name) for name in files.PARTS}
        files.fill(checkpoint, parts, self.pair, evidence=self.evidence.state_dict())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Rebuild the parts that this module lacks; the others are not even opened."""
        missing = {name for name in files.PARTS if getattr(self, name) is None}
        missing |= self._sized_networks | (set() if self._keeps_alpha else {"alpha"})
        parts = files.load_parts(checkpoint, missing, self.allow, own_schedule=type(self.alpha))
        for name, part in parts.items():
            setattr(self, name, part)
        files.unpack_variables(checkpoint, self.pair)
        self.evidence.load_state_dict(files.section(checkpoint, "evidence"))
        with isolate_rng(include_cuda=False):
            self.pair.build_missing()

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load weights; their reliability has to be measured anew."""
        self.proposer.reset()
        return super().load_state_dict(state_dict, *args, **kwargs)

    def configure_model(self) -> None:
        """Build for a callback that copies the module before it is set up, as averaged weights do."""
        if self._trainer_or_none:
            ForwardInverseModule.setup(self, str(self.trainer.state.fn))

    def setup(self, stage: str) -> None:
        """Take names, sizes and statistics over from the data module."""
        data = getattr(self.trainer, "datamodule", None)
        self.pair.name_columns(*(getattr(data, name, None) for name in COLUMNS))
        if self.forward_training.start_from is not None and self.pair.forward_net is None:
            files.load_forward(self.pair, str(self.forward_training.start_from), self.allow)
        missing = {n for n in ("forward_net", "inverse_net") if getattr(self.pair, n) is None}
        # A strategy that restores only after it has sharded the networks needs those that are there.
        if not self.trainer.strategy.restore_checkpoint_after_setup:
            self._sized_networks |= missing
        with nullcontext() if stage == "fit" else isolate_rng(include_cuda=False):
            self.pair.build_missing()  # elsewhere, a checkpoint's weights take their place
        statistics = getattr(data, "statistics", None)
        if self.standardize and statistics is not None and not self.pair.scale_x.fitted:
            self.pair.fit_scales(*statistics)

    def on_fit_start(self) -> None:
        """Compute statistics from the training loader if no data module gave them."""
        if self.standardize and not self.pair.scale_x.fitted:
            rank_zero_info("ForwardInverseModule reads the training data for their statistics.")
            self.trainer.fit_loop.setup_data()
            with isolate_rng(include_cuda=False):
                self.pair.fit_scales_to(self.trainer.train_dataloader or (), self._reduced)
            for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, WeightAveraging):
                    callback.setup(self.trainer, self, "fit")  # its scales have no shape
        if self.trainer.ckpt_path is None:
            self.evidence.begin(self.trainer.global_rank)

    def on_train_start(self) -> None:
        """Forget the sums of an interrupted epoch."""
        self.objective.sums.clear()
        self._sized_networks.clear()
        self._steps = self.trainer.estimated_stepping_batches

    def train(self, mode: bool = True) -> Self:
        """Set the mode; training changes F, whose reliability has to be measured anew."""
        if mode:
            self.proposer.reset()
        return super().train(mode)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return Adam over all weights that are trained, and the schedule of its learning rate."""
        # Lightning cannot clip gradients that a fused step unscales by itself.
        fused = self.device.type in ("cpu", "cuda") and self.trainer.precision != "16-mixed"
        endless = self.trainer.max_epochs == -1 and self.trainer.max_steps == -1
        trained = [p for p in self.parameters() if p.requires_grad]
        # The number of steps needs the loaders, which do not exist yet.
        steps = None if endless else lambda: self._steps
        return adam_over(trained, self.learning_rate, self.adam, steps, fused=fused)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of a batch of (x, y) in physical units."""
        self.proposer.reset()  # trainers set the mode without `train`
        x, y = self._standardized(batch, evidence="train")
        loss = self._loss(x, y, "train").total
        terms = self.objective.penalties(self.pair, x, y, forward_only=self._warming_up)
        for name, term in terms.items():
            self._log_mean(f"train/{name}", term.detach(), on_step=False, on_epoch=True)
        return loss + sum(terms.values())

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Add a batch to the epoch's sums."""
        self._loss(*self._standardized(batch, "val" if self._fits else None), "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Add a batch to the epoch's sums."""
        self._loss(*self._standardized(batch), "test")

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Return the predictions for a batch of (x, y), or a mapping with one of them, in physical units.

        They are ``x``, ``y``, ``y_hat`` = F(x), ``x_hat`` = I(y), ``y_round_trip`` = F(I(y)), and
        with ``predict_proposals`` the columns of :func:`.prediction_columns`.
        """
        x, y = self.pair.checked(*split_batch(batch, complete=False))
        columns: dict[str, Tensor] = {}
        if x is not None:
            columns |= {"x": x, "y_hat": self.forward(x)}
        if y is not None:
            x_hat = self.inverse(y)
            columns |= {"y": y, "x_hat": x_hat, "y_round_trip": self.forward(x_hat)}
            if self.predict_proposals:
                columns |= prediction_columns(self.proposer, y)
        return columns

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means and alpha."""
        self._log_means("train")
        self._log_mean("train/alpha", self.current_alpha)
        self.evidence.complete("train", self._gathered)

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's means; the weight decay follows F's loss."""
        loss = self._log_means("val").get("val/forward", math.nan)
        if self._fits:
            follow_loss(self.trainer.optimizers, float(loss))
            self.evidence.complete("val", self._gathered)

    def on_test_epoch_end(self) -> None:
        """Log the epoch's means."""
        self._log_means("test")

    @property
    def _trainer_or_none(self) -> Trainer | None:
        with suppress(RuntimeError):  # what Lightning raises without a trainer
            return self.trainer
        return None

    @property
    def _fits(self) -> bool:
        """Whether a trainer fits this module, beyond its sanity check."""
        trainer = self._trainer_or_none
        return trainer is not None and trainer.state.fn == "fit" and not trainer.sanity_checking

    @property
    def _warming_up(self) -> bool:
        return self._fits and self.current_epoch < self.forward_training.warmup_epochs

    def _standardized(self, batch: Any, evidence: str | None = None) -> tuple[Tensor, Tensor]:
        """Return standardised x and y; offer their rows to a split of the evidence."""
        x, y = self.pair.checked(*split_batch(batch))
        if evidence is not None:
            self.evidence.add(evidence, x, y)
        return self.pair.standardized(x, y)

    def _loss(self, x: Tensor, y: Tensor, stage: str) -> PairLoss:
        return self.objective.loss(self.pair, x, y, stage, self.current_alpha, self._warming_up)

    def _log_means(self, stage: str) -> dict[str, Tensor]:
        means = self.objective.means(self.pair, stage, self._reduced)
        for name, value in means.items():
            self._log_mean(name, value, prog_bar=name == f"{stage}/loss")
        return means

    def _log_mean(self, name: str, value: Any, **options: Any) -> None:
        self.log(name, value, sync_dist=self.trainer.world_size > 1, batch_size=1, **options)

    def _gathered(self, mine: Any) -> list[Any]:
        return gather_objects(mine, self.trainer.world_size)

    def _reduced(self, sums: Tensor) -> Tensor:
        return self.trainer.strategy.reduce(sums, reduce_op="sum")
