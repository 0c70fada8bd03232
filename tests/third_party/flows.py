"""Normalising flows of zuko, the real ones."""

import zuko

from tests.projects import Fitted
from tests.third_party.project import Project, normal_rows, perceptron


class ConditionalFlow(Fitted):
    def __init__(self):
        super().__init__()
        self.flow = zuko.flows.NSF(3, 2, transforms=2, hidden_features=(16,), bins=4)

    def forward(self, c):
        return self.flow(c)

    def latent(self, x, c):
        return self.flow(c).transform(x)

    def step(self, batch):
        x, c = batch
        return -self(c).log_prob(x).mean()


class Flow(Fitted):
    def __init__(self):
        super().__init__()
        self.flow = zuko.flows.MAF(3, transforms=2, hidden_features=(16,))

    def forward(self, x):
        return self.flow().log_prob(x)

    def latent(self, x):
        return self.flow().transform(x)

    def generate(self, z):
        return self.flow().transform.inv(z)

    def step(self, batch):
        return -self(batch[0]).mean()


class Posterior(Fitted):
    """Simulation-based inference: parameters given an observation that a network embeds."""

    def __init__(self):
        super().__init__()
        self.embedding = perceptron(6, 8, 4)
        self.flow = zuko.flows.MAF(3, 4, transforms=2, hidden_features=(16,))

    def forward(self, theta, x):
        return self.flow(self.embedding(x)).log_prob(theta)

    def step(self, batch):
        return -self(*batch).mean()


PROJECTS = [
    Project(
        "zuko conditional flow",
        ConditionalFlow,
        lambda: normal_rows([3], [2]),
        {"latent": {"module": "latent", "input": 0, "context": 1}},
        (3, 3),
        "zuko 1.6.0, its README: flow(c) is a distribution, flow(c).transform takes x to z",
    ),
    Project(
        "zuko flow",
        Flow,
        lambda: normal_rows([3], [1]),
        {"latent": {"module": "latent"}, "generate": {"module": "generate", "input": 0}},
        (3, 3),
        "zuko 1.6.0, its tutorial: -flow().log_prob(x).mean()",
        watched=True,
    ),
    Project(
        "zuko posterior",
        Posterior,
        lambda: normal_rows([3], [6]),
        {"embedding": {"module": "embedding", "input": 1}},
        (6, 4),
        "lampe 0.9, inference/npe.py (NPE.forward(theta, x)), on zuko",
    ),
]
