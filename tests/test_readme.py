import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import zuko
from torch import nn
from torch.autograd.functional import jacobian

from lightning_invert import Ensemble, ForwardInverseModule, SmoothMLP
from lightning_invert.cli.main import main
from lightning_invert.datamodules import ProblemDataModule, TabularDataModule
from lightning_invert.watch.observation import observe
from lightning_invert.watch.resolution import resolve_maps
from tests.projects import quiet_trainer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    page.read_text(encoding="utf-8")
    for page in sorted((ROOT / "docs").rglob("*.md"))
    if "made" not in page.parts
]
SNIPPETS = [
    pytest.param(snippet, marks=marks, id=snippet.strip().splitlines()[-1][:40])
    for text, marks in ((TEXT, ()), ("".join(PAGES), pytest.mark.slow))
    for snippet in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
]
COMMANDS = {
    line.split("#")[0].strip(): None
    for text in (TEXT, *PAGES)
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    for line in block.splitlines()
}
INVERT = [command for command in COMMANDS if command.startswith("lightning-invert")]


def run(command, folder):
    """Run a command in a process of its own, and return what it prints and logs."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    ).stdout


MODULES = {
    "package/module.py": "def process(x):\n    return x[:, :2] * x[:, 2:]\n",
    "other/nets.py": "from torch import nn\n\n\nclass Net(nn.Linear):\n    pass\n",
    "my_package/__init__.py": """
from lightning_invert.datamodules import ProblemDataModule


class Data(ProblemDataModule):
    def __init__(self):
        super().__init__("blast_furnace", num_points=100)
""",
    "my_package/nets.py": """
from lightning_invert import ConstantAlpha, SmoothMLP

class MyNet(SmoothMLP):
    def __init__(self, n, m):
        super().__init__(n, m, width=8)

class MySchedule(ConstantAlpha):
    def __init__(self):
        super().__init__(0.8)
""",
}


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_every_snippet_runs(snippet, tmp_path, monkeypatch, request):
    if "pair.ckpt" in snippet and "save_checkpoint" not in snippet:
        if "build_page" in snippet and not (shutil.which("npm") or os.environ.get("CI")):
            pytest.skip("no npm here, which brings onnxruntime-web")
        shutil.copy(request.getfixturevalue("folder") / "pair.ckpt", tmp_path)
        monkeypatch.syspath_prepend(request.getfixturevalue("folder"))
    # A file, because the processes of a strategy start it anew.
    (tmp_path / "snippet.py").write_text(snippet)
    if "devices=" in snippet:
        run([sys.executable, "snippet.py"], tmp_path)
        return
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["snippet.py"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runpy.run_path("snippet.py", run_name="__main__")
    torch.set_printoptions(profile="default")


def test_the_flow_of_the_readme_is_a_real_one(tmp_path):
    (snippet,) = re.findall(r"```python\n([^`]*def latent.*?)```", "".join(PAGES), re.DOTALL)
    (method,) = re.findall(r"# .*: (def latent.*)", snippet)
    (tmp_path / "snippet.py").write_text(f"{snippet}\n{method}")
    names = runpy.run_path(tmp_path / "snippet.py")
    flow = zuko.flows.NSF(3, 2, transforms=2, hidden_features=(16,), bins=4)
    module = type("Module", (nn.Module,), {"latent": names["latent"]})()
    module.flow, (x, c) = flow, (torch.randn(6, 3), torch.randn(6, 2))
    (watched,) = resolve_maps({"latent": names["watch"].watcher.maps["latent"]}, module)
    sigma = [
        torch.linalg.svdvals(jacobian(lambda x, c=c: flow(c).transform(x), x).double())
        for x, c in zip(x, c, strict=True)
    ]
    found = observe(watched, watched.take((x, c))).singular_values
    torch.testing.assert_close(found, torch.stack(sigma), rtol=1e-4, atol=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What a reader has at hand: the configs, a table and a trained pair."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "configs", folder / "configs")
    names = "temperature,pressure,flow,yield,purity"
    rows = [",".join(str((i * p) % 17 + p / 10) for p in (1, 3, 5, 7, 11)) for i in range(60)]
    (folder / "measurements.csv").write_text("\n".join([names, *rows]))
    data = ProblemDataModule("blast_furnace", num_points=200, noise=0.01)
    as_configured = Ensemble(SmoothMLP(7, 4, width=192)), SmoothMLP(4, 7, width=128)
    small = SmoothMLP(7, 4, width=8), SmoothMLP(4, 7, width=8)
    for name, networks in (("configured.ckpt", as_configured), ("pair.ckpt", small)):
        trainer = quiet_trainer(folder)
        trainer.fit(ForwardInverseModule(*networks), datamodule=data)
        trainer.save_checkpoint(folder / name)
    table = TabularDataModule(
        folder / "measurements.csv", ["temperature", "pressure", "flow"], ["yield", "purity"]
    )
    trainer = quiet_trainer(folder)
    trainer.fit(ForwardInverseModule(), datamodule=table)
    trainer.save_checkpoint(folder / "table.ckpt")
    targets = "production_rate,top_gas_temperature_low,top_gas_temperature_high\n5000,90,\n,,110\n"
    (folder / "targets.csv").write_text(targets)
    problem, x = data.problem, data.problem.sample(5, seed=1)
    names = ",".join(variable.name for variable in (*problem.inputs, *problem.outputs))
    rows = torch.cat([x, problem.forward(x)], 1).tolist()
    (folder / "tried.csv").write_text("\n".join([names, *(str(row)[1:-1] for row in rows)]))
    shutil.copy(folder / "tried.csv", folder / "history.csv")
    (folder / "current.csv").write_text("\n".join([names, str(rows[0])[1:-1]]))
    (folder / "prices.yaml").write_text("wind_rate: 1.5\n")
    (folder / "ramps.yaml").write_text("wind_rate: 10\n")
    (folder / "constraints.yaml").write_text(
        "fuel: {pulverised_coal: 1, natural_gas: 1, high: 300}\n"
    )
    kept = folder / "runs" / "blast_furnace" / "version_0" / "checkpoints"
    kept.mkdir(parents=True)
    shutil.copy(folder / "configured.ckpt", kept / "best-27.ckpt")
    for name in "other", "b", "c", "d":
        shutil.copy(folder / "table.ckpt", folder / f"{name}.ckpt")
    for file, text in MODULES.items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(text)
    (folder / "surrogate.py").write_text("def predict(x):\n    return x[:, :2] * x[:, 2:]\n")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", INVERT)
def test_every_command_runs(command, folder, monkeypatch, capsys, caplog):
    words = shlex.split(command)[1:]
    if "page" in words and not (shutil.which("npm") or os.environ.get("CI")):
        pytest.skip("no npm here, which brings onnxruntime-web")
    if "--config" in words or words == ["demo"]:
        words += ["--trainer.max_epochs", "1"]
        words += ["--data.num_points", "100"] if "tabular" not in command else []
        words = [word.replace("pair.ckpt", "configured.ckpt") for word in words]
    if "measurements.csv" in command or "{yield" in command:
        words = [word.replace("pair.ckpt", "table.ckpt") for word in words]
        words += ["--max_epochs", "1"] if words[0] == "fit" else []
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "surrogate", raising=False)  # a benchmark has that name, too
    helps = pytest.raises(SystemExit, match="0") if "--help" in words else nullcontext()
    with warnings.catch_warnings(), helps:
        warnings.simplefilter("ignore")
        main(words)
    assert capsys.readouterr().out or caplog.text


@pytest.mark.slow
def test_the_demo_runs_shortened_and_tensorboard_reads_what_it_leaves(tmp_path):
    options = "--trainer.max_epochs 1 --data.num_points 3000 "
    options += f"--trainer.logger.init_args.save_dir {tmp_path}"
    text = run(["make", "demo", f"ARGS={options}"], ROOT)
    assert "right-invertible" in text
    assert len(list(tmp_path.rglob("*.png"))) == 3  # of one look there is no evolution
    if shutil.which("npm") or os.environ.get("CI"):
        assert "page.html" in run(["make", "page", f"RUNS={tmp_path}"], ROOT)
    seen = run(["tensorboard", "--inspect", "--logdir", str(tmp_path)], tmp_path)
    assert "invertibility/forward/full_rank_fraction" in seen


def test_no_other_commands_are_promised():
    others = [command for command in COMMANDS if command not in INVERT]
    assert others == [
        "pip install lightning-invert",
        "tensorboard --logdir lightning_logs",
        "make demo",
        "make test",
        "tensorboard --logdir runs",
        "pip install lightning-invert[deploy]",
    ]


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)]+)\)", TEXT))
def test_every_link_leads_to_the_site_or_to_a_file_of_the_repository(link):
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    file, _, heading = link.partition("#")
    site, source = urls["Documentation"], urls["Source"]
    raw = source.replace("github.com", "raw.githubusercontent.com") + "/main/"
    if file.startswith(site):
        page = file.removeprefix(site) or "index.html"
        pages = [ROOT / "docs" / page.replace(".html", end) for end in (".md", ".ipynb")]
        target = next(filter(Path.exists, pages), pages[0])
    else:
        assert file.startswith((raw, f"{source}/blob/main/"))
        target = ROOT / file.removeprefix(raw).removeprefix(f"{source}/blob/main/")
    assert target.exists()
    assert heading in ("", *_slugs(target.read_text(encoding="utf-8") if heading else ""))


def _slugs(text):
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]


@pytest.mark.parametrize(
    "page",
    [*(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"],
    ids=lambda page: page.stem,
)
def test_every_page_says_first_whom_it_is_for(page):
    text = page.read_text(encoding="utf-8")
    assert text.startswith("```{include}") or re.match(r"# .*\n\nFor ", text)


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    run([*build, "-d", str(tmp_path / "doctrees"), "docs", str(tmp_path / "site")], ROOT)
    assert (tmp_path / "site" / "searchindex.js").stat().st_size > 10_000
