"""A pair as ONNX files, its Jacobians inside."""

from __future__ import annotations

import json
import logging
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.export import ExportedProgram

from lightning_invert.arguments import check_choice, check_text, expected_but_got
from lightning_invert.deploy.check import check
from lightning_invert.deploy.maps import MAP_NAMES, PhysicalMap, frozen_copy, physical_map
from lightning_invert.deploy.metadata import METADATA_KEY, describe
from lightning_invert.deploy.program import export_error, trace
from lightning_invert.jacobians.contexts import differentiable
from lightning_invert.pair.module import ForwardInverseModule
from lightning_invert.tables import unused_path

__all__ = ["export_onnx"]


def export_onnx(
    pair: ForwardInverseModule, folder: str | Path, *, maps: Sequence[str] = MAP_NAMES
) -> dict[str, Path]:
    """Write ``forward.onnx``, ``inverse.onnx`` and ``round_trip.onnx``, each with its Jacobian.

    Input, output and Jacobian are in physical units, in float64, for any number of points N. The networks
    inside compute in their own dtype. Each file stands alone. Before the folder gets its name, each file
    is run in onnxruntime with batches of several sizes and compared with the pair.

    ============  ================  =====================================================
    file          input             outputs
    ============  ================  =====================================================
    forward       ``x`` (N, n)      ``y`` (N, m), ``jacobian`` (N, m, n)
    inverse       ``y`` (N, m)      ``x`` (N, n), ``jacobian`` (N, n, m)
    round_trip    ``y`` (N, m)      ``y_round_trip`` (N, m), ``jacobian`` (N, m, m)
    ============  ================  =====================================================

    The metadata have one entry, ``lightning_invert``: JSON with names, units and ranges of the columns and
    the thresholds, see :func:`lightning_invert.deploy.metadata.describe`.

    Args:
        pair: A trained pair; it stays as it is. Dropout and the like are off in the files.
        folder: The folder to make. If it exists, the new name gets a number.
        maps: The maps to write, by name. Default: all three.

    Returns:
        The files, map name -> path.

    Raises:
        ImportError: If onnx, onnxscript or onnxruntime is missing.
        TypeError: If ``pair`` is not a pair, or ``folder`` not a path.
        ValueError: If a network cannot be exported, or a map is none of the three. The message names the
            operation or the cause.
        RuntimeError: If a file does not compute what the pair does.
        OSError: If the folder cannot be written. After any error, nothing is written.

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
    names = [maps] if isinstance(maps, str) else list(maps)
    for name in names:
        check_choice("maps", name, MAP_NAMES)
    target = _unused_folder(folder)
    with (
        isolate_rng(include_cuda=False),
        differentiable("cpu"),
        _renamed_when_whole(target) as part,
    ):
        frozen = frozen_copy(pair)
        for name in names:
            file = part / f"{name}.onnx"
            metadata = json.dumps(describe(frozen, name), allow_nan=False)
            _write(physical_map(frozen, name), metadata, file)
    return {name: target / f"{name}.onnx" for name in names}


def _unused_folder(folder: str | Path) -> Path:
    if not isinstance(folder, Path):
        check_text("folder", folder)
    path = Path(folder)
    if path.name in ("", ".."):
        raise ValueError(expected_but_got("folder", "the path of a folder to make", str(folder)))
    return unused_path(path)


@contextmanager
def _renamed_when_whole(target: Path) -> Iterator[Path]:
    """Make a folder that is renamed to ``target`` at the end, or removed after an error."""
    part = target.with_name(f".{uuid.uuid4().hex}.part")
    part.mkdir(parents=True)
    try:
        yield part
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(physical: PhysicalMap, metadata: str, file: Path) -> None:
    program = trace(physical)
    try:
        model = _model(physical, program, metadata)
    except Exception as error:  # the exporter can fail in any way
        raise export_error(physical, "ONNX", error) from error
    file.write_bytes(model.SerializeToString())
    try:
        run = _runner(file)
    except Exception as error:
        raise export_error(physical, "onnxruntime", error) from error
    check(physical, run, file.name)


def _model(physical: PhysicalMap, program: ExportedProgram, metadata: str) -> Any:
    from onnx.helper import set_model_props

    with _silent():
        exported = torch.onnx.export(
            program,
            input_names=[physical.input_name],
            output_names=[physical.output_name, "jacobian"],
            dynamic_shapes=({0: "batch"},),
            dynamo=True,
            verbose=False,
        )
    if exported is None:
        raise RuntimeError("its exporter returned nothing.")
    model = exported.model_proto
    # The exporter's notes on the origin of each operation are as long as the operations.
    del model.graph.value_info[:], model.graph.metadata_props[:]
    for part in (*model.graph.node, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    for end in (*model.graph.input, *model.graph.output):
        end.type.tensor_type.shape.dim[0].dim_param = "batch"  # torch 2.6 has a name of its own
    set_model_props(model, {METADATA_KEY: metadata})
    return model


def _runner(file: Path) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (argument,) = session.get_inputs()

    def run(points: Tensor) -> tuple[Tensor, Tensor]:
        outputs, jacobian = session.run(None, {argument.name: points.numpy()})
        return torch.from_numpy(outputs), torch.from_numpy(jacobian)

    return run


@contextmanager
def _silent() -> Iterator[None]:
    """Silence the exporter's own warnings: of torchvision, or of its deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
