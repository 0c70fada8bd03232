"""All of torch's settings are as they were after every kind of look."""

from contextlib import ExitStack, contextmanager, nullcontext

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from lightning_invert import analyze, batched_jacobian, solve
from lightning_invert.watch.maps import MapError
from lightning_invert.watch.surroundings import Surroundings
from lightning_invert.watch.watcher import Watcher
from tests.watch.looks import look

SWITCHES = {
    "matmul precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "flash": (torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp),
    "math": (torch.backends.cuda.math_sdp_enabled, torch.backends.cuda.enable_math_sdp),
    "efficient": (
        torch.backends.cuda.mem_efficient_sdp_enabled,
        torch.backends.cuda.enable_mem_efficient_sdp,
    ),
    "fast path": (torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled),
    "autocast cache": (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    "cudnn": (lambda: torch.backends.cudnn.enabled, torch._C._set_cudnn_enabled),
    "benchmark": (lambda: torch.backends.cudnn.benchmark, torch._C._set_cudnn_benchmark),
    "deterministic": (
        lambda: torch.backends.cudnn.deterministic,
        torch._C._set_cudnn_deterministic,
    ),
    "TF32": (lambda: torch.backends.cudnn.allow_tf32, torch._C._set_cudnn_allow_tf32),
    "algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
}
"""Name -> how a setting is read, and how it is set."""


def settings():
    read = {name: getter() for name, (getter, _) in SWITCHES.items()}
    return read | {
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "anomaly": (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "device": torch.get_default_device(),
        "modes": len(_get_current_dispatch_mode_stack()),
        "threads": torch.get_num_threads(),
    }


UNUSUAL = {
    "matmul precision": "medium",
    "default dtype": torch.float64,
    "flash": False,
    "efficient": False,
    "autocast cache": False,
    "benchmark": True,
    "deterministic": True,
    "algorithms": True,
}


@contextmanager
def unusual():
    before = {name: getter() for name, (getter, _) in SWITCHES.items()}
    try:
        for name, value in UNUSUAL.items():
            SWITCHES[name][1](value)
        with ExitStack() as stack:
            stack.enter_context(torch.autocast("cpu", torch.bfloat16))
            stack.enter_context(torch.autograd.set_detect_anomaly(True, check_nan=False))
            stack.enter_context(torch.device("cpu"))
            stack.enter_context(torch.inference_mode())
            yield
    finally:
        for name, value in before.items():
            SWITCHES[name][1](value)


class Attends(nn.Module):
    def __init__(self, fails=None):
        super().__init__()
        self.embed, self.head = nn.Linear(1, 8), nn.Linear(24, 2)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.fails = fails

    def forward(self, x):
        y = self.head(self.layer(self.embed(x[..., None])).flatten(1))
        with torch.autocast("cpu", torch.bfloat16):
            if self.fails is not None:
                raise self.fails
            return y + self.head.bias

    def propose(self, y):
        return torch.cat([y, y[:, :1]], 1)


X, ONE = torch.linspace(-1, 1, 60).reshape(20, 3), torch.zeros(1, 2)
NET, BOUNDS = Attends(), ([-1.0] * 3, [1.0] * 3)
FAILS, ENDS, IS_FULL = map(Attends, (ValueError("no"), KeyboardInterrupt(), MemoryError("no")))
HALVES = Surroundings(torch.float64, torch.bfloat16)


def watch(module=NET, entry=None, trial=False, surroundings=HALVES, **options):
    watcher = Watcher(entry and {"f": entry}, on_error="raise", **options)
    look(watcher, module, [X], trial=trial, surroundings=surroundings)


LOOKS = {
    "look": lambda: watch(),
    "trial": lambda: watch(trial=True),
    "float64": lambda: watch(precision="float64", surroundings=Surroundings()),
    "probed": lambda: watch(max_work=1.0),
    "reach": lambda: watch(
        entry={"reach": {"inverse": "propose", "outcomes": lambda x: x[:, :2]}}, reachable_steps=2
    ),
    "truth": lambda: watch(entry={"truth": lambda x: x[:, :2]}),
    "analyze": lambda: analyze(NET, X, directions=True),
    "forward mode": lambda: batched_jacobian(lambda x: x.sin(), X, mode="forward"),
    "with a graph": lambda: batched_jacobian(NET, X, create_graph=True),
    "solve": lambda: solve(NET, ONE, bounds=BOUNDS, max_steps=2),
}
FAILING = {
    "look": (MapError, lambda: watch(FAILS)),
    "float64": (MapError, lambda: watch(FAILS, precision="float64")),
    "out of memory": (MapError, lambda: watch(IS_FULL)),
    "interrupted": (KeyboardInterrupt, lambda: watch(ENDS)),
    "no output": (MapError, lambda: watch(entry={"output": "missing"})),
    "no input": (MapError, lambda: watch(entry={"input": lambda batch: batch.missing})),
    "analyze": (MapError, lambda: analyze(FAILS, X)),
    "forward mode": (ValueError, lambda: batched_jacobian(FAILS, X, mode="forward")),
    "with a graph": (ValueError, lambda: batched_jacobian(FAILS, X, create_graph=True)),
    "solve": (ValueError, lambda: solve(FAILS, ONE, bounds=BOUNDS)),
}


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("kind", LOOKS)
@pytest.mark.parametrize("of_the_user", [nullcontext, unusual])
def test_all_settings_are_as_they_were_after_a_look(of_the_user, kind):
    NET.eval()
    with of_the_user():
        before = settings()
        LOOKS[kind]()
        assert settings() == before


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("kind", FAILING)
@pytest.mark.parametrize("of_the_user", [nullcontext, unusual])
def test_all_settings_are_as_they_were_after_a_look_that_fails(of_the_user, kind):
    NET.eval()
    error, fail = FAILING[kind]
    with of_the_user():
        before = settings()
        with pytest.raises(error):
            fail()
        assert settings() == before
