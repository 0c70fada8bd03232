"""A pair of any two networks is trained, watched, solved and kept."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from lightning_invert import (
    ConditioningPenalty,
    ForwardInverseModule,
    InvertibilityCallback,
    JacobianConsistency,
    analyze,
    solve,
)
from tests.pair.fitting import fit, saved
from tests.pair.networks import (
    NETWORKS,
    AllComplex,
    OfComplexLayers,
    OfFourier,
    OneWeightInDouble,
    Spectral,
    WithoutWeights,
    perceptron,
)
from tests.projects import Smooth
from tests.watch.reference import spectra_point_by_point

ATTENTION = ("scaled dot product", "multi-head attention", "transformer")


def pair_of(make, **options):
    torch.manual_seed(0)
    terms = {
        "conditioning_penalty": ConditioningPenalty(0.1),
        "jacobian_consistency": JacobianConsistency(0.1),
    }
    return ForwardInverseModule(make(3, 2), make(2, 3), **{**terms, **options})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:The .grad attribute")
@pytest.mark.parametrize("kind", NETWORKS)
def test_it_is_trained_with_penalties_watched_solved_and_kept(tmp_path, kind):
    pair = pair_of(NETWORKS[kind])
    watch = InvertibilityCallback(num_points=16, scale="physical", figures=False)
    precision = "bf16-mixed" if kind in ATTENTION else "32-true"  # flash attention, and autocast
    trainer = fit(pair, tmp_path, Smooth(rows=64), callbacks=[watch], precision=precision)
    assert torch.isfinite(trainer.callback_metrics["train/conditioning_penalty"])
    assert [observation.name for observation in watch.observations] == [
        "forward",
        "inverse",
        "round_trip",
    ]
    observation, pair = watch.observations[0], pair.eval()
    if kind != "bfloat16":  # whose Jacobian depends on the order of its sums
        expected = spectra_point_by_point(pair, observation.inputs)
        np.testing.assert_allclose(observation.singular_values, expected, rtol=1e-3, atol=1e-3)
    y = pair(observation.inputs[:2]).detach()
    assert pair.propose(y, num_starts=2).inputs.isfinite().all()

    path = tmp_path / "pair.ckpt"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.save_checkpoint(path)
    torch.load(path, weights_only=True)
    assert all("`load_from_checkpoint` will need" in str(w.message) for w in caught)
    given = {}
    if caught or kind == "compiled":  # which needs a dozen names of torch's compiler
        given = {"forward_net": NETWORKS[kind](3, 2), "inverse_net": NETWORKS[kind](2, 3)}
    again = ForwardInverseModule.load_from_checkpoint(path, allow=["tests"], **given).eval()
    torch.testing.assert_close(again(observation.inputs), pair(observation.inputs))


@pytest.mark.parametrize("make", [Spectral, AllComplex])
def test_complex_weights_follow_their_input_into_float64(make):
    torch.manual_seed(0)
    net, x = make(3, 2), torch.randn(9, 3)
    double = copy.deepcopy(net).double()
    double.weight = nn.Parameter(net.weight.to(torch.complex128))
    observation = analyze(net, x, precision="float64")
    expected = spectra_point_by_point(double, x.double())
    np.testing.assert_allclose(observation.singular_values, expected, rtol=1e-9)
    assert net.weight.dtype == torch.complex64


@pytest.mark.parametrize("make", [Spectral, OfFourier, OfComplexLayers])
def test_complex_weights_are_cast_as_the_real_ones(tmp_path, make):
    pair = pair_of(make)
    watch = InvertibilityCallback(num_points=8, figures=False)
    fit(pair, tmp_path, Smooth(rows=64), callbacks=[watch], precision="64-true")
    dtypes = {weight.dtype for weight in pair.pair.parameters()}
    assert dtypes <= {torch.float64, torch.complex128}
    net = pair.forward_net.eval()
    x = torch.randn(5, 3)
    expected = spectra_point_by_point(net, x.double())
    np.testing.assert_allclose(analyze(net, x).singular_values, expected, rtol=1e-12)
    values = [weight.detach().clone() for weight in pair.pair.parameters()]
    for now, before in zip(pair.float().pair.parameters(), values, strict=True):
        torch.testing.assert_close(now, before.to(now.dtype), rtol=0, atol=0)
        assert now.dtype == (torch.complex64 if before.is_complex() else torch.float32)


DTYPES = [
    (torch.float64, torch.float32),
    (torch.float32, torch.float64),
    (torch.bfloat16, torch.float64),
    (torch.float32, torch.bfloat16),
]


@pytest.mark.parametrize("learns_consistency", [False, True])
@pytest.mark.parametrize("dtypes", DTYPES)
def test_each_network_is_trained_in_its_own_dtype(tmp_path, dtypes, learns_consistency):
    pair = pair_of(
        perceptron, alpha=0.5, forward_training={"learns_consistency": learns_consistency}
    )
    networks = pair.forward_net, pair.inverse_net
    for network, dtype in zip(networks, dtypes, strict=True):
        network.to(dtype)
    before = [copy.deepcopy(network.state_dict()) for network in networks]
    trainer = fit(pair, tmp_path, Smooth(rows=64))
    for term in ("loss", "conditioning_penalty", "jacobian_consistency"):
        assert trainer.callback_metrics[f"train/{term}"].isfinite()
    for network, dtype, weights in zip(networks, dtypes, before, strict=True):
        assert {weight.dtype for weight in network.parameters()} == {dtype}
        moved = [not torch.equal(now, weights[name]) for name, now in network.named_parameters()]
        assert all(moved)
    proposal = pair.eval().propose(pair(Smooth(rows=64).load()[0][:2]).detach(), num_starts=2)
    assert proposal.inputs.isfinite().all()


def test_an_inverse_without_weights_gets_the_dtype_of_its_buffers(tmp_path):
    torch.manual_seed(0)
    pair = ForwardInverseModule(perceptron(3, 2).double(), WithoutWeights(2, 3))
    trainer = fit(pair, tmp_path, Smooth(rows=64), callbacks=[InvertibilityCallback(figures=False)])
    assert trainer.callback_metrics["train/loss"].isfinite()


class FirstInBfloat16(nn.Module):
    def __init__(self, n, m):
        super().__init__()
        self.first, self.rest = nn.Linear(n, 8).bfloat16(), perceptron(8, m)

    def forward(self, x):
        return self.rest(self.first(x.bfloat16()).to(x.dtype))


@pytest.mark.parametrize("make", [OneWeightInDouble, FirstInBfloat16, AllComplex, WithoutWeights])
def test_a_network_is_solved_in_the_dtype_of_most_of_its_weights(make):
    torch.manual_seed(0)
    net = make(3, 2)
    x = torch.randn(4, 3) / 2
    targets = net(x).detach().double()  # of another dtype
    solution = solve(net, targets, bounds=([-4.0] * 3, [4.0] * 3), tolerance=0.02, progress=False)
    assert solution.reasons == ["reached"] * 4
    assert solution.inputs.dtype == torch.float32
    torch.testing.assert_close(net(solution.inputs).double(), targets, rtol=0, atol=0.1)


def test_an_F_without_a_weight_that_is_trained_and_layers_of_both_networks(tmp_path):
    shared = nn.Linear(2, 2)
    forward_net = nn.Sequential(perceptron(3, 2), shared)
    inverse_net = nn.Sequential(shared, perceptron(2, 3))
    pair = ForwardInverseModule(forward_net.requires_grad_(False), inverse_net)
    before = copy.deepcopy(forward_net.state_dict())
    fit(pair, tmp_path, callbacks=[InvertibilityCallback(figures=False)])
    torch.testing.assert_close(dict(forward_net.state_dict()), dict(before), rtol=0, atol=0)
    assert pair.forward_net[1] is pair.inverse_net[0]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_draws_its_evidence_as_the_pair_does(tmp_path, copied):
    pair = pair_of(perceptron, keep_points=8)
    fit(pair, tmp_path, limit_train_batches=0)
    again = copied(pair)
    for module in (pair, again):
        module.evidence.begin()
    x = torch.randn(40, 3).double()
    kept = []
    for module in (pair, again):
        module.evidence.add("train", x[:20], x[:20])
    again = copied(again)  # between two draws
    for module in (pair, again):
        module.evidence.add("train", x[20:], x[20:])
        kept.append(module.evidence.rows("train")[0])
    torch.testing.assert_close(*kept, rtol=0, atol=0)


class Own(ForwardInverseModule):
    def __init__(self, sizes=(), **options):
        super().__init__(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": np.float64(0.25)},
        {"learning_rate": np.float32(0.5)},
        {"keep_points": np.int64(10), "predict_proposals": np.bool_(False)},
        {"forward_training": {"warmup_epochs": np.int64(1), "frozen": np.bool_(False)}},
        {"adam": {"betas": (np.float64(0.5), np.float64(0.75))}},
        {"sizes": [np.int64(3), {"width": np.float64(0.5)}]},
        {
            "forward_net": nn.Sequential(
                nn.Linear(np.int64(3), np.prod([2])), nn.LayerNorm(np.int64(2))
            )
        },
    ],
    ids=lambda options: ", ".join(options),
)
def test_numpy_s_numbers_are_plain_ones_in_a_checkpoint(tmp_path, options):
    data = Smooth(rows=60, batch_size=np.int64(32), seed=np.int64(3))
    data.save_hyperparameters({"rows": np.int64(60)})
    pair = Own(**{"forward_net": perceptron(3, 2), "inverse_net": perceptron(2, 3), **options})
    path = saved(pair, tmp_path, data)
    kept = torch.load(path, weights_only=True)
    assert type(kept["datamodule_hyper_parameters"]["rows"]) is int
    x = Smooth(rows=60).load()[0][:3]
    again = Own.load_from_checkpoint(path).eval()
    torch.testing.assert_close(again(x), pair.eval()(x), rtol=0, atol=0)
