"""A pair that a checkpoint holds whole: networks, schedule, columns, and how to go on training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from lightning_invert.pair.allowed_classes import check_allow
from lightning_invert.pair.checkpoint import (
    CHECKPOINT_KEY,
    PARTS,
    kept,
    kept_part,
    naming,
    pack,
    pack_variables,
    plain_arguments,
    read_checkpoint,
    unpack_variables,
)
from lightning_invert.pair.epoch_sums import EpochSums
from lightning_invert.pair.objective import AlphaSchedule
from lightning_invert.pair.proposing import ProposingPair

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["KeptPair"]


class KeptPair(ProposingPair, LightningModule):
    """What of a pair is in a checkpoint, and what of a checkpoint is let in.

    Args:
        allow: Names of packages, modules and classes that a checkpoint's parts may name.
        keep_points: How many rows of the data are kept, see :class:`.ProposingPair`.
    """

    alpha: AlphaSchedule

    def __init__(self, allow: Sequence[str], keep_points: int) -> None:
        super().__init__(keep_points)
        self.allow = check_allow(allow)
        self._given: frozenset[str] = frozenset()
        """What was given beside a checkpoint, and so is not taken from it."""
        self._sized: frozenset[str] = frozenset()
        """Networks that were sized by the data, and give way to a checkpoint's."""
        self._sums: defaultdict[str, EpochSums] = defaultdict(EpochSums)
        self._penalties: dict[str, list[Tensor]] = {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep networks, schedule, variables and rows of the data beside the weights."""
        parts = {}
        for name in PARTS:
            try:
                parts[name] = pack(getattr(self, name))
            except TypeError as error:
                rank_zero_warn(f"{error}. `load_from_checkpoint` will need `{name}=...`.")
        variables = {side: pack_variables(getattr(self, side)) for side in ("inputs", "outputs")}
        checkpoint[CHECKPOINT_KEY] = {
            "parts": parts,
            "variables": variables,
            "evidence": self.evidence.state_dict(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Rebuild what this module was not given; what it was given is not even opened.

        Raises:
            TypeError: If a part names anything but torch's layers, this package's own classes, the
                class of this module's schedule and what ``allow`` names.
            ValueError: If a part is damaged.
        """
        for name in PARTS:
            resumed = (name == "alpha" and name not in self._given) or name in self._sized
            if resumed or getattr(self, name) is None:
                part = self._kept(checkpoint, name)
                setattr(self, name, getattr(self, name) if part is None else part)
        variables = kept(checkpoint, "variables")
        self.inputs = self.inputs or unpack_variables(variables, "input")
        self.outputs = self.outputs or unpack_variables(variables, "output")
        self.evidence.load_state_dict(kept(checkpoint, "evidence"))
        given = not self._sized and None not in (self.forward_net, self.inverse_net)
        if CHECKPOINT_KEY not in checkpoint and not given:
            raise ValueError(
                "Expected a checkpoint of a ForwardInverseModule, but no networks are kept in it. "
                "Give `forward_net` and `inverse_net` if it has their weights."
            )
        with isolate_rng(include_cuda=False):
            self._build_missing()

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
        """Return the pair that a checkpoint holds.

        Nothing that the file names is imported or run but torch's layers, this package's own
        classes and what ``allow`` names. What is given instead is not looked for in the file.

        Args:
            checkpoint_path: Path, URL or open file.
            map_location: Where the pair is put, as in :func:`torch.load`.
            strict: Whether the weights have to fit exactly; by default what the class says.
            allow: Names of packages and modules whose networks and schedules may be imported and
                run for it, like ``["my_package"]``; and of single classes and functions.
            arguments: Of the class, instead of what the checkpoint keeps, like
                ``forward_net=MyNet()``.

        Raises:
            FileNotFoundError: If there is no such file.
            TypeError: If it needs what is not allowed. The message says what to write.
            ValueError: If it is damaged, or no checkpoint of a pair, or its weights do not fit.

        Example:
            >>> import tempfile
            >>> from pathlib import Path
            >>> from lightning.pytorch import Trainer
            >>> from torch import nn
            >>> from lightning_invert import ForwardInverseModule
            >>> file = Path(tempfile.mkdtemp(), "pair.ckpt")
            >>> trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
            >>> trainer.strategy.connect(ForwardInverseModule(nn.Linear(3, 2), nn.Linear(2, 3)))
            >>> trainer.save_checkpoint(file)
            >>> ForwardInverseModule.load_from_checkpoint(file).inverse_net
            Linear(in_features=2, out_features=3, bias=True)
        """
        checkpoint = read_checkpoint(checkpoint_path, map_location)
        module = cls(**{**plain_arguments(cls, checkpoint), **arguments})
        module.allow = check_allow(allow)
        module._given = frozenset(arguments)
        module.configure_model()
        with naming(checkpoint_path):
            module.on_load_checkpoint(checkpoint)
            strict = module.strict_loading if strict is None else strict
            module.load_state_dict(checkpoint["state_dict"], strict=strict)
        weights = (w for w in checkpoint["state_dict"].values() if isinstance(w, Tensor))
        return module.to(next(weights, torch.empty(0)).device)

    def _take_forward_from(self, path: str) -> None:
        checkpoint = read_checkpoint(path)
        with naming(path):
            self.forward_net = self._kept(checkpoint, "forward_net")
            if self.forward_net is None:
                raise ValueError(
                    "Expected a checkpoint of a ForwardInverseModule, but it keeps no F."
                )
            for part in ("forward_net", "scale_x", "scale_y"):
                weights = checkpoint["state_dict"].items()
                prefix = f"{part}."
                getattr(self, part).load_state_dict(
                    {k.removeprefix(prefix): w for k, w in weights if k.startswith(prefix)}
                )

    def _kept(self, checkpoint: dict[str, Any], name: str) -> Any:
        allow = list(self.allow)
        if name == "alpha":  # a schedule of the class that the user gave is as good as given
            allow.append(f"{type(self.alpha).__module__}.{type(self.alpha).__qualname__}")
        return kept_part(checkpoint, name, allow)

    @property
    def _attached(self) -> bool:
        """Whether there is a trainer."""
        try:
            return self.trainer is not None
        except RuntimeError:  # what Lightning says where there is none
            return False
