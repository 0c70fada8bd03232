"""PyTorch Geometric: a graph network with a perceptron of pooled nodes."""

import torch
from torch import nn

from tests.real._training import Fitted, fitted

REQUIREMENTS = ("torch_geometric==2.8.1",)
TRAINED = "GCN, forward(x, edge_index, batch)"
POOLED = {"module": "embed", "input": "x", "context": [["edge_index"], ["batch"]]}
MAPS = {"head": {"module": "head", "input": POOLED}}


def fit(callbacks, options):
    from torch_geometric.data import Data
    from torch_geometric.loader import DataLoader
    from torch_geometric.nn import GCNConv, global_mean_pool

    class Graphs(Fitted):
        def __init__(self):
            super().__init__()
            self.conv = GCNConv(3, 8)
            self.head = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))

        def embed(self, x, edge_index, batch):
            return global_mean_pool(self.conv(x, edge_index).tanh(), batch)

        def forward(self, x, edge_index, batch):
            return self.head(self.embed(x, edge_index, batch))

        def step(self, graph):
            return nn.functional.mse_loss(self(graph.x, graph.edge_index, graph.batch), graph.y)

    edges = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
    graphs = [Data(torch.randn(4, 3), edges, y=torch.randn(1, 2)) for _ in range(40)]
    return fitted(Graphs(), DataLoader(graphs, batch_size=8), callbacks, options)


def points(batch, module):
    return module.embed(batch.x, batch.edge_index, batch.batch)


def outputs(module, batch, x):
    return module.head(x)
