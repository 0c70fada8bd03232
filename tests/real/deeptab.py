"""deeptab: lists of features as arguments, fitted as a scikit-learn estimator."""

import numpy as np
import torch

REQUIREMENTS = ("deeptab==2.1.0",)
TRAINED = "MLPRegressor"
MAPS = {
    "predict": {
        "module": "",
        "input": [[0, 0, 0], [0, 0, 1]],
        "within": [0, 0],
        "context": [[0, 1], [0, 2]],
    }
}


def fit(callbacks, options):
    import pandas as pd
    from deeptab.models import MLPRegressor

    numbers = np.random.default_rng(0)
    rows = pd.DataFrame(numbers.normal(size=(120, 2)), columns=list("ab"))
    model = MLPRegressor()
    options = {**options, "callbacks": callbacks, "enable_checkpointing": True}
    model.fit(rows, rows["a"] + rows["b"], batch_size=16, **options)
    return model._task_model, model._trainer


def points(batch, module):
    return torch.cat(batch[0][0], dim=1)


def outputs(module, batch, x):
    _, *rest = batch[0]
    return module(list(x.split(1, dim=1)), *rest)
