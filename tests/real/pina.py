"""PINA: a supervised solver of labelled tensors, in batches of named conditions."""

import torch

REQUIREMENTS = ("pina-mathlab==0.3.2",)
TRAINED = "SupervisedSolver of LabelTensors"
MAPS = {"model": {"module": "model", "input": [0, 1, "input"]}}


def fit(callbacks, options):
    from pina import LabelTensor
    from pina.model import FeedForward
    from pina.problem.zoo import SupervisedProblem
    from pina.solver import SupervisedSolver

    x = torch.randn(64, 4)
    y = torch.stack([x.sum(1).sin(), x.prod(1), x[:, 0]], dim=1)
    problem = SupervisedProblem(LabelTensor(x, list("abcd")), LabelTensor(y, list("uvw")))
    model = FeedForward(4, 3, inner_size=8, n_layers=1)
    return trained(SupervisedSolver(problem, model, use_lt=False), callbacks, options)


def trained(solver, callbacks, options):
    """Train a solver with the package's own trainer; return it and the trainer."""
    from pina.trainer import Trainer

    split = {"batch_size": 16, "train_size": 0.5, "val_size": 0.5, "test_size": 0.0}
    trainer = Trainer(solver, shuffle=False, callbacks=callbacks, **split, **options)
    trainer.train()
    return solver, trainer


def points(batch, module):
    return batch[0][1]["input"].as_subclass(torch.Tensor)


def outputs(module, batch, x):
    return module.model(x)
