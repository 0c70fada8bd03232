"""The words and the table in which a watched map is summed up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lightning_invert.jacobians.thresholds import MAX_LOG10_COND
from lightning_invert.watch.members import COVERAGE
from lightning_invert.watch.truth import fragile

if TYPE_CHECKING:
    from lightning_invert.watch.observation import Observation

__all__ = [
    "invertibility_word",
    "members_words",
    "reach_words",
    "report_table",
    "truth_words",
    "verdict",
]


def invertibility_word(shape: tuple[int, int]) -> str:
    """Say what full rank means for a Jacobian of this shape.

    Args:
        shape: (m, n).

    Returns:
        ``"right-invertible"`` for n > m (every small change of the output can be reached, in many
        ways), ``"left-invertible"`` for n < m (distinct inputs stay distinct), ``"invertible"``
        for n = m.

    Example:
        >>> [invertibility_word(shape) for shape in ((4, 7), (7, 4), (4, 4))]
        ['right-invertible', 'left-invertible', 'invertible']
    """
    m, n = shape
    return "invertible" if m == n else "right-invertible" if n > m else "left-invertible"


def verdict(one: Observation) -> str:
    """Return one sentence that says how far the map can be trusted."""
    if one.probes is not None:
        return _of_probes(one)
    word = invertibility_word(one.shape)
    scalars = one.scalars
    full = scalars["full_rank_fraction"]
    if scalars["nonfinite_fraction"] > 0:
        share = _percent(scalars["nonfinite_fraction"])
        return f"{share} of the points have a NaN or inf in their Jacobian: look there first."
    head = f"locally {word} at {_percent(full)} of the points"
    tail = f"95th percentile of κ {_condition(scalars['cond_p95'], one.condition_limit)}"
    if 1 in one.shape:
        only = "one output" if one.shape[0] == 1 else "one input"
        flat = ", or ∞ where the slope is 0" if scalars["singular_fraction"] > 0 else ""
        tail += f"; {only}: κ is 1 by definition{flat}"
    if full < 1:
        return f"{head}: fragile where the rank drops ({tail})."
    ill = scalars["ill_conditioned_fraction"] + scalars["singular_fraction"]
    if ill > 0:
        return f"{head}, but {_percent(ill)} are ill-conditioned ({tail})."
    if scalars["moderate_fraction"] > 0:
        return f"{head}, of which {_percent(scalars['stable_fraction'])} are stable ({tail})."
    return f"{head}, and stable at all of them ({tail})."


def _of_probes(one: Observation) -> str:
    """Say what is known of a Jacobian that was not formed, and no more."""
    scalars, most = one.scalars, min(one.shape)
    if scalars["nonfinite_fraction"] > 0:
        share = _percent(scalars["nonfinite_fraction"])
        return f"{share} of the points have a NaN or inf in their Jacobian: look there first."
    bound = scalars["log10_cond_lower_bound_median"]
    kappa = "∞" if bound >= MAX_LOG10_COND else f"at least {10**bound:.3g}"
    rank = f"{scalars['stable_rank_median']:.3g} ± {scalars['stable_rank_error']:.2g}"
    return (
        f"too large to be formed; at the median point σ₁ {scalars['sigma_max_median']:.3g}, κ "
        f"{kappa}, stable rank {rank} of {most}. Whether it has full rank is not known."
    )


def report_table(seen: Sequence[Observation]) -> str:
    """Lay observations out as a table for the terminal, with a verdict below.

    In brackets: 95 % intervals, of the share at full rank and of the 95th percentile of κ.

    Args:
        seen: One observation for each map.

    Returns:
        The text, without a trailing newline.

    Example:
        >>> import torch
        >>> from lightning_invert.watch.observation import Observation
        >>> sigma = torch.linspace(20, 1, 100)[:, None] * torch.tensor([1.0, 0.5])
        >>> print(report_table([Observation.of(sigma, name="forward", shape=(2, 5))]))
        Local invertibility (κ: condition number; stable: κ < 100; ill-conditioned: κ > 10000)
        map      n → m  points  full rank          κ median  κ 95 %    stable  moderate  ill-cond.  \
singular
        forward  5 → 2  100     100 % [96.3, 100]  2         2 [2, 2]  100 %   0 %       0 %        \
0 %
        forward (physical): locally right-invertible at 100 % of the points, and stable at all of \
them (95th percentile of κ 2).
    """
    stable, ill = seen[0].thresholds.bands
    header = "map,n → m,points,full rank,κ median,κ 95 %,stable,moderate,ill-cond.,singular"
    rows = [header.split(","), *(_row(one) for one in seen)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    title = (
        "Local invertibility (κ: condition number; "
        f"stable: κ < {stable:g}; ill-conditioned: κ > {ill:g})"
    )
    verdicts = [
        f"{one.label}{told}"
        for one in seen
        for told in (
            f" ({one.scale}): {verdict(one)}",
            truth_words(one),
            members_words(one),
            reach_words(one),
        )
        if told
    ]
    return "\n".join([title, *lines, *verdicts])


def truth_words(one: Observation) -> str:
    """Say how true the Jacobians are, where that is known; it begins with what they are held against.

    Example:
        >>> import torch
        >>> from lightning_invert.jacobians.comparison import Comparison
        >>> from lightning_invert.watch.observation import Observation
        >>> sigma = torch.tensor([[1.0, 0.5], [1.0, 0.001]])
        >>> truth = Comparison(torch.tensor([0.01, 0.02]), sigma)
        >>> print(truth_words(Observation.of(sigma, truth=truth)))
        , truth: Jacobian off by 1.5 % (median; 95th percentile 1.95 %), rank correlation of κ 1; of 1 \
truly fragile point (κ ≥ 100) 1 found, 0 false alarms.
    """
    if one.truth is None:
        return ""
    count = fragile(one.condition, one.truth, one.thresholds)
    if not count.compared:
        return f", {one.truth.name}: not known at any of the points."
    s, (edge, _) = one.scalars, one.thresholds.bands
    kept = len(one.condition)
    some = kept < one.num_points
    known = f" at {count.compared} of {kept} points" if count.compared < kept else ""
    edged = f"(κ ≥ {edge:g})"
    if one.truth.name == "truth":
        points = "point" if count.true == 1 else "points"
        alarms = "false alarm" if count.false_alarms == 1 else "false alarms"
        fragility = (
            f"of {count.true} truly fragile {points} {edged} {count.found} found, "
            f"{count.false_alarms} {alarms}"
        )
    else:
        fragility = (
            f"fragile points {edged}: {count.found} in both, {count.true - count.found} there alone, "
            f"{count.false_alarms} here alone"
        )
    return (
        f", {one.truth.name}{known}: Jacobian off by {_percent(s['jacobian_error_median'])} (median; "
        f"95th percentile {_percent(s['jacobian_error_p95'])}), rank correlation of κ "
        f"{s['cond_rank_correlation']:.3g}; {f'in a sample of {kept} ' if some else ''}{fragility}."
    )


def members_words(one: Observation) -> str:
    """Say how far κ spreads over several runs, and how much of its error that tells where it is known."""
    if one.members is None:
        return ""
    s = one.scalars
    told = (
        f", over {one.members.runs} runs: log10 κ spreads by {s['log10_cond_spread_median']:.2g} "
        "(standard deviation, median of the points)"
    )
    if "log10_cond_coverage" in s and one.truth is not None:
        told += (
            f"; {one.truth.name} inside the {100 * COVERAGE:.0f} % error bar at "
            f"{_percent(s['log10_cond_coverage'])} of the points, rank correlation of spread and "
            f"error {s['spread_error_correlation']:.2g}"
        )
    return f"{told}."


def reach_words(one: Observation) -> str:
    """Say how many outcomes are reached from what the inverse proposes for them, if it was asked.

    In brackets: the 95 % interval of that share.

    Example:
        >>> import torch
        >>> from lightning_invert.watch.observation import Observation
        >>> from lightning_invert.watch.reachability import Reachability
        >>> near = Reachability(torch.tensor([0.0, 0.0, 0.2, 0.005]), steps=10)
        >>> print(reach_words(Observation.of(torch.ones(4, 2), reach=near)))
        , reach: 75 % [30.1, 95.4] of the outcomes are reached from the proposals within 10 steps \
inside the box.
    """
    if one.reach is None:
        return ""
    if one.reach.distance.isnan().all():
        return ", reach: none of the outcomes is finite."
    steps = "1 step" if one.reach.steps == 1 else f"{one.reach.steps} steps"
    share = _percent(one.scalars["reachable_fraction"])
    interval = _share_interval(one.scalars, "reachable_fraction")
    return (
        f", reach: {share}{interval} of the outcomes are reached from the proposals within {steps} "
        "inside the box."
    )


def _row(one: Observation) -> list[str]:
    m, n = one.shape
    scalars = one.scalars
    bands = ("stable", "moderate", "ill_conditioned", "singular")
    if not one.formed:
        return [one.label, f"{n} → {m}", str(one.num_points), "not formed", *["—"] * 6]
    return [
        one.label,
        f"{n} → {m}",
        str(one.num_points),
        _percent(scalars["full_rank_fraction"]) + _share_interval(scalars, "full_rank_fraction"),
        _condition(scalars["cond_median"], one.condition_limit),
        _condition_with_interval(scalars, one.condition_limit),
        *(_percent(scalars[f"{band}_fraction"]) for band in bands),
    ]


def _percent(share: float) -> str:
    """Never round to a 0 % or 100 % that is not exact."""
    if share == float("inf"):
        return "∞"
    percent = 100 * share
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.3g} %" if percent < 99.5 or percent == 100 else f"{percent:.1f} %"


def _share_interval(scalars: Mapping[str, float], name: str) -> str:
    low, high = (scalars[f"{name}_{end}"] for end in ("low", "high"))
    return f" [{100 * low:.3g}, {100 * high:.3g}]"


def _condition_with_interval(scalars: Mapping[str, float], limit: float) -> str:
    """Leave the interval out where it says no more than the bound before it."""
    value = _condition(scalars["cond_p95"], limit)
    ends = (scalars[f"log10_cond_p95_{end}"] for end in ("low", "high"))
    low, high = (
        _condition(float("inf") if end >= MAX_LOG10_COND else 10**end, limit) for end in ends
    )
    bound = value == "∞" or value.startswith(">")
    return value if bound and low == value else f"{value} [{low}, {high}]"


def _condition(value: float, limit: float) -> str:
    """Show a condition number that drowns in rounding as the bound that is known of it."""
    if value == float("inf"):
        return "∞"
    return f"> {limit:.2g}" if value > limit else f"{value:.3g}"
