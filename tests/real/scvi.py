"""scvi-tools: a variational autoencoder of counts, fitted by the package's own trainer."""

import numpy as np

REQUIREMENTS = ("scvi-tools==1.4.2",)
TRAINED = "SCVI"
MAPS = {
    "encode": {
        "module": "module.z_encoder",
        "input": "X",
        "context": ["batch"],
        "output": [0, "loc"],
    }
}


def fit(callbacks, options):
    import anndata
    import scvi

    scvi.settings.seed = 0
    counts = np.random.default_rng(0).poisson(3.0, (120, 12)).astype("float32")
    table = anndata.AnnData(counts)
    scvi.model.SCVI.setup_anndata(table)
    model = scvi.model.SCVI(table, n_latent=3, n_hidden=8)
    epochs = {"max_epochs": options["max_epochs"], "check_val_every_n_epoch": 1}
    model.train(train_size=0.6, validation_size=0.4, callbacks=callbacks, **options | epochs)
    return model.trainer.lightning_module, model.trainer


def points(batch, module):
    return batch["X"].float()


def outputs(module, batch, x):
    return module.module.z_encoder(x, batch["batch"])[0].loc
