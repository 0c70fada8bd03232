"""A trained pair as files that run elsewhere, its Jacobians inside."""

from lightning_invert.deploy.page import build_page
from lightning_invert.deploy.to_onnx import export_onnx

__all__ = ["build_page", "export_onnx"]
