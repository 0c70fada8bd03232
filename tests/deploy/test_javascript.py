import re
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_invert import ForwardInverseModule, SmoothMLP
from lightning_invert.deploy import export_onnx
from lightning_invert.deploy.runtime import SCRIPT, WASM
from tests.deploy.conftest import until

pytestmark = pytest.mark.slow

DOC = Path(__file__).parents[2] / "docs" / "deploy.md"

PAGE = """<!doctype html>
<script type="importmap">{"imports": {"onnxruntime-web": "./ort.wasm.bundle.min.mjs"}}</script>
<script type="module" src="example.mjs"></script>
"""


def test_the_example_in_javascript_gives_what_torch_gives(browser, runtime, tmp_path):
    torch.manual_seed(0)
    pair = ForwardInverseModule(SmoothMLP(3, 2, width=16), SmoothMLP(2, 3, width=16)).eval()
    pair.scale_x.fit(torch.tensor([1.7e9, 100.0, 0.5]).double(), torch.tensor([17.0, 40.0, 0.1]))
    pair.scale_y.fit(torch.tensor([8000.0, 400.0]), torch.tensor([500.0, 20.0]))
    files = export_onnx(pair, tmp_path / "exported")
    (snippet,) = re.findall(r"```javascript\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    found = "window.found = [[...y.data], jacobian.dims, [...jacobian.data]]"
    served = {
        "/": (PAGE, "text/html"),
        "/example.mjs": (re.sub(r"console\.log\(.*\)", found, snippet), "text/javascript"),
        f"/{SCRIPT}": (runtime.script, "text/javascript"),
        f"/{WASM}": (runtime.wasm, "application/wasm"),
        "/exported/forward.onnx": (files["forward"].read_bytes(), "application/octet-stream"),
    }

    def answer(route):
        body, kind = served[route.request.url.removeprefix("https://example.test")]
        route.fulfill(body=body, content_type=kind)

    context = browser.new_context()
    page = context.new_page()
    page.route(lambda url: url.startswith("https://example.test"), answer)
    page.goto("https://example.test/")
    until(page, "window.found !== undefined")
    y, dims, jacobian = page.evaluate("window.found")
    context.close()
    x = torch.tensor([[1.7e9 + 12, 120, 0.45]], dtype=torch.float64)
    assert dims == [1, 2, 3]
    np.testing.assert_allclose(y, pair(x)[0].detach(), rtol=1e-5)
    expected = torch.autograd.functional.jacobian(pair, x)[0, :, 0]
    np.testing.assert_allclose(np.reshape(jacobian, (2, 3)), expected, rtol=1e-4)
