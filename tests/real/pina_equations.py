"""PINA: a physics-informed solver, which keeps labelled tensors and differentiates in its step."""

import torch

REQUIREMENTS = ("pina-mathlab==0.3.2",)
TRAINED = "PINN of the Poisson problem"
MAPS = {"model": {"module": "model", "input": [0, 1, "input"]}}


def fit(callbacks, options):
    from pina.model import FeedForward
    from pina.problem.zoo import Poisson2DSquareProblem
    from pina.solver import PINN
    from pina.trainer import Trainer

    problem = Poisson2DSquareProblem()
    problem.discretise_domain(48, "random")
    model = FeedForward(2, 1, inner_size=8, n_layers=1)
    split = {"batch_size": 16, "train_size": 0.5, "val_size": 0.5, "test_size": 0.0}
    solver = PINN(problem, model)
    trainer = Trainer(solver, shuffle=False, callbacks=callbacks, **split, **options)
    trainer.train()
    return solver, trainer


def points(batch, module):
    return batch[0][1]["input"].as_subclass(torch.Tensor)


def outputs(module, batch, x):
    return module.model(x)
