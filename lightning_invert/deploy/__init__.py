"""A trained pair as files that run elsewhere, its Jacobians inside."""

from lightning_invert.deploy.to_onnx import export_onnx
from lightning_invert.deploy.to_torch import export_torch

__all__ = ["export_onnx", "export_torch"]
