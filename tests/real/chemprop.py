"""chemprop: a message passing network of molecules, with a perceptron of their fingerprints."""

REQUIREMENTS = ("chemprop==2.3.1",)
TRAINED = "MPNN"
FINGERPRINT = {"module": "fingerprint", "input": "bmg", "context": [["V_d"], ["X_d"]]}
MAPS = {"predict": {"module": "predictor", "input": FINGERPRINT}}


def fit(callbacks, options):
    from chemprop import data, models, nn
    from lightning.pytorch import Trainer

    molecules = ["C" * (1 + i % 7) + "O" * (1 + i % 3) for i in range(48)]
    rows = [
        data.MoleculeDatapoint.from_smi(smiles, [float(len(smiles)), float(i % 5)])
        for i, smiles in enumerate(molecules)
    ]
    loader = data.build_dataloader(data.MoleculeDataset(rows), batch_size=12, shuffle=False)
    passing = nn.BondMessagePassing(d_h=8, depth=2)
    module = models.MPNN(
        passing, nn.MeanAggregation(), nn.RegressionFFN(n_tasks=2, input_dim=8, hidden_dim=8)
    )
    trainer = Trainer(callbacks=callbacks, **options)
    trainer.fit(module, loader, loader)
    return module, trainer


def points(batch, module):
    return module.fingerprint(batch.bmg)


def outputs(module, batch, x):
    return module.predictor(x)
