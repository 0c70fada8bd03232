import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lightning_invert.watch.observation import observe
from lightning_invert.watch.resolution import resolve_maps
from tests.watch.reference import jacobians_point_by_point, spectra_point_by_point, summary_in_numpy

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))


def watched(m=2, **known):
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, m))
    (found,) = resolve_maps({"f": {"module": net, **known}}, net)
    return found


@pytest.mark.parametrize("scale", ["physical", "standardized"])
@pytest.mark.parametrize("known", [True, False])
def test_it_is_what_autograd_and_numpy_find(scale, known):
    one = watched()
    if known:
        one = watched(input_std=torch.tensor([1.0, 2, 3]), output_std=torch.tensor([5.0, 0.1]))
    found = observe(one, X, scale=scale)
    j = jacobians_point_by_point(one.owner.eval(), X)
    if scale == "standardized":
        of_x, of_y = (std.double().numpy() for std in one.stds) if known else (
            X.double().numpy().std(0, ddof=1), found.outputs.double().numpy().std(0, ddof=1)
        )  # fmt: skip
        j = j * of_x / of_y[:, None]
    sigma = np.linalg.svd(j, compute_uv=False)
    np.testing.assert_allclose(found.singular_values, sigma, rtol=1e-5)
    expected = summary_in_numpy(sigma)
    assert {k: found.scalars[k] for k in expected} == pytest.approx(expected, rel=1e-4)
    assert (found.scale, found.shape, found.num_points) == (scale, (2, 3), 40)
    torch.testing.assert_close(found.outputs, one(X).detach())


Y = torch.randn(40, 2, generator=torch.Generator().manual_seed(2)) * torch.tensor([3.0, 0.2])


@pytest.mark.parametrize("targets", [Y, Y.double().where(torch.arange(40)[:, None] > 4, torch.nan)])
def test_known_outcomes_give_the_unit_so_that_a_lost_outcome_is_ill_conditioned(targets):
    one = watched(input=0, target=1)
    with torch.no_grad():  # the second outcome is lost: it hardly varies
        one.owner[-1].weight[1] *= 1e-3
    found = observe(one, one.take((X, targets)), scale="standardized")
    j = jacobians_point_by_point(one.owner.eval(), X)
    of_y = np.nanstd(targets.double().numpy(), 0, ddof=1)
    sigma = np.linalg.svd(j * X.double().numpy().std(0, ddof=1) / of_y[:, None], compute_uv=False)
    np.testing.assert_allclose(found.singular_values, sigma, rtol=1e-4)
    assert found.scalars["cond_median"] > 100


@pytest.mark.parametrize("targets", [torch.arange(40), Y[:, :1], Y * torch.nan])
def test_outcomes_that_are_not_those_of_the_map_leave_its_own_unit(targets):
    one, other = watched(input=0, target=1), watched(input=0)
    other.owner.load_state_dict(one.owner.state_dict())
    points = replace(other.take((X,)), targets=targets)
    found, plain = (observe(other, part, scale="standardized") for part in (points, X))
    torch.testing.assert_close(found.singular_values, plain.singular_values)


def test_a_row_that_is_not_finite_leaves_the_spread_of_the_others():
    x = X.clone()
    x[7, 1] = torch.nan
    one = watched()
    found = observe(one, x, scale="standardized")
    others = observe(one, torch.cat([x[:7], x[8:]]), scale="standardized")
    assert found.scalars["nonfinite_fraction"] == pytest.approx(1 / 40)
    assert found.scalars["cond_median"] == pytest.approx(others.scalars["cond_median"])
    assert len(found.finite().inputs) == 39


def test_a_point_whose_output_is_nan_is_not_finite_though_it_has_a_slope():
    class Logarithm(nn.Module):  # of a negative number NaN, with the slope 1 / x
        def forward(self, x):
            return x[:, :2].log()

    net = Logarithm()
    (logarithm,) = resolve_maps({"f": {"module": net}}, net)
    found = observe(logarithm, X)
    defined = (X[:, :2] > 0).all(1)
    assert 0 < int(defined.sum()) < len(X)
    share = 1 - float(defined.double().mean())
    assert found.scalars["nonfinite_fraction"] == pytest.approx(share)
    assert len(found.finite().inputs) == int(defined.sum())


def test_a_round_trip_is_held_against_the_identity_in_value_and_in_slope():
    std = torch.tensor([1.0, 2.0, 3.0])
    one = watched(m=3, identity=True, input_std=std, output_std=std)
    found = observe(one, X)
    off = jacobians_point_by_point(one.owner.eval(), X) * std.numpy() / std.numpy()[
        :, None
    ] - np.eye(3)
    slope = np.sqrt((off**2).sum((1, 2)).mean() / 3)
    value = (((one(X).detach() - X) / std) ** 2).mean().sqrt().item()
    assert found.scalars["consistency_error"] == pytest.approx(value, rel=1e-5)
    assert found.scalars["jacobian_consistency_error"] == pytest.approx(slope, rel=1e-5)


def test_a_round_trip_that_does_not_end_where_it_began_is_named():
    with pytest.raises(ValueError, match="as many outputs as inputs, but it maps 3 to 2"):
        observe(watched(identity=True), X)


class Checkpointed(nn.Module):
    def __init__(self, use_reentrant):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
        self.use_reentrant = use_reentrant

    def forward(self, x):
        return checkpoint(self.net, x, use_reentrant=self.use_reentrant)


class Force(nn.Module):
    def __init__(self):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x):
        x = x if x.requires_grad else x.requires_grad_()
        return torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]


IN_PLACE = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2))


def traced():
    return nn.Sequential(torch.jit.trace(nn.Linear(3, 4), X), nn.Tanh(), nn.Linear(4, 2))


@pytest.mark.filterwarnings(
    "ignore:`torch.jit:DeprecationWarning", "ignore:The .grad attr:UserWarning"
)
@pytest.mark.parametrize(
    "make",
    [lambda: Checkpointed(True), lambda: Checkpointed(False), lambda: IN_PLACE, Force, traced],
    ids=["reentrant", "checkpoint", "in place", "force", "traced"],
)
def test_in_float64_it_is_what_a_double_module_has(make):
    module = make()
    (one,) = resolve_maps({"f": ""}, module)
    found = observe(one, X, precision="float64")
    double = copy.deepcopy(module).double()
    if isinstance(module, Checkpointed):
        double = double.net
    expected = spectra_point_by_point(lambda x: double(x.clone()), X.double())
    np.testing.assert_allclose(found.singular_values, expected, rtol=1e-7, atol=1e-12)
    assert all(p.dtype == torch.float32 for p in module.parameters())
