"""Read the limits of proposals, bounds and constraints, from the options of a command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning_invert.arguments import check_number
from lightning_invert.cli.backtest_options import Options as BacktestOptions
from lightning_invert.cli.options import check_names
from lightning_invert.cli.solve_options import Options
from lightning_invert.pair.module import ForwardInverseModule
from lightning_invert.solver.constraint import ConstraintsLike, LikeData, Linear, with_another
from lightning_invert.variables import Bounds, Variable

__all__ = ["read_bounds", "read_constraints"]


def read_bounds(
    bounds: Mapping[str, tuple[float | None, float | None]] | None,
    known: Bounds | None,
    inputs: Sequence[Variable],
) -> Bounds:
    """Return the known bounds of the n inputs with the ends that ``bounds`` replaces."""
    names = [variable.name for variable in inputs]
    check_names("--bounds", bounds or {}, names, "settings")
    read = (known or Bounds.of_variables(inputs)).replaced(bounds or {}, inputs)
    if not read.closed.all():
        missing = [name for name, closed in zip(names, read.closed, strict=True) if not closed]
        raise ValueError(
            f"Expected bounds of {', '.join(map(repr, missing))}, but the checkpoint has neither "
            f"ranges nor rows of its data. Give --bounds '{{{missing[0]}: [low, high]}}' or a YAML "
            "file."
        )
    return read


def read_constraints(
    options: Options | BacktestOptions, pair: ForwardInverseModule, inputs: Sequence[str]
) -> ConstraintsLike | None:
    """Return the constraints of the options; ``None``: those of the pair hold."""
    constraints = options.constraints
    for name, numbers in (constraints or {}).items():
        option = f"--constraints of {name!r}"
        if both := {"low", "high"}.intersection(inputs):
            raise ValueError(
                f"Expected {both.pop()!r} to be no setting, because it is an end in {option}. Use `propose` "
                "in Python."
            )
        check_names(option, numbers, [*inputs, "low", "high"], "settings and ends")
    read = None
    if constraints is not None:
        read = {name: Linear.of(numbers) for name, numbers in constraints.items()}
    if options.like_data is None:
        return read
    share = check_number("--like_data", options.like_data, low=0.0, high=1.0, open_low=True)
    return with_another(pair.constraints if read is None else read, LikeData(share))
