import copy
from functools import partial

import numpy as np
import polars
import polars.testing
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_invert import ForwardInverseModule, ResidualMLP, Thresholds, Variable, analyze
from lightning_invert.watch.resolution import resolve_maps
from lightning_invert.watch.scalars import scalars_of
from tests.identity import identity_of, state_of
from tests.watch.reference import jacobians_point_by_point, summary_in_numpy


def network():
    return nn.Sequential(nn.Linear(7, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 4)).double()


def by_numpy(net, x):
    return np.linalg.svd(jacobians_point_by_point(copy.deepcopy(net).eval(), x))


POINTS = torch.randn(50, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def read(path):
    return polars.read_csv(path) if path.suffix == ".csv" else polars.read_parquet(path)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_table_has_for_each_point_what_autograd_and_numpy_find(kind, tmp_path):
    net = network()
    found = analyze(net, POINTS, table=tmp_path / f"points.{kind}", directions=True)
    table = read(found.table)
    near = {"rtol": 1e-7 if kind == "parquet" else 5.1e-6}  # CSV has six digits
    u, sigma, vh = by_numpy(net, POINTS)
    np.testing.assert_allclose(table.select("^sigma_.*$"), sigma, **near)
    np.testing.assert_allclose(table["condition_number"], sigma[:, 0] / sigma[:, -1], **near)
    np.testing.assert_allclose(found.condition, sigma[:, 0] / sigma[:, -1])
    assert found.scalars == pytest.approx(summary_in_numpy(sigma))
    assert "at 100 % of the points (locally right-invertible)" in str(found)
    np.testing.assert_allclose(table["log_volume"], np.log(sigma).sum(1), **near)
    np.testing.assert_allclose(table.select("^input/.*$"), POINTS)
    np.testing.assert_allclose(table.select("^output/.*$"), net.eval()(POINTS).detach(), **near)
    np.testing.assert_array_equal(table["rank"], (sigma > 1e-5).sum(1))
    assert set(table["band"]) == {"stable"}
    assert not table["unresolved"].any()
    for side, expected in (("input", vh[:, 3]), ("output", u[:, :, 3])):
        overlap = (table.select(f"^weakest_{side}/.*$").to_numpy() * expected).sum(1)
        np.testing.assert_allclose(np.abs(overlap), 1, **near)


def test_the_most_expensive_outcome_is_named(monkeypatch):
    monkeypatch.setattr("lightning_invert.analysis.points.MAX_POINTS_AT_ONCE", 20)
    net = network()
    names = {"inputs": list("abcdefg"), "outputs": ["rate", "gas", "heat", "ash"]}
    found = analyze(net, POINTS, directions=True, **names)
    u, _, vh = by_numpy(net, POINTS)
    inputs, outputs = found.findings["directions"].shares(found)
    for shares, vectors in ((inputs, vh[:, 3]), (outputs, u[:, :, 3])):
        np.testing.assert_allclose(list(shares.values()), (vectors**2).mean(0))
    first = max(outputs, key=outputs.get)
    assert f"hardest to change: {first} (" in str(found)
    assert "hardest to change: " not in str(analyze(net, POINTS))


def fragile(x):
    """Singular for x0 < -1, ill-conditioned below 0, moderate below 1, not finite above 2."""
    weak = torch.where(x < -1, 0.0, torch.where(x < 0, 1e-5, torch.where(x < 1, 1e-3, 1.0)))
    weak = torch.where(x > 2, torch.nan, weak)
    return torch.stack([x[:, 1], (weak * (x - x.detach()))[:, 0]], dim=1)


def test_bands_ranks_and_points_without_a_number_are_told_apart(tmp_path):
    x = torch.zeros(5, 2, dtype=torch.float64)
    x[:, 0] = torch.tensor([-1.5, -0.5, 0.5, 1.5, 2.5])
    options = {"table": tmp_path / "points.parquet", "thresholds": Thresholds(rank_atol=1e-4)}
    found = analyze(fragile, x, **options)
    table = read(found.table)
    bands = ["singular", "ill-conditioned", "moderate", "stable", "nonfinite"]
    assert table["band"].to_list() == bands
    assert table["rank"].to_list() == [1, 1, 2, 2, 0]
    scalars = found.scalars
    assert scalars["nonfinite_fraction"] == pytest.approx(0.2)
    assert scalars["full_rank_fraction"] == scalars["deficient_fraction"] == pytest.approx(0.5)
    assert scalars["fragile_fraction"] == pytest.approx(0.75)
    for band in ("moderate", "ill_conditioned", "singular"):
        assert scalars[f"{band}_fraction"] == pytest.approx(0.25)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_pieces_change_nothing_but_the_memory(kind, tmp_path, monkeypatch):
    net = network()
    whole = analyze(net, POINTS, table=tmp_path / f"whole.{kind}")
    monkeypatch.setattr("lightning_invert.analysis.points.MAX_POINTS_AT_ONCE", 20)
    monkeypatch.setattr("lightning_invert.jacobians.spectrum.MAX_ENTRIES", 28 * 7)
    pieces = analyze(net, POINTS, table=tmp_path / f"pieces.{kind}")
    assert pieces.scalars == pytest.approx(dict(whole.scalars))
    torch.testing.assert_close(pieces.singular_values, whole.singular_values)
    polars.testing.assert_frame_equal(read(pieces.table), read(whole.table))


def test_of_more_points_than_are_kept_the_shares_are_of_all(monkeypatch, tmp_path):
    x = torch.randn(400, 2, dtype=torch.float64)
    whole = analyze(fragile, x)
    monkeypatch.setattr("lightning_invert.analysis.tally.MAX_KEPT", 100)
    some = analyze(fragile, x, table=tmp_path / "all.parquet")
    assert some.num_points == len(read(some.table)) == 400
    assert len(some.inputs) == len(some.condition) == len(some.rank) == 100
    for row in scalars_of("spectrum"):
        if row.pooled:
            assert some.scalars[row.name] == pytest.approx(whole.scalars[row.name])


@pytest.mark.parametrize(
    "points",
    [
        DataLoader(TensorDataset(POINTS, torch.zeros(50, 4)), batch_size=16),
        (POINTS[i : i + 10] for i in range(0, 50, 10)),
        POINTS.numpy(),
    ],
    ids=["loader", "generator", "array"],
)
def test_points_come_in_many_kinds(points):
    net = network()
    torch.testing.assert_close(analyze(net, points).condition, analyze(net, POINTS).condition)


def test_points_follow_the_module_s_dtype_and_precision_overrules_it():
    net = network().float()
    assert analyze(net, POINTS).inputs.dtype == torch.float32
    assert analyze(net, POINTS).condition_limit < 1e7
    found = analyze(net, POINTS, precision="float64")
    assert found.condition_limit > 1e14
    np.testing.assert_allclose(found.singular_values, by_numpy(net.double(), POINTS)[1])


def test_standardized_by_the_spread_of_the_points(monkeypatch):
    monkeypatch.setattr("lightning_invert.analysis.points.MAX_POINTS_AT_ONCE", 7)
    net = network()
    x = POINTS * torch.logspace(0, -2, 7) + 0.1
    x[:, 5] = 1.0
    found = analyze(net, x, scale="standardized")
    spread_x = x.numpy().std(0, ddof=1)
    spread_x[5] = 1
    spread_y = net.eval()(x).detach().numpy().std(0, ddof=1)
    jacobians = jacobians_point_by_point(net, x)
    expected = np.linalg.svd(jacobians * spread_x / spread_y[:, None], compute_uv=False)
    np.testing.assert_allclose(found.singular_values, expected, rtol=1e-6)
    assert found.scale == "standardized"


def test_a_pair_is_judged_by_its_own_statistics_names_and_maps():
    pair = ForwardInverseModule(ResidualMLP(3, 2), ResidualMLP(2, 3)).double()
    pair.scale_x.fit(torch.zeros(3), torch.tensor([1.0, 10.0, 100.0]))
    pair.scale_y.fit(torch.zeros(2), torch.tensor([5.0, 0.1]))
    pair.inputs = (Variable("wind", "m3/h"), Variable("heat", "K"), Variable("load"))
    pair.outputs = (Variable("rate", "t/d"), Variable("gas", "K"))
    forward, *_ = resolve_maps(None, pair)
    x = torch.randn(20, 3, dtype=torch.float64)
    found = analyze(forward, x)
    assert found.input_names == ("wind [m3/h]", "heat [K]", "load")
    _, sigma, _ = by_numpy(pair.forward_net, x / torch.tensor([1.0, 10.0, 100.0]))
    np.testing.assert_allclose(found.singular_values, sigma, rtol=1e-6)


def test_a_module_is_afterwards_as_it_was():
    net = network()
    before = identity_of(net), state_of(net)
    analyze(net, POINTS, scale="standardized", precision="float64")
    assert (identity_of(net), state_of(net)) == before
    assert all(part.training for part in net.modules())
    assert all(p.grad is None for p in net.parameters())


def test_files_have_the_map_s_name_and_no_table_is_replaced(tmp_path):
    first, second = (
        analyze(network(), POINTS, name="surrogate", table=tmp_path / "points.csv")
        for _ in range(2)
    )
    assert (first.table.name, second.table.name) == ("points.csv", "points-1.csv")
    files = first.save_figures(tmp_path / "figures")
    assert len(files) == 6
    assert all(file.name.startswith("surrogate_") for file in files)


def test_images_are_points_too():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(18, 3))
    found = analyze(net, torch.randn(5, 1, 7, 7))
    assert found.singular_values.shape == (5, 3)
    assert found.inputs.shape == (5, 1, 7, 7)


@pytest.mark.parametrize(
    ("function", "points", "options", "error", "words"),
    [
        (3, POINTS, {}, TypeError, "`function` .* got 3"),
        (fragile, 3, {}, TypeError, "`points` .* got int"),
        (fragile, POINTS.long(), {}, TypeError, "`points` .* torch.int64"),
        (fragile, torch.zeros(3), {}, TypeError, r"`points` .* \(3,\)"),
        (fragile, torch.zeros(0, 2), {}, ValueError, "at least one point"),
        (fragile, [], {"scale": "standardized"}, ValueError, "at least one point"),
        (fragile, iter([POINTS]), {"scale": "standardized"}, ValueError, "read twice"),
        (fragile, POINTS, {"truth": 3}, TypeError, "`truth` to be a module or a function, .* 3"),
        (fragile, POINTS, {"table": "points.xlsx"}, ValueError, r"\.csv or \.parquet"),
        (
            fragile,
            {"a": [1.0]},
            {"inputs": ["A"]},
            ValueError,
            "column 'A', .* 'a'. Did you mean 'a'",
        ),
        (fragile, {"a": ["warm"]}, {}, TypeError, "column 'a' .* numbers: .*'warm'"),
        (fragile, POINTS, {"inputs": ["a"]}, ValueError, "`input_names` .* 7 inputs, .* 1"),
        (fragile, POINTS, {"outputs": ["a"]}, ValueError, "`output_names` .* 2 outputs"),
    ],
)
def test_names_the_argument_that_is_wrong(function, points, options, error, words):
    with pytest.raises(error, match=words):
        analyze(function, points, **options)


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(1)
    pair = ForwardInverseModule(
        nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)), nn.Linear(2, 3)
    )
    pair.pair.name_columns(["a [K]", "b", "c"], [Variable("d", unit="bar"), "e"])
    x_std, y_std = torch.tensor([1e3, 1.0, 1e-3]), torch.tensor([50.0, 1e-2])
    pair.pair.fit_scales(torch.zeros(3), x_std, torch.zeros(2), y_std)
    return pair.eval()


SETTINGS = torch.randn(30, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
SETTINGS *= torch.tensor([1e3, 1.0, 1e-3])


@pytest.mark.parametrize("given", ["module", "its map", "entry"])
def test_a_module_that_names_its_maps_is_analyzed_by_them(pair, given):
    whole = {"module": pair, "its map": pair, "entry": pair.invertibility_maps()["forward"]}[given]
    name = {"name": "forward"} if given == "its map" else {}
    found = analyze(whole, SETTINGS, **name)
    physical = jacobians_point_by_point(pair.forward, SETTINGS)
    sigma = np.linalg.svd(
        physical * np.array([1e3, 1.0, 1e-3]) / np.array([50.0, 1e-2])[:, None], compute_uv=False
    )
    np.testing.assert_allclose(found.singular_values, sigma, rtol=1e-5)
    assert (found.scale, found.input_names) == ("standardized", ("a [K]", "b", "c"))
    assert found.output_names == ("d [bar]", "e")
    assert found.name == ("map" if given == "entry" else "forward")


def tables_of(folder):
    """Give the settings as tables of any kind, with further columns and in another order."""
    columns = dict(zip(["c", "note", "b", "a [K]"], SETTINGS.T[[2, 0, 1, 0]].tolist(), strict=True))
    polars.DataFrame(columns).write_csv(folder / "plant.csv")
    return [columns, polars.DataFrame(columns), folder / "plant.csv",
            str(folder / "plant.csv")]  # fmt: skip


def test_a_table_is_read_by_the_names_of_the_inputs(pair, tmp_path):
    expected = analyze(pair, SETTINGS)
    bare = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    bare.load_state_dict(pair.forward_net.state_dict())
    names = {"inputs": ["a", "b", "c"]}
    for table in tables_of(tmp_path):
        found = analyze(pair, table)
        np.testing.assert_allclose(found.singular_values, expected.singular_values)
        assert found.input_names == ("a [K]", "b", "c")
        named = analyze(bare, table, **names)
        reference = analyze(bare, SETTINGS, **names)
        np.testing.assert_allclose(named.singular_values, reference.singular_values)
        assert tuple(named.input_names) == ("a", "b", "c")
        # A function has neither names nor a dtype of its own.
        whole = analyze(lambda x: x @ torch.ones(4, 2), table)
        assert tuple(whole.input_names) == ("c", "note", "b", "a [K]")


def test_of_a_module_with_several_maps_the_name_says_which(pair):
    y = pair(SETTINGS)
    assert analyze(pair, y, name="inverse").shape == (3, 2)
    trip = analyze(pair, y, name="round_trip", truth={"other run": pair}, runs=[pair])
    assert trip.findings["truth"].error.abs().max() < 1e-6
    assert trip.findings["runs"].std.max() < 1e-6
    assert trip.findings["round_trip"].value.shape == (30,)
    with pytest.raises(
        ValueError, match=r"`name` to be one of .*'round_trip'\], but got 'surrogate'"
    ):
        analyze(pair, y, name="surrogate")
    assert analyze(pair, [(SETTINGS, y)], scale="physical").scale == "physical"


A = np.random.default_rng(5).normal(size=(4, 7))


def bent(x, by=0.0):
    """A map whose Jacobian is A times a slope that differs from point to point."""
    slope = 1 + x.square() + by * x.sin()
    return (slope * x) @ torch.as_tensor(A).to(x).T


@pytest.mark.parametrize("kept", [2**18, 30], ids=["all kept", "a sample kept"])
def test_the_table_has_how_true_each_jacobian_is(kept, tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_invert.analysis.points.MAX_POINTS_AT_ONCE", 20)
    monkeypatch.setattr("lightning_invert.analysis.tally.MAX_KEPT", kept)
    bent_more, bent_most = partial(bent, by=0.1), partial(bent, by=0.2)
    file = tmp_path / "points.parquet"
    found = analyze(bent_more, POINTS, truth=bent, runs=[bent, bent_most], table=file)
    of = [jacobians_point_by_point(function, POINTS) for function in (bent_more, bent, bent_most)]
    error = np.linalg.norm(of[0] - of[1], axis=(1, 2)) / np.linalg.norm(of[1], axis=(1, 2))
    log10 = np.log10(np.linalg.cond(of))
    table = read(found.table)
    np.testing.assert_allclose(table["jacobian_error"], error)
    np.testing.assert_allclose(table["true_condition_number"], np.linalg.cond(of[1]))
    np.testing.assert_allclose(table["log10_cond_mean"], log10.mean(0))
    np.testing.assert_allclose(table["log10_cond_std"], log10.std(0, ddof=1))
    where = [POINTS.tolist().index(row) for row in found.inputs.tolist()]
    assert len(where) == min(kept, 50)
    np.testing.assert_allclose(found.findings["truth"].error, error[where])
    np.testing.assert_allclose(found.findings["runs"].std, log10.std(0, ddof=1)[where])
    assert found.scalars["jacobian_error_median"] == pytest.approx(np.median(error[where]))
    text = str(found)
    assert "map, truth: Jacobian off by" in text
    assert ("in a sample of 30" in text) is (kept == 30)
    assert "truth inside the 90 % error bar at" in text


def test_another_run_is_called_what_it_is(tmp_path):
    truth = {"other run": partial(bent, by=0.1)}
    found = analyze(bent, POINTS, truth=truth, table=tmp_path / "a.csv")
    assert "map, other run: Jacobian off by" in str(found)
    assert "other_condition_number" in read(found.table).columns


def test_what_is_not_formed_is_held_against_nothing_and_this_is_said(caplog):
    x = torch.randn(3, 2000)
    with caplog.at_level("INFO"):
        found = analyze(torch.sin, x, truth=torch.sin, runs=[torch.sin])
    assert list(found.findings) == ["probes"]
    assert "'map' is too large to be formed. It is not compared" in caplog.text


def pooled(x):
    return torch.stack([(x * x).mean(1).sum(1), x.mean(1)[:, 0]], dim=1)


def series(*lengths):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(6, n, 2, generator=generator) for n in lengths]


@pytest.mark.parametrize(
    ("scale", "lengths", "wrapped"),
    [
        ("physical", (5, 3, 3), False),
        ("standardized", (3, 5, 3), True),
        ("standardized", (3, 3, 5), False),
    ],
)
def test_of_points_of_several_shapes_the_most_frequent_is_analyzed(
    tmp_path, scale, lengths, wrapped
):
    given = series(*lengths)
    expected = torch.cat([part for part in given if part.shape[1] == 3])
    batches = DataLoader([(part, "label") for part in given], batch_size=None) if wrapped else given
    with pytest.warns(UserWarning, match=r"12 of shape \(3, 2\) are analyzed; the other 6 are"):
        observation = analyze(pooled, batches, scale=scale, table=tmp_path / "table.csv")
    assert torch.equal(observation.inputs, expected)
    same = analyze(pooled, expected, scale=scale)
    torch.testing.assert_close(observation.singular_values, same.singular_values)
    assert observation.table == tmp_path / "table.csv"
    assert len(observation.table.read_text().splitlines()) == 13


def test_of_an_iterator_the_first_shape_is_analyzed():
    with pytest.warns(UserWarning, match=r"6 of shape \(5, 2\) are analyzed; the other 12 are"):
        observation = analyze(pooled, iter(series(5, 3, 3)))
    assert observation.inputs.shape == (6, 5, 2)
