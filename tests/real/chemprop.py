"""chemprop: a message passing network of molecules, with a perceptron of their fingerprints."""

from tests.real._training import fitted

REQUIREMENTS = ("chemprop==2.3.1",)
TRAINED = "MPNN"
FINGERPRINT = {"module": "fingerprint", "input": "bmg", "context": [["V_d"], ["X_d"]]}
MAPS = {"predict": {"module": "predictor", "input": FINGERPRINT}}


def fit(callbacks, options):
    from chemprop import data, models, nn

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
    return fitted(module, loader, callbacks, options)


def points(batch, module):
    return module.fingerprint(batch.bmg)


def outputs(module, batch, x):
    return module.predictor(x)
