"""A pair as ONNX files, its Jacobians inside."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from lightning_invert.deploy.files import write_maps
from lightning_invert.deploy.maps import PhysicalMap
from lightning_invert.deploy.metadata import METADATA_KEY
from lightning_invert.deploy.program import refused
from lightning_invert.pair.module import ForwardInverseModule

__all__ = ["export_onnx"]

OUTPUT = "jacobian"


def export_onnx(pair: ForwardInverseModule, folder: str | Path) -> dict[str, Path]:
    r"""Write ``forward.onnx``, ``inverse.onnx`` and ``round_trip.onnx``, each with its Jacobian.

    Each file takes physical units in float64, for any number of points N, and gives two outputs,
    likewise in float64: what the map gives, and its Jacobian d output / d input in physical units.
    The networks inside compute in their own dtype. Each file stands alone, and was run in
    onnxruntime at several sizes of batch and compared with the pair before it got its name.

    ============  ================  =====================================================
    file          input             outputs
    ============  ================  =====================================================
    forward       ``x`` (N, n)      ``y`` (N, m), ``jacobian`` (N, m, n)
    inverse       ``y`` (N, m)      ``x`` (N, n), ``jacobian`` (N, n, m)
    round_trip    ``y`` (N, m)      ``y_round_trip`` (N, m), ``jacobian`` (N, m, m)
    ============  ================  =====================================================

    The file's metadata have one entry, ``lightning_invert``: JSON with the names, units and ranges
    of the columns and what counts as ill-conditioned, see
    :func:`lightning_invert.deploy.metadata.describe`.

    Args:
        pair: A trained pair, which stays as it is. Dropout and the like are off in the files.
        folder: Is made; if it exists, a number is added to the name.

    Returns:
        The files, by the names of the maps.

    Raises:
        ImportError: If onnx, onnxscript or onnxruntime is missing.
        TypeError: If ``pair`` is none, or ``folder`` no path.
        ValueError: If a network cannot be exported; the error names the operation or the cause.
            Nothing is written then.
        RuntimeError: If a file does not compute what the pair does. Nothing is written then.
        OSError: If the folder cannot be written.

    Example:
        >>> import tempfile
        >>> import onnxruntime
        >>> from torch import nn
        >>> pair = ForwardInverseModule(nn.Linear(3, 2), nn.Linear(2, 3))
        >>> pair.scale_x.fit(torch.tensor([1.7e9, 0, 0]).double(), torch.tensor([60.0, 1, 1]))
        >>> pair.scale_y.fit(torch.zeros(2), torch.ones(2))
        >>> files = export_onnx(pair, Path(tempfile.mkdtemp(), "exported"))
        >>> session = onnxruntime.InferenceSession(files["forward"])
        >>> x = torch.tensor([[1.7e9 + 30, 0.5, 0.5]], dtype=torch.float64)
        >>> y, jacobian = session.run(["y", "jacobian"], {"x": x.numpy()})
        >>> y.shape, jacobian.shape, jacobian.dtype
        ((1, 2), (1, 2, 3), dtype('float64'))
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"Expected onnx, onnxscript and onnxruntime to be installed, but {error}. Write "
            "`pip install lightning_invert[deploy]`."
        ) from error
    return write_maps(pair, folder, ".onnx", _write)


def _write(
    one: PhysicalMap, program: ExportedProgram, metadata: str, file: Path
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    try:
        model = _model(one, program, metadata)
    except Exception as error:  # the exporter can fail in any way
        raise refused(one, "ONNX", error) from error
    file.write_bytes(model.SerializeToString())
    try:
        return _runner(file)
    except Exception as error:
        raise refused(one, "onnxruntime", error) from error


def _model(one: PhysicalMap, program: ExportedProgram, metadata: str) -> Any:
    from onnx.helper import set_model_props

    with _silent():
        exported = torch.onnx.export(
            program,
            input_names=[one.input_name],
            output_names=[one.output_name, OUTPUT],
            dynamic_shapes=({0: "batch"},),
            dynamo=True,
            verbose=False,
        )
    if exported is None:
        raise RuntimeError("its exporter returned nothing.")
    model = exported.model_proto
    # What the exporter notes of where each operation came from is as long as the operations.
    del model.graph.value_info[:], model.graph.metadata_props[:]
    for part in (*model.graph.node, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    set_model_props(model, {METADATA_KEY: metadata})
    return model


def _runner(file: Path) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()

    def run(points: Tensor) -> tuple[Tensor, Tensor]:
        outputs, jacobian = session.run(None, {given.name: points.numpy()})
        return torch.from_numpy(outputs), torch.from_numpy(jacobian)

    return run


@contextmanager
def _silent() -> Iterator[None]:
    """Keep to itself what the exporter says of itself: of torchvision, or its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
