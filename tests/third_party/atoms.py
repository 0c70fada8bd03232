"""After chemprop, SchNetPack and Hamiltonian networks: graphs, and gradients inside of forward."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate
from torchmetrics import MeanSquaredError

from tests.projects import Fitted
from tests.third_party.project import (
    ROWS,
    Numbers,
    Project,
    batches,
    normal_rows,
    perceptron,
)

ATOM, BOND, HIDDEN, DESCRIPTORS = 5, 2, 8, 2


class MolGraph(NamedTuple):
    V: Tensor
    E: Tensor
    edge_index: Tensor
    rev_edge_index: Tensor


class BatchMolGraph:
    """All atoms of a batch, one under the other; it moves itself in place."""

    def __init__(self, mgs):
        self.size = len(mgs)
        sizes = torch.tensor([len(mg.V) for mg in mgs])
        bonds = torch.tensor([len(mg.E) for mg in mgs])
        first_atom, first_bond = (n.cumsum(0) - n for n in (sizes, bonds))
        self.V, self.E = torch.cat([mg.V for mg in mgs]), torch.cat([mg.E for mg in mgs])
        edges = [mg.edge_index + n for mg, n in zip(mgs, first_atom, strict=True)]
        back = [mg.rev_edge_index + n for mg, n in zip(mgs, first_bond, strict=True)]
        self.edge_index, self.rev_edge_index = torch.cat(edges, dim=1), torch.cat(back)
        self.batch = torch.arange(len(mgs)).repeat_interleave(sizes)

    def __len__(self):
        return self.size

    def to(self, device):
        for name in ("V", "E", "edge_index", "rev_edge_index", "batch"):
            setattr(self, name, getattr(self, name).to(device))


class TrainingBatch(NamedTuple):
    bmg: BatchMolGraph
    V_d: Tensor | None
    X_d: Tensor | None
    Y: Tensor | None
    w: Tensor
    lt_mask: Tensor | None
    gt_mask: Tensor | None


def scatter(H, index, size, reduce):
    """Reduce rows to those of the molecules or atoms that they belong to."""
    zeros = torch.zeros(size, H.shape[1], dtype=H.dtype, device=H.device)
    index = index.unsqueeze(1).repeat(1, H.shape[1])
    return zeros.scatter_reduce_(0, index, H, reduce=reduce, include_self=False)


class BondMessagePassing(nn.Module):
    def __init__(self):
        super().__init__()
        self.W_i = nn.Linear(ATOM + BOND, HIDDEN, bias=False)
        self.W_h = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.W_o = nn.Linear(ATOM + HIDDEN, HIDDEN)

    def forward(self, bmg, V_d=None):
        first, second = bmg.edge_index
        H_0 = self.W_i(torch.cat([bmg.V[first], bmg.E], dim=1))
        H = H_0.relu()
        M = scatter(H, second, len(bmg.V), "sum")[first] - H[bmg.rev_edge_index]
        H = (H_0 + self.W_h(M)).relu()
        return self.W_o(torch.cat((bmg.V, scatter(H, second, len(bmg.V), "sum")), dim=1)).relu()


class MeanAggregation(nn.Module):
    def forward(self, H, batch):
        return scatter(H, batch, int(batch.max()) + 1, "mean")


class ScaleTransform(nn.Module):
    """Does nothing in training."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.full((1, DESCRIPTORS), 0.1))
        self.register_buffer("scale", torch.full((1, DESCRIPTORS), 2.0))

    def forward(self, X):
        return X if self.training else (X - self.mean) / self.scale


class MPNN(Fitted):
    def __init__(self):
        super().__init__()
        self.message_passing, self.agg = BondMessagePassing(), MeanAggregation()
        self.bn, self.X_d_transform = nn.BatchNorm1d(HIDDEN), ScaleTransform()
        self.predictor = perceptron(HIDDEN + DESCRIPTORS, 8, 2, nn.ReLU)
        self.metrics = nn.ModuleList([MeanSquaredError()])

    def fingerprint(self, bmg, V_d=None, X_d=None):
        H = self.bn(self.agg(self.message_passing(bmg, V_d), bmg.batch))
        return H if X_d is None else torch.cat((H, self.X_d_transform(X_d)), dim=1)

    def forward(self, bmg, V_d=None, X_d=None):
        return self.predictor(self.fingerprint(bmg, V_d, X_d))

    def on_validation_model_eval(self):
        self.eval()
        self.X_d_transform.train()

    def step(self, batch):
        bmg, V_d, X_d, targets, weights, _lt_mask, _gt_mask = batch
        preds = self.predictor(self.fingerprint(bmg, V_d, X_d))
        if not self.training:
            self.metrics[0].update(self(bmg, V_d, X_d), targets)
            self.log("val/mse", self.metrics[0], batch_size=len(batch[0]))
        return (weights * (preds - targets).square()).mean()


FINGERPRINT = {"module": "fingerprint", "input": "bmg", "context": [["V_d"], ["X_d"]]}


def chemprop_rows():
    numbers = Numbers()
    rows = []
    for i in range(ROWS):
        atoms = 2 + i % 3  # in a chain, each bond there and back
        first, second = torch.arange(atoms - 1), torch.arange(1, atoms)
        edges = torch.stack([torch.cat([first, second]), torch.cat([second, first])])
        back = torch.arange(2 * (atoms - 1)).roll(atoms - 1)
        graph = MolGraph(numbers.normal(atoms, ATOM), numbers.normal(len(back), BOND), edges, back)
        rows.append((graph, numbers.normal(DESCRIPTORS), numbers.normal(2)))

    def collate(rows):
        mgs, x_ds, ys = zip(*rows, strict=True)
        graphs, ones = BatchMolGraph(mgs), torch.ones(len(rows), 1)
        return TrainingBatch(graphs, None, torch.stack(x_ds), torch.stack(ys), ones, None, None)

    return batches(rows, collate)


ATOMS = 3


class PairwiseDistances(nn.Module):
    def forward(self, inputs):
        first, second = (inputs["_positions"][inputs[index]] for index in ("_idx_i", "_idx_j"))
        inputs["_Rij"] = second - first + inputs["_offsets"]
        return inputs


class Representation(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(3, HIDDEN)
        self.filter = perceptron(1, HIDDEN, HIDDEN, nn.Softplus)

    def forward(self, inputs):
        x = self.embedding(inputs["_atomic_numbers"])
        w = self.filter(inputs["_Rij"].square().sum(1, keepdim=True))
        messages = x[inputs["_idx_j"]] * w
        inputs["scalar_representation"] = x.index_add(0, inputs["_idx_i"], messages)
        return inputs


class Atomwise(nn.Module):
    def __init__(self):
        super().__init__()
        self.outnet = perceptron(HIDDEN, 8, 1, nn.Softplus)

    def forward(self, inputs):
        y = self.outnet(inputs["scalar_representation"]).squeeze(-1)
        molecules = int(inputs["_idx_m"][-1]) + 1
        inputs["energy"] = torch.zeros(molecules, dtype=y.dtype).index_add(0, inputs["_idx_m"], y)
        return inputs


class Forces(nn.Module):
    """The graph is gone afterwards, unless in training."""

    def forward(self, inputs):
        energy, positions = inputs["energy"], inputs["_positions"]
        (gradient,) = torch.autograd.grad(
            [energy], [positions], [torch.ones_like(energy)], create_graph=self.training
        )
        inputs["forces"] = -gradient
        return inputs


class NeuralNetworkPotential(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_modules = nn.ModuleList([PairwiseDistances()])
        self.representation = Representation()
        self.output_modules = nn.ModuleList([Atomwise(), Forces()])

    def forward(self, inputs):
        inputs["_positions"].requires_grad_()
        for m in (*self.input_modules, self.representation, *self.output_modules):
            inputs = m(inputs)
        return {"energy": inputs["energy"], "forces": inputs["forces"]}


class AtomisticTask(Fitted):
    def __init__(self):
        super().__init__()
        self.model = NeuralNetworkPotential()

    def forward(self, inputs):
        return self.model(inputs)

    def step(self, batch):
        torch.set_grad_enabled(True)
        targets = {name: batch[name] for name in ("energy", "forces")}
        pred = self(batch)
        return sum(nn.functional.mse_loss(pred[name], y) for name, y in targets.items())

    def energy_at(self, positions, atomic_numbers):
        """Added: the energy of molecules (N, A, 3), without the forces."""
        inputs = molecules(positions, atomic_numbers)
        model = self.model
        for m in (*model.input_modules, model.representation, model.output_modules[0]):
            inputs = m(inputs)
        return inputs["energy"]


def molecules(positions, atomic_numbers):
    n, atoms = atomic_numbers.shape
    pairs = [(i, j) for i in range(atoms) for j in range(atoms) if i != j]
    first = torch.arange(n)[:, None] * atoms
    idx_i, idx_j = torch.tensor(pairs).T
    return {
        "_idx": torch.arange(n),
        "_n_atoms": torch.full((n,), atoms),
        "_atomic_numbers": atomic_numbers.flatten(),
        "_positions": positions.flatten(0, 1),
        "_idx_m": torch.arange(n).repeat_interleave(atoms),
        "_idx_i": (first + idx_i).flatten(),
        "_idx_j": (first + idx_j).flatten(),
        "_offsets": torch.zeros(n * len(pairs), 3),
    }


def molecule_batches(batch):
    """Batches of molecules, each of them made of positions (N, A, 3), kinds (N, A), energies."""
    numbers = Numbers()
    rows = [
        (numbers.normal(ATOMS, 3), numbers.below(3, ATOMS), numbers.normal(1)) for _ in range(ROWS)
    ]
    return batches(rows, lambda rows: batch(*default_collate(rows)))


def schnetpack_batch(positions, atomic_numbers, energy):
    targets = {"energy": energy[:, 0], "forces": -positions.flatten(0, 1)}
    return {**molecules(positions, atomic_numbers), **targets}


class Hamiltonian(Fitted):
    """The flow of a learnt energy: its gradient, turned."""

    def __init__(self):
        super().__init__()
        self.energy = perceptron(4, 16, 1)

    def forward(self, x):
        with torch.enable_grad():
            x = x.requires_grad_(True)
            (gradient,) = torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)
        dq, dp = gradient.chunk(2, dim=-1)
        return torch.cat([dp, -dq], dim=-1)


@dataclass
class Data:
    """A batch of PyTorch Geometric: no mapping, no sequence."""

    z: Tensor
    pos: Tensor
    batch: Tensor
    y: Tensor


class TorchMD(Fitted):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(3, HIDDEN), nn.Linear(HIDDEN + 1, 1)

    def forward(self, z, pos, batch=None, box=None, q=None, s=None, extra_args=None):
        assert z.dim() == 1
        assert z.dtype == torch.long
        batch = torch.zeros_like(z) if batch is None else batch
        pos.requires_grad_(True)
        distance = pos.square().sum(1, keepdim=True)
        x = self.head(torch.cat([self.embedding(z), distance], dim=1).tanh())
        y = torch.zeros(int(batch.max()) + 1, 1).index_add(0, batch, x)
        (dy,) = torch.autograd.grad([y], [pos], [torch.ones_like(y)], create_graph=True)
        return y, -dy

    def step(self, batch):
        with torch.set_grad_enabled(True):
            y, neg_dy = self(batch.z, batch.pos, batch=batch.batch)
            return nn.functional.mse_loss(y, batch.y) + neg_dy.square().mean()

    def energy_at(self, positions, z):
        """Added: the energy of molecules (N, A, 3)."""
        n, atoms = z.shape
        batch = torch.arange(n).repeat_interleave(atoms)
        return self(z.flatten(), positions.flatten(0, 1), batch)[0]


def torchmd_batch(pos, z, y):
    batch = torch.arange(len(y)).repeat_interleave(ATOMS)
    return Data(z.flatten(), pos.flatten(0, 1), batch, y)


def atoms_of_molecules(name):
    """Select a tensor with a row for each atom, as one with a row for each molecule."""

    def select(batch):
        rows = batch[name] if isinstance(batch, dict) else getattr(batch, name)
        return rows.unflatten(0, (-1, ATOMS))

    return select


def energy_map(positions, kinds):
    inputs, context = atoms_of_molecules(positions), atoms_of_molecules(kinds)
    return {"energy": {"module": "energy_at", "input": inputs, "context": context}}


PROJECTS = [
    Project(
        "chemprop-like graph network",
        MPNN,
        chemprop_rows,
        {"predictor": {"module": "predictor", "input": FINGERPRINT}},
        (HIDDEN + DESCRIPTORS, 2),
        "chemprop 2.3.1, data/collate.py (BatchMolGraph, TrainingBatch), models/model.py (MPNN), "
        "nn/message_passing/base.py (BondMessagePassing), nn/transforms.py (ScaleTransform)",
    ),
    Project(
        "SchNetPack-like potential",
        AtomisticTask,
        lambda: molecule_batches(schnetpack_batch),
        energy_map("_positions", "_atomic_numbers"),
        (3 * ATOMS, 1),
        "schnetpack 2.1.1, task.py (AtomisticTask), model/base.py (NeuralNetworkPotential), "
        "atomistic/response.py (Forces), data/loader.py (_atoms_collate_fn)",
        options={"inference_mode": False},
    ),
    Project(
        "TorchMD-Net-like potential",
        TorchMD,
        lambda: molecule_batches(torchmd_batch),
        energy_map("pos", "z"),
        (3 * ATOMS, 1),
        "torchmd-net 2.4.10, module.py (LNNP), models/model.py (TorchMD_Net.forward)",
        options={"inference_mode": False},
    ),
    Project(
        "Hamiltonian network",
        Hamiltonian,
        lambda: normal_rows([4], [4]),
        None,
        (4, 4),
        "greydanus/hamiltonian-nn, hnn.py (HNN.time_derivative)",
        options={"inference_mode": False},
    ),
]
