import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.func import functional_call, jacrev, vmap
from torch.utils import checkpoint

from lightning_invert import batched_jacobian
from lightning_invert.jacobians import evaluation
from lightning_invert.jacobians.contexts import without_checkpoints
from lightning_invert.jacobians.jacobian import jacobian_and_outputs
from tests.jacobians.reference import jacobians_by_autograd

MODES = ("auto", "reverse", "forward")


def network(n, m, inside=16):
    return nn.Sequential(nn.Linear(n, inside), nn.Tanh(), nn.Linear(inside, m)).double()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("n", "m"), [(7, 4), (4, 7), (3, 3), (5, 1), (1, 5), (2, 9), (30, 50)])
def test_equals_autograd_at_every_point(n, m, mode):
    net, x = network(n, m), torch.randn(6, n, dtype=torch.float64)
    torch.testing.assert_close(batched_jacobian(net, x, mode=mode), jacobians_by_autograd(net, x))


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 6),
    m=st.integers(1, 6),
    points=st.integers(1, 9),
    chunk=st.integers(1, 10),
    mode=st.sampled_from(MODES),
)
def test_does_not_depend_on_chunks_or_mode(n, m, points, chunk, mode):
    net, x = network(n, m), torch.randn(points, n, dtype=torch.float64)
    whole = batched_jacobian(net, x, mode="reverse")
    torch.testing.assert_close(batched_jacobian(net, x, mode=mode, chunk_size=chunk), whole)


@pytest.mark.parametrize("options", [{"create_graph": True}, *({"mode": mode} for mode in MODES)])
def test_flattens_event_dimensions_of_input_and_output(options):
    net = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Tanh()).double()
    x = torch.randn(4, 2, 5, 5, dtype=torch.float64)
    found = batched_jacobian(net, x, **options)
    assert found.shape == (4, 3 * 25, 2 * 25)
    torch.testing.assert_close(found, jacobians_by_autograd(net, x))
    assert batched_jacobian(net, x[:0], **options).shape == (0, 75, 50)


class Cube(torch.autograd.Function):
    # It has no forward-mode rule, and a backward pass that cannot be batched.
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return torch.from_numpy(3 * x.detach().numpy() ** 2) * gradient


@pytest.mark.parametrize(("n", "copies"), [(20, 1), (1, 5)], ids=["reverse", "forward"])
def test_where_a_mode_or_a_batch_of_passes_is_not_supported_another_serves(n, copies):
    x = torch.randn(4, n, dtype=torch.float64)
    found = batched_jacobian(lambda x: Cube.apply(x).repeat(1, copies), x)
    expected = torch.diag_embed(3 * x**2).repeat(1, copies, 1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("points", "n", "copies"), [(1000, 8, 8), (12, 2, 3000)], ids=["many points", "many outputs"]
)
def test_a_large_sample_is_taken_in_chunks_by_default(points, n, copies):
    sizes = []

    def watched(x):
        sizes.append(len(x))
        return x.repeat(1, copies)

    m = n * copies
    found = batched_jacobian(watched, torch.randn(points, n), mode="reverse", check=False)
    assert found.shape == (points, m, n)
    assert max(sizes) == 2**16 // (n + m)


def test_the_number_of_outputs_that_is_remembered_is_that_for_points_of_this_shape():
    sizes = []
    net = nn.Upsample(scale_factor=8).eval()
    net.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    batched_jacobian(net, torch.randn(5, 1, 2))
    sizes.clear()
    batched_jacobian(net, torch.randn(2000, 1, 16))
    assert max(sizes) == 2**16 // (16 + 128)


@pytest.mark.parametrize("chunk_size", [None, 1, 4])
@pytest.mark.parametrize("mode", MODES)
def test_comes_with_the_outputs_of_the_same_evaluation(mode, chunk_size):
    net = nn.Sequential(network(7, 6), nn.Unflatten(1, (2, 3)))
    x = torch.randn(10, 7, dtype=torch.float64)
    found, outputs = jacobian_and_outputs(net, x, mode=mode, chunk_size=chunk_size)
    torch.testing.assert_close(found, batched_jacobian(net, x))
    torch.testing.assert_close(outputs, net(x).detach().flatten(1))
    assert not outputs.requires_grad
    found, outputs = jacobian_and_outputs(net, x[:0], mode=mode)
    assert (found.shape, outputs.shape) == ((0, 6, 7), (0, 6))


def test_who_knows_the_number_of_outputs_needs_one_evaluation_in_all():
    sizes = []

    def watched(x):
        sizes.append(len(x))
        return x.repeat(1, 4)

    jacobian_and_outputs(watched, torch.randn(100, 8), num_outputs=32, check=False)
    assert sizes == [100]
    jacobian_and_outputs(watched, torch.randn(2000, 8), num_outputs=32, check=False)
    assert sizes == [100, 2**16 // 40, 2000 - 2**16 // 40]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x.square().sum(1), 2 * torch.ones(1, 3)),  # without dimensions of its own
        (lambda x: torch.cat([x, torch.ones_like(x)], dim=1), torch.eye(6, 3)),
    ],
    ids=["sum", "constants"],
)
@pytest.mark.parametrize("graph", [False, True])
def test_equals_the_closed_form(function, expected, graph):
    found = batched_jacobian(function, torch.ones(5, 3), create_graph=graph)
    torch.testing.assert_close(found, expected.expand(5, -1, -1))


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("mode", MODES)
def test_works_where_gradients_are_off(context, mode):
    net = network(7, 4)
    with context():
        x = torch.randn(5, 7, dtype=torch.float64)
        found = batched_jacobian(net, x, mode=mode)
    torch.testing.assert_close(found, jacobians_by_autograd(net, x.clone()))


def test_is_computed_in_full_precision_under_autocast():
    net, x = network(7, 4).float(), torch.randn(5, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = batched_jacobian(net, x)
    torch.testing.assert_close(found, batched_jacobian(net, x))
    assert found.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", MODES)
def test_of_weights_in_half_precision_is_that_of_the_same_weights_to_their_precision(dtype, mode):
    net, x = network(7, 4).to(dtype), torch.randn(20, 7).to(dtype)
    found = batched_jacobian(net, x, mode=mode)
    assert found.dtype == dtype
    exact = jacobians_by_autograd(net.double(), x.double())
    assert (found - exact).abs().max() < 4 * torch.finfo(dtype).eps * exact.abs().max()


@pytest.mark.slow
def test_of_a_compiled_module_is_that_of_the_module_and_compiles_nothing():
    net, x = network(7, 20), torch.randn(5, 7, dtype=torch.float64)
    expected = jacobians_by_autograd(net, x)
    compiled = torch.compile(net, backend="aot_eager")
    compiled(x)
    with torch.compiler.set_stance("fail_on_recompile"):
        torch.testing.assert_close(batched_jacobian(compiled, x), expected)
        compiled(x)
    in_place = network(7, 4)
    in_place.compile(backend="eager")
    assert batched_jacobian(in_place, x).shape == (5, 4, 7)


@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize(("n", "m"), [(7, 4), (2, 9), (3, 1)])
def test_with_a_graph_has_the_derivatives_that_torch_func_finds(n, m, chunk_size):
    net, x = network(n, m), torch.randn(5, n, dtype=torch.float64)
    weights = dict(net.named_parameters())

    def single(weights, p):
        return functional_call(net, weights, (p[None],))[0]

    expected = vmap(jacrev(single, argnums=1), in_dims=(None, 0))(weights, x)
    with torch.no_grad():
        found = batched_jacobian(net, x, chunk_size=chunk_size, create_graph=True)
    torch.testing.assert_close(found, expected)
    factors = torch.randn_like(found)

    def summed(jacobian):
        return (factors * jacobian.square()).sum()

    by_parameters = torch.autograd.grad(summed(found), net.parameters(), materialize_grads=True)
    of_torch = torch.autograd.grad(summed(expected), net.parameters(), materialize_grads=True)
    torch.testing.assert_close(by_parameters, of_torch)
    assert not x.requires_grad
    assert all(p.grad is None for p in net.parameters())


def test_with_a_graph_can_be_differentiated_twice():
    net, x = network(3, 2, inside=3), torch.randn(2, 3, dtype=torch.float64)

    def of_weight(weight):
        def function(p):
            return functional_call(net, {"0.weight": weight}, (p,))

        return batched_jacobian(function, x, create_graph=True)

    weight = net[0].weight.detach().requires_grad_()
    assert torch.autograd.gradcheck(of_weight, weight)
    assert torch.autograd.gradgradcheck(of_weight, weight)


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.reentrant = reentrant
        self.parts = nn.ModuleList(network(n, m) for n, m in ((4, 6), (6, 6), (6, 20)))

    def forward(self, x):
        for part in self.parts:
            x = checkpoint.checkpoint(part, x, use_reentrant=self.reentrant)
        return x


class Gradient(nn.Module):
    """A force: the gradient of an energy."""

    def __init__(self, sets_the_flag=False):
        super().__init__()
        self.sets_the_flag = sets_the_flag
        self.energy = network(4, 1)

    def forward(self, x):
        if self.sets_the_flag:
            x.requires_grad_()
        with torch.enable_grad():
            return -torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]


class Symplectic(Gradient):
    def forward(self, x):
        q, p = super().forward(x).chunk(2, 1)
        return torch.cat([-p, q], 1)


class ChangesItsInput(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = network(4, 3)

    def forward(self, x):
        x[:, 0] += 1
        x.mul_(2)
        return self.last(x)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.LSTM(1, 3, batch_first=True)

    def forward(self, x):
        return self.layer(x[:, :, None])[0][:, -1]


def partly_frozen():
    net = network(4, 3).requires_grad_(False)
    net[0].requires_grad_(True)
    return net


DIFFICULT = {
    "partly frozen": partly_frozen,
    "recurrent": Recurrent,
    "first layer in place": lambda: nn.Sequential(nn.ReLU(inplace=True), network(4, 3)),
    "all rectifiers in place": lambda: nn.Sequential(
        nn.Linear(4, 9), nn.ReLU(inplace=True), nn.Linear(9, 3), nn.SiLU(inplace=True)
    ),
    "changes its input": ChangesItsInput,
    "force": Gradient,
    "force, sets the flag": lambda: Gradient(sets_the_flag=True),
    "Hamiltonian": Symplectic,
    "Hamiltonian, sets the flag": lambda: Symplectic(sets_the_flag=True),
    "checkpoints": lambda: Checkpointed(reentrant=False),
    "reentrant checkpoints": lambda: Checkpointed(reentrant=True),
}


@pytest.mark.parametrize(
    ("points", "options"),
    [(400, {}), (10, {"check": False}), (10, {"chunk_size": 4}), (10, {"create_graph": True})],
    ids=str,
)
@pytest.mark.parametrize("name", DIFFICULT)
def test_equals_autograd_where_that_has_its_difficulties(name, points, options):
    net, x = DIFFICULT[name]().double().eval(), torch.randn(points, 4, dtype=torch.float64)
    before = x.clone()
    found = batched_jacobian(net, x, **options)
    assert torch.equal(x, before)
    assert not x.requires_grad
    rows = slice(0, None, points // 5)
    for reentrant in (part for part in net.modules() if isinstance(part, Checkpointed)):
        reentrant.reentrant = False  # autograd.functional does not take it
    expected = jacobians_by_autograd(lambda p: net(p.clone()), x[rows])
    torch.testing.assert_close(found[rows], expected)
    assert all(p.grad is None for p in net.parameters())


def test_torch_s_functions_for_checkpoints_are_replaced_and_put_back():
    # If torch renames one, nothing is replaced; this says so before a user wonders why.
    generators = [
        n for n in dir(checkpoint) if n.startswith("_checkpoint_without_reentrant_generator")
    ]
    names = ["CheckpointFunction", *generators]  # from torch 2.14 on, one of these calls the other
    before = [getattr(checkpoint, name) for name in names]
    during = []

    def fails():
        with without_checkpoints(), without_checkpoints():
            during.extend(getattr(checkpoint, name) for name in names)
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    replaced = [ours is not own for ours, own in zip(during, before, strict=True)]
    assert replaced[0]
    assert sum(replaced[1:]) == 1
    assert [getattr(checkpoint, name) for name in names] == before


def test_a_kernel_without_a_backward_pass_is_found_and_not_used(monkeypatch):
    # There is no GPU here: the operation stands for cuDNN's recurrent network.
    seen = []

    def function(x):
        seen.append(torch.backends.cudnn.enabled)
        return x.tanh() * 2

    monkeypatch.setattr(evaluation, "CUDNN_DEVICE", "cpu")
    batched_jacobian(function, torch.randn(5, 4), check=False)
    assert seen == [True]
    seen.clear()
    monkeypatch.setattr(evaluation, "CUDNN_RECURRENT", "Tanh")
    batched_jacobian(function, torch.randn(5, 4), check=False)
    assert seen == [True, False]
    assert torch.backends.cudnn.enabled


X = torch.ones(3, 2)


@pytest.mark.parametrize(
    ("function", "inputs", "options", "error", "words"),
    [
        (torch.sin, X.long(), {}, TypeError, "`inputs` .* floating .* torch.int64"),
        (torch.sin, [[1.0]], {}, TypeError, "`inputs` .* got list"),
        (torch.sin, X[:, 0], {}, ValueError, r"`inputs` .* \(3,\)"),
        (torch.sin, X, {"mode": "sideways"}, ValueError, "`mode` .* 'sideways'"),
        (torch.sin, X, {"mode": "forward", "create_graph": True}, ValueError, "`mode` .*`create_"),
        (torch.sin, X, {"chunk_size": 0}, ValueError, "`chunk_size` .* 0"),
        (lambda x: (x, x), X, {}, TypeError, "`function` .* returned tuple"),
        (lambda x: x.sum(), X, {}, ValueError, r"one row for each of the 3 points, .* \(\)"),
        (lambda x: x[:2], X, {}, ValueError, r"one row for each of the 3 points, .* \(2, 2\)"),
        (lambda x: x.detach() * 2, X, {}, ValueError, "carries a gradient"),
        (lambda x: x.argmax(1), X, {}, TypeError, "floating tensor, but it returned torch.int64"),
    ],
)
def test_names_what_is_wrong(function, inputs, options, error, words):
    with pytest.raises(error, match=words):
        batched_jacobian(function, inputs, **options)
