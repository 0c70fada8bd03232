"""The checkpoint that a fit keeps: which, why, and what a look finds of its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_invert.report.loggers import Guard
from lightning_invert.watch.look import Look
from lightning_invert.watch.numerals import percent, short
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.observations import Observations
from lightning_invert.watch.voice import explain, sentence
from lightning_invert.watch.watcher import Watcher
from lightning_invert.watch.weights import fitting_weights

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

__all__ = ["Ending", "ending_of"]

MAX_BYTES = 2**30
"""Of a file that is read: it holds the optimizer's state beside the weights."""

CLOCKS = (None, "epoch", "step")
"""Who monitors one of these keeps the latest checkpoint, not the best."""


class Ending(NamedTuple):
    """What is said when a fit has ended, and what was found of the weights that it keeps."""

    lines: Sequence[str] = ()
    observations: Observations = Observations()  # none where they are what the last look found

    def tell(self) -> None:
        """Log it."""
        for line in self.lines:
            rank_zero_info(line)


class Content(NamedTuple):
    """What is read of a checkpoint: the weights, when they were saved, and why they are not looked at."""

    weights: dict[str, Tensor]
    when: str = ""
    problem: str = ""


def ending_of(
    trainer: Trainer,
    module: LightningModule,
    watcher: Watcher,
    observations: Sequence[Observation],
) -> Ending:
    """Say why a fit ended and what it keeps, and look at those weights where the latest look was."""
    look, watcher.memory.latest = watcher.memory.latest, None
    with Guard(watcher.voice, watcher.on_error)("could not look at the kept checkpoint"):
        return _ending(trainer, module, look, observations, watcher.on_error == "raise")
    return Ending()


def _ending(
    trainer: Trainer,
    module: LightningModule,
    look: Look | None,
    observations: Sequence[Observation],
    raises: bool,
) -> Ending:
    # Several processes read the file that the first of them keeps, and look at it if all can.
    lines, keeper = _stops(trainer), _keeper(trainer)
    gather = (look and look.gather) or (lambda own: [own])
    path = str(gather(getattr(keeper, "best_model_path", ""))[0])
    if not path:
        return Ending(lines)
    content = _read(path, module, trainer.current_epoch)
    problem = next(filter(None, gather(content.problem)), "")
    kept: list[Observation] = []
    if look is not None and not problem:
        try:
            kept = look.again(content.weights, module.device)
        except Exception as error:
            if raises:
                raise
            problem = explain(error).partition("\n")[0]
    is_same = _are_same(kept, observations)
    is_best = getattr(keeper, "monitor", None) not in CLOCKS
    if is_best or (kept and not is_same):
        why = _why(trainer, keeper) if is_best else "the latest that was saved"
        # A monitor of a name with a slash makes a folder: it is part of what to type.
        folder, name = str(getattr(keeper, "dirpath", "")), path.replace("\\", "/").rstrip("/")
        inside = name.removeprefix(folder.replace("\\", "/").rstrip("/") + "/")
        name = inside if inside != name else name.rpartition("/")[2]
        line = f"Kept {content.when}{name}: {why}."
        if problem:
            line += f" Its weights were not looked at: {sentence(problem)}"
        elif kept and is_same:
            line += " The verdict above is that of its weights."
        lines.append(line)
    title = "The weights of that checkpoint, at the points of the last look:"
    others = Observations(() if is_same else kept, title=title)
    return Ending([*lines, str(others)] if others else lines, others)


def _keeper(trainer: Trainer) -> Any:
    """Return the callback whose checkpoint counts: the first that keeps the best, else the first."""
    keepers: list[Any] = [c for c in trainer.callbacks if getattr(c, "best_model_path", "")]  # type: ignore[attr-defined]
    best = (keeper for keeper in keepers if getattr(keeper, "monitor", None) not in CLOCKS)
    return next(best, next(iter(keepers), None))


def _stops(trainer: Trainer) -> list[str]:
    """Say which callbacks stopped this fit, and by which rule."""
    stops = []
    for callback in trainer.callbacks if trainer.should_stop else ():  # type: ignore[attr-defined]
        rule = getattr(callback, "stopping_reason_message", None)
        epoch = getattr(callback, "stopped_epoch", None)
        if rule and epoch is not None and epoch >= trainer.current_epoch - 1:
            rule = rule.removesuffix(" Signaling Trainer to stop.")
            stops.append(f"Stopped by {type(callback).__name__}: {rule}")
    return stops


def _why(trainer: Trainer, keeper: Any) -> str:
    """Say by which value a checkpoint is the best, and what became of that value."""
    which = "highest" if keeper.mode == "max" else "lowest"
    values = keeper.best_model_score, trainer.callback_metrics.get(keeper.monitor)
    best, last = (math.nan if value is None else float(value) for value in values)
    why = f"{which} {keeper.monitor}, {short(best, 3)}"
    if last == best or not (math.isfinite(last) and math.isfinite(best)):
        return why
    share = f" (by {percent(abs(last / best - 1))})" if min(last, best) > 0 else ""
    return f"{why}; since then it {'rose' if last > best else 'fell'} to {short(last, 3)}{share}"


def _read(path: str, module: LightningModule, epochs: int) -> Content:
    """Read tensors and plain values of a file, and nothing else; whatever fails is the problem."""
    file, when = Path(path), ""
    try:
        if "://" in path or not file.exists():
            raise ValueError("there is no such file on this machine")
        if not file.is_file() or file.stat().st_size > MAX_BYTES:
            raise ValueError(f"it is a folder, or of more than {MAX_BYTES / 2**30:g} GiB")
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
            state, epoch, steps = (content[key] for key in ("state_dict", "epoch", "global_step"))
        except Exception as error:
            raise ValueError(
                "it holds more than tensors and plain values, or is damaged"
            ) from error
        # Of an earlier fit it may be a later epoch.
        of = f" of {epochs} (counted from 0)" if epoch < epochs else ""
        when = f"epoch {epoch:d}{of}, after {steps:d} steps, as "
        return Content(fitting_weights(module, state), when)
    except Exception as error:  # noqa: BLE001  # whatever a file holds
        return Content({}, when, str(error) if isinstance(error, ValueError) else explain(error))


def _are_same(observations: Sequence[Observation], others: Sequence[Observation]) -> bool:
    """Tell whether two looks found the same, up to rounding."""
    if [one.label for one in observations] != [other.label for other in others]:
        return False
    for one, other in zip(observations, others, strict=True):
        for name in ("outputs", "singular_values"):
            a, b = (getattr(side, name).double().nan_to_num() for side in (one, other))
            if a.shape != b.shape or ((a - b).abs() > 1e-5 * b.abs().amax(0)).any():
                return False
    return True
