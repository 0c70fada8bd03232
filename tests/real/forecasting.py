"""pytorch-forecasting: a temporal fusion transformer of batches (dict, targets)."""

import numpy as np

REQUIREMENTS = ("pytorch-forecasting==1.8.0",)
TRAINED = "TemporalFusionTransformer"
MAPS = {
    "history": {"module": "", "input": [0, "encoder_cont"], "within": [0], "output": "prediction"}
}


def fit(callbacks, options):
    import pandas as pd
    from lightning.pytorch import Trainer
    from pytorch_forecasting import TemporalFusionTransformer, TimeSeriesDataSet

    numbers = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "time": np.tile(np.arange(24), 4),
            "series": np.repeat(list("abcd"), 24),
            "load": numbers.normal(size=96),
            "heat": numbers.normal(size=96),
        }
    )
    columns = {"time_varying_known_reals": ["heat"], "time_varying_unknown_reals": ["load"]}
    data = TimeSeriesDataSet(
        rows,
        "time",
        "load",
        ["series"],
        max_encoder_length=6,
        max_prediction_length=2,
        static_categoricals=["series"],
        **columns,
    )
    module = TemporalFusionTransformer.from_dataset(
        data, hidden_size=4, attention_head_size=1, hidden_continuous_size=4, log_interval=-1
    )
    trainer = Trainer(callbacks=callbacks, **options)
    trainer.fit(
        module,
        data.to_dataloader(train=True, batch_size=16),
        data.to_dataloader(train=False, batch_size=16),
    )
    return module, trainer


def points(batch, module):
    return batch[0]["encoder_cont"]


def outputs(module, batch, x):
    return module({**batch[0], "encoder_cont": x}).prediction.flatten(1)
