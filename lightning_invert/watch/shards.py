"""Weights that are not there: sharded over processes, or on the meta device."""

from __future__ import annotations

from torch import Tensor, nn

from lightning_invert.jacobians.snapshot import is_sharded

__all__ = ["advise_of_shards", "is_absent"]

OF_MATRICES = (nn.Linear, nn.Bilinear, nn.Embedding, nn.modules.conv._ConvNd)


def is_absent(tensor: Tensor) -> bool:
    """Tell whether a tensor is not all here: sharded, freed or without data."""
    if tensor.is_meta or is_sharded(tensor):
        return True
    flattened = hasattr(tensor, "_fsdp_flattened") or hasattr(tensor, "ds_id")
    return flattened or tensor.numel() == 0 or tensor.untyped_storage().size() == 0


def advise_of_shards(owner: nn.Module, root: nn.Module | None) -> str:
    """Return what to watch instead of a module whose weights are not all here; empty if they are."""
    for prefix, part in owner.named_modules():
        tensors = {**part._parameters, **vars(part)}
        for name, tensor in tensors.items():
            if not isinstance(tensor, Tensor) or nn.parameter.is_lazy(tensor):
                continue
            flat = name == "weight" and tensor.ndim < 2 and isinstance(part, OF_MATRICES)
            if not flat and not is_absent(tensor):
                continue
            path = ".".join(filter(None, (prefix, name)))
            return (
                f"The weights are not all there: {path!r} of {type(owner).__name__} is of shape "
                f"{tuple(tensor.shape)} on {tensor.device}. They are sharded or not loaded; a module "
                f"around it gathers them in its forward: watch the parent{_parent(owner, root)}."
            )
    return ""


def _parent(owner: nn.Module, root: nn.Module | None) -> str:
    """Name the nearest module around it that is known to gather weights, or else its parent."""
    modules = {} if root is None else dict(root.named_modules())
    path = next((name for name, module in modules.items() if module is owner), "")
    if not path:
        return ""
    steps = path.split(".")
    around = [".".join(steps[:n]) for n in range(len(steps))]
    gathering = [name for name in around if _gathers(modules[name])]
    parent = (gathering or around)[-1]
    return f", {parent!r}" if parent else ", the whole module"


def _gathers(module: nn.Module) -> bool:
    names = {kind.__name__ for kind in type(module).__mro__}
    return bool(names & {"FSDPModule", "FullyShardedDataParallel"})
