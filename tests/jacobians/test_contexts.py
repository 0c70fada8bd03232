from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from lightning_invert import ConditioningPenalty, JacobianConsistency, analyze, batched_jacobian
from lightning_invert.jacobians.contexts import differentiable, evaluation_mode
from tests.jacobians.reference import jacobians_by_autograd
from tests.pair.networks import NETWORKS

HAS_NEWER = hasattr(torch._C, "_get_fp32_precision_getter")
OPERATIONS = [
    getattr(getattr(torch.backends, library), operation)
    for library, operation in [
        ("mkldnn", "conv"), ("mkldnn", "rnn"), ("cudnn", "conv"), ("cudnn", "rnn"),
        ("cuda", "matmul"), ("mkldnn", "matmul"),
    ] if HAS_NEWER
]  # fmt: skip


def newer():
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"


def both():
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.fp32_precision = "tf32"


USERS = {
    "nobody": lambda: None,
    "legacy": lambda: torch.set_float32_matmul_precision("medium"),
}
if HAS_NEWER:
    USERS |= {
        "newer": newer,
        "generic": lambda: setattr(torch.backends, "fp32_precision", "tf32"),
        "both": both,
    }


@pytest.fixture
def settings():
    before = [operation.fp32_precision for operation in OPERATIONS]
    older = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield lambda: [operation.fp32_precision for operation in OPERATIONS]
    for kind in (torch.backends, torch.backends.mkldnn, torch.backends.cudnn) if HAS_NEWER else ():
        kind.fp32_precision = "none"
    torch.set_float32_matmul_precision(older[0])
    torch.backends.cudnn.allow_tf32 = older[1]
    for operation, precision in zip(OPERATIONS, before, strict=True):
        operation.fp32_precision = precision


@pytest.mark.parametrize("user", USERS)
def test_float32_is_full_while_a_jacobian_is_formed_and_set_as_before_afterwards(settings, user):
    seen = []

    def function(x):
        seen.append(settings())
        return x @ torch.ones(3, 2)

    USERS[user]()
    before = settings()
    batched_jacobian(function, torch.ones(4, 3))
    assert settings() == before
    assert {precision for call in seen for precision in call} <= {"ieee", "none"}
    if user == "legacy":
        assert torch.get_float32_matmul_precision() == "medium"
    with pytest.raises(ZeroDivisionError):
        batched_jacobian(lambda x: 1 / 0, torch.ones(4, 3))
    assert settings() == before


@pytest.mark.skipif(not HAS_NEWER, reason="torch before 2.9 has one interface")
@pytest.mark.parametrize("kind", [torch.backends, torch.backends.mkldnn, torch.backends.cudnn])
def test_operations_inherit_their_precision_afterwards_as_before(settings, kind):
    kind.fp32_precision = "tf32"
    inherited = settings()
    kind.fp32_precision = "none"
    own = settings()
    kind.fp32_precision = "tf32"
    batched_jacobian(torch.sin, torch.ones(4, 3))
    assert settings() == inherited
    kind.fp32_precision = "none"
    assert settings() == own


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_slopes_that_are_not_finite_are_counted_under_anomaly_detection():
    x = torch.linspace(0, 1, 65)[:, None].expand(-1, 2)  # sqrt has no slope at 0
    with torch.autograd.detect_anomaly():
        observation = analyze(torch.sqrt, x)
        assert torch.is_anomaly_enabled()
    assert observation.scalars["nonfinite_fraction"] == pytest.approx(1 / 65)


ATTENTION = [NETWORKS[kind] for kind in ("scaled dot product", "transformer")]


@pytest.mark.parametrize("kind", ATTENTION, ids=["attention", "transformer"])
def test_a_penalty_on_a_network_with_attention_has_a_gradient(kind):
    torch.manual_seed(0)
    forward, inverse = kind(3, 2).double(), kind(2, 3).double()
    x, y = torch.randn(4, 3).double(), torch.randn(4, 2).double()
    weight = forward.embed.weight
    for loss in (
        lambda: ConditioningPenalty(0.1, num_points=4)(forward, x),
        lambda: JacobianConsistency(0.1)(forward, inverse, y),
    ):
        torch.manual_seed(1)
        (gradient,) = torch.autograd.grad(loss(), weight)
        with torch.no_grad():
            values = []
            for step in (1e-5, -1e-5):
                weight[0] += step
                torch.manual_seed(1)
                values.append(float(loss()))
                weight[0] -= step
        assert float(gradient[0]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4)


class Force(nn.Module):
    def __init__(self, n, m):
        super().__init__()
        self.energy = NETWORKS["transformer"](n, 1)

    def forward(self, x):
        with torch.enable_grad():
            x = x if x.requires_grad else x.clone().requires_grad_()
            energy = self.energy(x).sum()
            (slope,) = torch.autograd.grad(energy, x, create_graph=True)
        return slope


@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
@pytest.mark.parametrize("kind", [*ATTENTION, Force], ids=["attention", "transformer", "force"])
def test_a_map_with_attention_has_its_jacobian_in_every_mode(kind, mode):
    torch.manual_seed(0)
    net, x = kind(3, 2).double().eval(), torch.randn(4, 3).double()
    if mode == "forward" and kind is ATTENTION[1]:  # its fast path has no rule
        with pytest.raises(NotImplementedError, match="`mode` to be 'auto' or 'reverse'"):
            batched_jacobian(net, x, mode=mode)
        return
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = jacobians_by_autograd(net, x)
    torch.testing.assert_close(batched_jacobian(net, x, mode=mode), expected)


def test_evaluation_mode_puts_every_flag_back_also_after_an_error():
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()), nn.BatchNorm1d(3))
    net.train()
    net[2].eval()

    def fails():
        with evaluation_mode([net]):
            assert not any(part.training for part in net.modules())
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert [part.training for part in net.modules()] == [True, True, True, True, False]


def test_what_threads_share_is_as_it_was_whichever_leaves_first(monkeypatch):
    import torch._dynamo.eval_frame as dynamo

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    before = (torch.get_float32_matmul_precision(), dynamo._stance.stance)
    torch.set_float32_matmul_precision("medium")
    try:
        first, second = differentiable("cpu"), differentiable("cpu")
        with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
            one.submit(first.__enter__).result()
            other.submit(second.__enter__).result()
            one.submit(first.__exit__, None, None, None).result()
            assert torch.get_float32_matmul_precision() == "highest"
            assert dynamo._stance.stance == "force_eager"
            other.submit(second.__exit__, None, None, None).result()
        assert torch.get_float32_matmul_precision() == "medium"
        assert dynamo._stance.stance == before[1]
    finally:
        torch.set_float32_matmul_precision(before[0])
