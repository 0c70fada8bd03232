"""Graph networks after PyTorch Geometric: a batch is one graph of all nodes."""

import torch
from torch import Tensor, nn

from tests.projects import Fitted
from tests.third_party.project import ROWS, Numbers, Project, batches

FEATURES, HIDDEN = 3, 8


class Batch:
    """It keeps its tensors out of sight, in a store."""

    def __init__(self, **tensors):
        self.__dict__["_store"] = tensors

    def __getattr__(self, key):
        try:
            return self.__dict__["_store"][key]
        except KeyError:
            raise AttributeError(key) from None

    def __getitem__(self, key):
        return self._store[key]

    def to(self, device, non_blocking=False):
        return Batch(**{key: tensor.to(device) for key, tensor in self._store.items()})


class GCNConv(nn.Module):
    def __init__(self, n, m):
        super().__init__()
        self.lin = nn.Linear(n, m)

    def forward(self, x, edge_index):
        source, target = edge_index
        return self.lin(x).index_add(0, target, self.lin(x)[source])


def global_add_pool(x, batch) -> Tensor:
    return torch.zeros(int(batch[-1]) + 1, x.shape[1], dtype=x.dtype).index_add(0, batch, x)


class GCN(Fitted):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = GCNConv(FEATURES, HIDDEN), GCNConv(HIDDEN, HIDDEN)
        self.lin = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 2))

    def embed(self, x, edge_index, batch):
        x = self.conv2(self.conv1(x, edge_index).tanh(), edge_index)
        return global_add_pool(x, batch)

    def forward(self, x, edge_index, batch):
        return self.lin(self.embed(x, edge_index, batch))

    def step(self, batch):
        out = self(batch.x, batch.edge_index, batch.batch)
        return nn.functional.mse_loss(out, batch.y)


def graphs():
    """Make rings of three to five nodes."""
    numbers = Numbers()
    rows = [(numbers.normal(3 + i % 3, FEATURES), numbers.normal(2)) for i in range(ROWS)]

    def collate(rows):
        edges, groups, first = [], [], 0
        for number, (x, _) in enumerate(rows):
            nodes = torch.arange(len(x))
            edges.append(torch.stack([nodes, nodes.roll(1)]) + first)
            groups.append(torch.full((len(x),), number))
            first += len(x)
        x, y = zip(*rows, strict=True)
        return Batch(
            x=torch.cat(x),
            y=torch.stack(y),
            edge_index=torch.cat(edges, 1),
            batch=torch.cat(groups),
        )

    return batches(rows, collate)


PROJECTS = [
    Project(
        "PyG-like GCN",
        GCN,
        graphs,
        {
            # A row for each graph, and a row for each node.
            "head": {
                "module": "lin",
                "input": {
                    "module": "embed",
                    "input": "x",
                    "context": [["edge_index"], ["batch"]],
                },
            },
            "nodes": {
                "module": "conv2.lin",
                "input": {"module": "conv1", "input": "x", "context": [["edge_index"]]},
            },
        },
        (HIDDEN, 2),
        "torch_geometric 2.8.1, data/data.py (Data.__getattr__), nn/conv/gcn_conv.py (GCNConv), its "
        "introduction (GCN)",
    )
]
