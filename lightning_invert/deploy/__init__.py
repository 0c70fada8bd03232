"""A trained pair as files that run elsewhere, its Jacobians inside."""

from lightning_invert.deploy.onnx_export import export_onnx
from lightning_invert.deploy.page import build_page

__all__ = ["build_page", "export_onnx"]
