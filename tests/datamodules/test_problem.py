import sys

import pytest
import torch
import yaml
from lightning.pytorch import LightningDataModule

from lightning_invert import ForwardInverseModule, ResidualMLP
from lightning_invert.datamodules import ProblemDataModule
from lightning_invert.problems import KNOWN, Ballistics, MultilayerFilm, RobotArm
from tests.cli.commands import Unrun
from tests.projects import quiet_trainer


def rows_of(loader):
    return tuple(torch.cat(part) for part in zip(*loader, strict=True))


@pytest.mark.parametrize("name", KNOWN)
def test_without_noise_every_pair_is_the_true_map(name):
    data = ProblemDataModule(name, num_points=50, num_test_points=20)
    assert isinstance(data.problem, KNOWN[name])
    x, y = data.load()
    torch.testing.assert_close(y, data.problem.forward(x), rtol=1e-14, atol=1e-14)
    scale = data.statistics.output_std.float()
    for loader, size in ((data.train_dataloader, 40), (data.test_dataloader, 20)):
        x, y = rows_of(loader())
        assert len(x) == size
        truth = data.problem.forward(x).float() / scale
        torch.testing.assert_close(truth, y / scale, rtol=1e-3, atol=1e-3)


def test_noise_is_the_stated_share_of_each_output_s_spread():
    clean, noisy = (ProblemDataModule("robot_arm", noise=noise).load()[1] for noise in (0.0, 0.05))
    share = (noisy - clean).std(0) / clean.std(0)
    torch.testing.assert_close(share, torch.full((2,), 0.05).double(), rtol=0.05, atol=0)


def test_the_test_is_on_other_points_and_all_depend_on_the_seed():
    data = ProblemDataModule("ballistics", num_points=300, num_test_points=100)
    known = set(map(tuple, data.load()[0].float().tolist()))
    test = data.test_dataloader().dataset.inputs
    assert not known & set(map(tuple, test.tolist()))
    again, other = (
        ProblemDataModule("ballistics", num_points=300, num_test_points=100, seed=seed)
        for seed in (0, 1)
    )
    assert torch.equal(data.load()[0], again.load()[0])
    assert not torch.equal(data.load()[0], other.load()[0])


def test_a_pair_takes_names_and_scale_from_it(tmp_path):
    data = ProblemDataModule(MultilayerFilm(3, num_wavelengths=20), num_points=50)
    pair = ForwardInverseModule(forward_net=ResidualMLP(3, 20), inverse_net=ResidualMLP(20, 3))
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(pair, datamodule=data)
    assert pair.input_names == ("TiO2_1", "SiO2_2", "TiO2_3")
    x, y = next(iter(data.val_dataloader()))
    assert pair.inverse(y).shape == x.shape


@pytest.mark.parametrize("problem", ["sine", RobotArm()])
def test_a_checkpoint_holds_its_settings_as_plain_values(problem, tmp_path):
    data = ProblemDataModule(problem, num_points=30)
    n, m = len(data.inputs), len(data.outputs)
    pair = ForwardInverseModule(forward_net=ResidualMLP(n, m), inverse_net=ResidualMLP(m, n))
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(pair, datamodule=data)
    trainer.save_checkpoint(tmp_path / "pair.ckpt")
    kept = torch.load(tmp_path / "pair.ckpt", weights_only=True)["datamodule_hyper_parameters"]
    assert kept["num_points"] == 30
    assert kept.get("problem") == ("sine" if problem == "sine" else None)


class Own(RobotArm):
    """A process of the user's own."""


@pytest.mark.parametrize(
    ("problem", "kind", "shape"),
    [
        ("ballistics", Ballistics, (4, 1)),
        (
            {
                "class_path": "lightning_invert.problems.MultilayerFilm",
                "init_args": {"num_layers": 4, "num_wavelengths": 9},
            },
            MultilayerFilm,
            (4, 9),
        ),
        ({"class_path": f"{__name__}.Own"}, Own, (4, 2)),
    ],
    ids=["name", "class with arguments", "a class of one's own"],
)
def test_a_config_names_it_or_gives_its_class(problem, kind, shape, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Own.__module__])
    monkeypatch.setattr(sys, "argv", ["lightning-invert"])
    monkeypatch.chdir(tmp_path)
    config = {
        "data": {
            "class_path": "lightning_invert.datamodules.ProblemDataModule",
            "init_args": {"problem": problem, "num_points": 40},
        },
        "trainer": {"logger": False},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    data = Unrun(["fit", "--config", "config.yaml"]).datamodule
    assert isinstance(data, LightningDataModule)
    assert type(data.problem).__name__ == kind.__name__
    assert (len(data.inputs), len(data.outputs)) == shape
    assert len(data.load()[0]) == 40


@pytest.mark.parametrize(
    ("problem", "error", "words"),
    [
        ("arm", ValueError, "`problem` .*'ballistics', 'blast_furnace', 'multilayer_film'"),
        (RobotArm, TypeError, "`problem`"),
    ],
)
def test_a_problem_that_is_none_is_named(problem, error, words):
    with pytest.raises(error, match=words):
        ProblemDataModule(problem)
