"""GluonTS: a feed-forward forecaster, fitted by the package's own estimator."""

import numpy as np

REQUIREMENTS = ("gluonts[torch]==0.17.0",)
TRAINED = "SimpleFeedForward"
MAPS = {"mean": {"module": "model", "input": "past_target", "output": [0, 1]}}


def fit(callbacks, options):
    import pandas as pd
    from gluonts.dataset.common import ListDataset
    from gluonts.torch.model.simple_feedforward import SimpleFeedForwardEstimator

    numbers = np.random.default_rng(0)
    start = pd.Period("2020-01-01", freq="D")
    series = [{"start": start, "target": numbers.normal(size=60)} for _ in range(8)]
    data = ListDataset(series, freq="D")
    estimator = SimpleFeedForwardEstimator(
        prediction_length=3,
        context_length=6,
        hidden_dimensions=[8],
        batch_size=8,
        num_batches_per_epoch=3,
        trainer_kwargs={
            **options,
            "max_epochs": 1,
            "callbacks": callbacks,
            "enable_checkpointing": True,
        },
    )
    np.random.seed(0)  # the estimator samples its windows from it
    trained = estimator.train_model(data, validation_data=data)
    return trained.trainer.lightning_module, trained.trainer


def points(batch, module):
    return batch["past_target"]


def outputs(module, batch, x):
    return module.model(x)[0][1]
