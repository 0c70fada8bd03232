"""Subclasses of tensors that cannot do what a tensor can."""

import torch


class Labelled(torch.Tensor):
    """A subclass that loses its label to `detach`, and then cannot be cloned, sliced or joined."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is not torch.Tensor.detach:
            labelled = [arg for arg in args if isinstance(arg, Labelled)]
            assert all(hasattr(arg, "label") for arg in labelled), "a label is lost"
        result = super().__torch_function__(func, types, args, kwargs or {})
        if func is not torch.Tensor.detach and isinstance(result, Labelled):
            result.label = "gas"
        return result


class Sized(torch.Tensor):
    """A subclass, like those of medical images, whose `new_empty` takes a tuple alone."""

    def new_empty(self, size, **kwargs):
        assert isinstance(size, tuple | torch.Size)
        return super().new_empty(size, **kwargs)


def labelled(x):
    x = x.as_subclass(Labelled)
    x.label = "gas"
    return x


def sized(x):
    return x.as_subclass(Sized)
