"""Whatever a module holds is what it would have been without a look."""

import copy

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torchmetrics import MeanMetric, MetricCollection, SumMetric

from lightning_invert import InvertibilityCallback
from tests.callbacks.fits import Keeping, fit_unwatched_and_watched, values_of
from tests.projects import fit_project, loader


class TeacherInAList(Keeping):
    """An average of the weights that a forward updates, hidden from the optimizer."""

    def prepare(self):
        self.teacher = [copy.deepcopy(self.encoder)]

    def forward(self, x):
        with torch.no_grad():
            for mean, weight in zip(
                self.teacher[0].parameters(), self.encoder.parameters(), strict=True
            ):
                mean.mul_(0.9).add_(weight, alpha=0.1)
        return super().forward(x)

    def value(self):
        return sum(p.sum() for p in self.teacher[0].parameters())


class Averaged(Keeping):
    def prepare(self):
        self.average = AveragedModel(self.encoder)

    def forward(self, x):
        self.average.update_parameters(self.encoder)
        return super().forward(x)

    def value(self):
        return self.average.n_averaged + sum(p.sum() for p in self.average.parameters())


class OptimizerOfItsOwn(Keeping):
    def prepare(self):
        self.shift = [nn.Parameter(torch.zeros(5))]
        self.inner = torch.optim.SGD(self.shift, lr=0.1, momentum=0.9)

    def forward(self, x):
        with torch.enable_grad():
            loss = (x.detach() - self.shift[0]).square().mean()
            (self.shift[0].grad,) = torch.autograd.grad(loss, self.shift[0])
        self.inner.step()
        return super().forward(x - self.shift[0].detach())

    def value(self):
        return self.shift[0].sum()


class GradientsOfItsOwn(Keeping):
    """Accumulates gradients by ``backward`` in its forward, as class activation maps do."""

    def prepare(self):
        self.probe = nn.Linear(5, 1)

    def forward(self, x):
        with torch.enable_grad():
            self.probe(x.detach()).sum().backward()
        return super().forward(x)

    def value(self):
        return self.probe.weight.grad.norm()


class FlagsOfWeights(Keeping):
    def prepare(self):
        self.gate = nn.Parameter(torch.ones(5))

    def forward(self, x):
        self.gate.requires_grad_(not self.gate.requires_grad)
        return super().forward(x * self.gate)

    def value(self):
        return self.gate.requires_grad


class StorageOfWeights(Keeping):
    """Replaces a weight's numbers: whoever shares them sees the same afterwards."""

    def prepare(self):
        self.scale = nn.Parameter(torch.ones(5), requires_grad=False)
        self.shared = self.scale.data

    def forward(self, x):
        self.scale.data = self.scale.data * 0.9
        return super().forward(x * self.scale)

    def value(self):
        return self.scale.sum() + (self.scale.data_ptr() == self.shared.data_ptr())


class HooksOnTheWay(Keeping):
    def forward(self, x):
        self.encoder[0].register_forward_hook(lambda *_: None)
        self.register_forward_pre_hook(lambda *_: None)
        return super().forward(x)

    def prepare(self):
        pass

    def value(self):
        return len(self.encoder[0]._forward_hooks) + len(self._forward_pre_hooks)


class GradientsOfActivations(Keeping):
    def prepare(self):
        self.norms = []

    def forward(self, x):
        h = self.encoder[:3](x)
        if h.requires_grad:
            h.register_hook(lambda gradient: self.norms.append(float(gradient.norm())))
        return self.encoder[3:](h)

    def value(self):
        return sum(self.norms)


class Metrics(Keeping):
    def prepare(self):
        self.metrics = MetricCollection({"mean": MeanMetric(), "sum": SumMetric()})
        self.hidden = {"mean": MeanMetric()}

    def forward(self, x):
        self.metrics.update(x.detach())
        self.hidden["mean"].update(x.detach())
        return super().forward(x)

    def value(self):
        return sum(self.metrics.compute().values()) + self.hidden["mean"].compute()


class Child(LightningModule):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x


class Children(Keeping):
    def prepare(self):
        self.child, self.children_in = Child(), {"a": [Child()]}

    def forward(self, x):
        return super().forward(self.children_in["a"][0](self.child(x)))

    def value(self):
        return self.child.calls + self.children_in["a"][0].calls


class Replaced(Keeping):
    def prepare(self):
        self.layer, self.layers = nn.Identity(), 0

    def forward(self, x):
        self.layers += isinstance(self.layer, nn.Identity)
        self.layer = nn.Linear(5, 5)
        self.register_buffer("seen", x.detach())
        self.made = nn.Parameter(torch.zeros(3))
        self.encoder.eval()
        return super().forward(x)

    def value(self):
        return self.layers + self.seen.sum()


PROJECTS = [project for project in Keeping.__subclasses__() if project.__module__ == __name__]


@pytest.mark.filterwarnings("ignore:.* gives another output:UserWarning")
@pytest.mark.parametrize("project", PROJECTS)
def test_a_project_keeps_what_it_would_have_kept(project):
    assert values_of(project, watched=True) == values_of(project, watched=False)


@pytest.mark.parametrize("project", [TeacherInAList, Metrics, Children])
def test_a_project_logs_what_it_would_have_logged(tmp_path, project):
    # Named, so that it is tried, and that a failure is raised.
    watch = InvertibilityCallback({"forward": {"module": "", "input": 0}}, figures=False)
    fit_unwatched_and_watched(tmp_path, project, watch, max_epochs=2)
    assert len(watch.history["forward"]) == 2


class Collector(Callback):
    """A callback that collects features by hooks, as people write it."""

    def __init__(self):
        self.features, self.calls = [], 0

    def setup(self, trainer, pl_module, stage):
        pl_module.encoder[0].register_forward_hook(self.collect)

    def collect(self, module, args, output):
        self.calls += 1
        self.features.append(output)


def test_what_a_callback_collects_by_hooks_is_what_it_would_have_collected(tmp_path):
    ends = []
    for watch in ([], [InvertibilityCallback(figures=False)]):
        collector = Collector()
        fit_project(tmp_path, collector, *watch)
        ends.append((collector.calls, [len(rows) for rows in collector.features]))
    assert ends[0] == ends[1]


class Lazy(Keeping):
    def prepare(self):
        self.encoder = nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(3))
        self.decoder = nn.LazyLinear(5)  # which a validation does not need

    def training_step(self, batch, batch_idx):
        x, _ = batch
        return super().training_step(batch, batch_idx) + (self.decoder(self(x)) - x).square().mean()

    def value(self):
        return 0


@pytest.mark.parametrize("path", ["", "encoder"])
def test_lazy_layers_are_drawn_as_without_a_look(tmp_path, path):
    watch = InvertibilityCallback({"f": {"module": path, "input": 0}}, figures=False)
    fit_unwatched_and_watched(tmp_path, Lazy, watch, num_sanity_val_steps=0)
    assert len(watch.history["f"]) == 2


@pytest.mark.filterwarnings("ignore:.*InvertibilityCallback. map 'g' cannot be watched:UserWarning")
def test_a_part_whose_lazy_weights_are_not_made_yet_is_watched_as_soon_as_they_are(tmp_path):
    watch = InvertibilityCallback({"g": {"module": "decoder", "input": 1}}, figures=False)
    with pytest.warns(UserWarning, match="lazy weights that no forward has made yet"):
        fit_unwatched_and_watched(tmp_path, Lazy, watch, data=lambda: (loader(m=3), loader(m=3)))
    assert len(watch.history["g"]) == 2
