"""The report of watched maps: a table, a verdict, and the words of their findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning_invert.jacobians.thresholds import MAX_LOG10_COND
from lightning_invert.watch.findings.probes import SpectrumProbes
from lightning_invert.watch.numerals import percent, percent_with_interval, short
from lightning_invert.watch.observation import Observation
from lightning_invert.watch.observations import Observations

__all__ = ["HEADER", "legend", "report_table", "sentences", "table_row", "verdict"]

HEADER = [
    "map",
    "n → m",
    "points",
    "full rank",
    "κ median",
    "κ 95 %",
    "stable",
    "moderate",
    "ill-cond.",
    "singular",
]

BOTTLENECK = (
    "a bottleneck. If it is meant, as in an autoencoder, watch both sides of it, with your modules' paths: "
    "maps={'encoder': 'encoder', 'decoder': {'module': 'decoder', 'input': {'map': 'encoder'}}}"
)


def verdict(observation: Observation, trip: Observation | None = None) -> str:
    """Return the verdict on a map: how accurate it is, then rank, bands and the 95th percentile of κ.

    ``trip`` is the round trip that an inverse is part of: it tells how accurate that is, as the known
    inputs do not where many lead to the same output.
    Right-invertible, n > m: every small change of the output can be reached, in many ways.
    Left-invertible, n < m: distinct inputs stay distinct.
    """
    said = (finding.accuracy(observation) for finding in observation.findings.values())
    accuracy = "".join(f"{words}. " for words in said if words)
    if trip is not None and (error := trip.scalars.get("consistency_error")) is not None:
        accuracy += (
            f"leads back to within {short(error, 3)} standard units (round_trip); it has no R² of its "
            "own, as many inputs may lead to one output. "
        )
    words = _of_spectrum(observation)
    return accuracy + (words[0].upper() + words[1:] if accuracy else words)


def _of_spectrum(observation: Observation) -> str:
    if (probes := observation.finding(SpectrumProbes)) is not None:
        return probes.verdict(observation)
    m, n = observation.shape
    scalars, k = observation.scalars, observation.full_rank
    full = scalars["full_rank_fraction"]
    if scalars["nonfinite_fraction"] > 0:
        share = percent(scalars["nonfinite_fraction"])
        return f"{share} of the points have a NaN or inf in their Jacobian: look there first."
    # Lost to the last digit: not small in these units, or by a threshold.
    is_lost = (observation.condition > observation.condition_limit) | observation.condition.isinf()
    if full == 0 and bool(is_lost.all()) and (rank := int(observation.rank.max())) < k:
        same = bool((observation.rank == rank).all())
        what = BOTTLENECK if rank else "the outputs do not depend on the inputs"
        return f"rank {'' if same else 'at most '}{rank} of {k} at every point: {what}."
    reached, lost, easily, hardly = _PHRASES[n < m]
    word = "invertible" if m == n else "left-invertible" if n < m else "right-invertible"
    head = f"{reached} at {percent(full)} of the points (locally {word})"
    tail = f"95th percentile of κ {_condition(scalars['cond_p95'], observation.condition_limit)}"
    if 1 in observation.shape:
        only = "one output" if m == 1 else "one input"
        flat = ", or ∞ where the slope is 0" if scalars["singular_fraction"] > 0 else ""
        tail += f"; {only}: κ is 1 by definition{flat}"
    if full < 1:
        if scalars["singular_fraction"] < 1 - full:
            thresholds = observation.thresholds
            tail += (
                f"; the rank counts σ above {thresholds.rank_atol:g}, singular means σ below "
                f"{thresholds.singular_floor:g}"
            )
        return f"{head}; at {percent(1 - full)} {lost} (rank lost; {tail})."
    ill = scalars["ill_conditioned_fraction"] + scalars["singular_fraction"]
    if ill > 0:
        return f"{head}, but {hardly} at {percent(ill)} (ill-conditioned; {tail})."
    return f"{head}, {easily} at {percent(1 - scalars['fragile_fraction'])} (stable; {tail})."


# What holds at full rank, what where rank is lost, and how well it holds.
_PHRASES = {
    False: (
        "every output can be adjusted",
        "some change of the outputs is out of reach",
        "without large changes of the inputs",
        "only by very large changes of the inputs",
    ),
    True: (
        "every change of the inputs shows in the outputs",
        "some change of the inputs does not show",
        "clearly",
        "some of them hardly",
    ),
}


def report_table(observations: Sequence[Observation], title: str = "") -> str:
    """Lay observations out as a table for the terminal, with a verdict below.

    In brackets: 95 % intervals, of the share at full rank and of the 95th percentile of κ.
    """
    if not observations:
        return "Nothing was watched yet."
    rows = [HEADER, *map(table_row, observations)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    title = title or f"Local invertibility ({legend(observations[0])})"
    return "\n".join([title, *lines, *sentences(observations)])


def observations_words(observations: Observations) -> str:
    """Describe the observations of a look, and below them those of the weights that a fit keeps."""
    words = report_table(observations, observations.title)
    return f"{words}\n{observations.kept}" if observations.kept else words


def legend(observation: Observation) -> str:
    """Explain κ and its bands."""
    stable, ill = observation.thresholds.bands
    return (
        "condition number κ: how many times more the hardest change costs than the easiest; "
        f"stable: κ < {stable:g}; ill-conditioned: κ > {ill:g}"
    )


def sentences(observations: Sequence[Observation]) -> list[str]:
    """Return the verdicts, and the words of the findings."""
    trips = {("inverse", o.part): o for o in observations if o.name == "round_trip"}
    lines = []
    for o in observations:
        lines.append(f"{o.label} ({o.scale}): {verdict(o, trips.get((o.name, o.part)))}")
        words = (finding.words(o) for finding in o.findings.values())
        lines += [f"{o.label}, {sentence}" for sentence in words if sentence]
    return lines


def table_row(observation: Observation) -> list[str]:
    """Return the cells of a map below :data:`HEADER`."""
    m, n = observation.shape
    scalars = observation.scalars
    bands = ("moderate", "ill_conditioned", "singular")
    head = [observation.label, f"{n} → {m}", str(observation.num_points)]
    if not observation.formed:
        return [*head, "not formed", *["—"] * 6]
    limit = observation.condition_limit
    return [
        *head,
        percent_with_interval(scalars, "full_rank_fraction"),
        _condition(scalars["cond_median"], limit),
        _condition_with_interval(scalars, limit),
        percent(1 - scalars["fragile_fraction"]),
        *(percent(scalars[f"{band}_fraction"]) for band in bands),
    ]


def _condition_with_interval(scalars: Mapping[str, float], limit: float) -> str:
    """Format the 95th percentile of κ with its interval, whose upper end few points leave open."""
    value = _condition(scalars["cond_p95"], limit)
    low, high = (scalars[f"log10_cond_p95_{end}"] for end in ("low", "high"))
    lowest = _condition(10**low if low < MAX_LOG10_COND else float("inf"), limit)
    if value.startswith(("∞", ">")) and lowest == value:
        return value
    if high >= MAX_LOG10_COND:
        return f"{value} [> {lowest.removeprefix('> ')}]"
    return f"{value} [{lowest}, {_condition(10**high, limit)}]"


def _condition(value: float, limit: float) -> str:
    """Format a condition number; beyond the limit of the arithmetic, as a lower bound."""
    if value == float("inf"):
        return "∞"
    return f"> {limit:.2g}" if value > limit else f"{value:.3g}"
