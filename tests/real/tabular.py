"""pytorch-tabular: an embedding of categories beside numbers, forward(batch: dict)."""

import numpy as np

REQUIREMENTS = ("pytorch-tabular==1.2.0", "requests")
TRAINED = "CategoryEmbedding, fitted by TabularModel"
MAPS = {"predict": {"module": "", "input": "continuous", "within": [], "output": "logits"}}


def fit(callbacks, options):
    import pandas as pd
    from pytorch_tabular import TabularModel
    from pytorch_tabular.config import DataConfig, OptimizerConfig, TrainerConfig
    from pytorch_tabular.models import CategoryEmbeddingModelConfig

    numbers = np.random.default_rng(0)
    rows = pd.DataFrame(numbers.normal(size=(120, 4)), columns=list("abcd"))
    model = TabularModel(
        data_config=DataConfig(target=["c", "d"], continuous_cols=["a", "b"]),
        model_config=CategoryEmbeddingModelConfig(task="regression", layers="8"),
        optimizer_config=OptimizerConfig(),
        trainer_config=TrainerConfig(
            max_epochs=options["max_epochs"],
            batch_size=16,
            early_stopping=None,
            checkpoints=None,
            load_best=False,
            progress_bar="none",
            accelerator="cpu",
            trainer_kwargs={"default_root_dir": options["default_root_dir"]},
        ),
        verbose=False,
        suppress_lightning_logger=True,
    )
    model.logger = False  # it would take TensorBoard's
    model.fit(train=rows[:60], validation=rows[60:], callbacks=callbacks)
    return model.model, model.trainer


def points(batch, module):
    return batch["continuous"]


def outputs(module, batch, x):
    return module({**batch, "continuous": x})["logits"]
