"""What a module is made of, by identity: the same before and after a look."""

from torch import nn


def identity_of(module: nn.Module) -> dict[str, int]:
    """Every parameter, buffer, submodule and attribute under every name -> its identity."""
    objects = {}
    for path, part in module.named_modules(remove_duplicate=False):
        objects[path] = id(part)
        for kind in ("_parameters", "_buffers", "_modules"):
            objects |= {f"{path}.{kind}.{name}": id(x) for name, x in getattr(part, kind).items()}
        objects |= {f"{path}:{name}": id(value) for name, value in vars(part).items()}
    return objects


def state_of(module: nn.Module) -> dict[str, tuple]:
    """Every weight and buffer under every name -> type, dtype and values."""
    named = [
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ]
    return {
        name: (type(tensor), tensor.dtype, tensor.requires_grad, tensor.tolist())
        for name, tensor in named
    }
