"""After darts, and recurrent networks of tutorials: batches of tuples, dataclasses, sequences."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tests.projects import Fitted
from tests.third_party.project import ROWS, Numbers, Project, batches, dicts, normal_rows

PAST, FUTURE, REALS = 6, 3, 2


class RINorm(nn.Module):
    def forward(self, x):
        self.mean = x.mean(dim=1, keepdim=True).detach()
        self.stdev = (x.var(dim=1, keepdim=True, unbiased=False) + 1e-5).sqrt().detach()
        return (x - self.mean) / self.stdev

    def inverse(self, x):
        return x * self.stdev.unsqueeze(-1) + self.mean.unsqueeze(-1)


class BlockRNN(Fitted):
    """Darts until 0.35: tuples with a None for what there is not."""

    def __init__(self):
        super().__init__()
        self.rin = RINorm()
        self.rnn = nn.LSTM(1, 8, batch_first=True)
        self.fc = nn.Linear(8, FUTURE)

    def forward(self, x_in):
        past = x_in[0].clone()
        past[:, :, :1] = self.rin(past[:, :, :1])
        return self.rin.inverse(self.produce((past, *x_in[1:])))

    def produce(self, x_in):
        x, _ = x_in
        _, hidden = self.rnn(x)
        return self.fc(hidden[0][-1]).view(x.size(0), FUTURE, 1, 1)

    def step(self, batch):
        past_target, past_covariates, _, _, static_covariates = batch[:-2]
        assert past_covariates is None
        output = self((past_target, static_covariates))
        return nn.functional.mse_loss(output.squeeze(dim=-1), batch[-1])

    def of_past(self, past_target):
        """Added: ``forward`` of a tensor, not of a tuple."""
        return self((past_target, None))


def darts_batches(columns, batch):
    """Batches of series, cut into past and future."""
    series = list(Numbers().normal(ROWS, PAST + FUTURE, columns))
    return batches(series, lambda rows: batch(*torch.stack(rows).split([PAST, FUTURE], dim=1)))


def darts_tuples():
    return darts_batches(1, lambda past, future: (past, None, None, None, None, None, future))


@dataclass(slots=True)
class PLModuleInput:
    past_target: Tensor
    past_covariates: Tensor | None = None
    future_covariates: Tensor | None = None
    state: Any = None
    stage: str = "predict"


@dataclass(slots=True)
class PLModuleOutput:
    prediction: Tensor
    state: Any = None


@dataclass(slots=True)
class TorchTrainingBatch:
    past_target: Tensor
    past_covariates: Tensor | None = None
    future_covariates: Tensor | None = None
    sample_weight: Tensor | None = None
    future_target: Tensor | None = None

    def to_module_input(self, stage="train"):
        return PLModuleInput(
            self.past_target, self.past_covariates, self.future_covariates, stage=stage
        )


class DartsRNN(Fitted):
    """Darts of today: dataclasses with slots."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(2, 8, batch_first=True)
        self.fc = nn.Linear(8, FUTURE)

    def forward(self, x_in):
        x = torch.cat([x_in.past_target, x_in.past_covariates], dim=2)
        _, state = self.rnn(x) if x_in.state is None else self.rnn(x, x_in.state)
        return PLModuleOutput(self.fc(state[-1]).view(len(x), FUTURE, 1, 1), state)

    def step(self, batch):
        output = self(batch.to_module_input(stage="train" if self.training else "validate"))
        return nn.functional.mse_loss(output.prediction.squeeze(dim=-1), batch.future_target)


def darts_dataclasses():
    def batch(past, future):
        return TorchTrainingBatch(past[..., :1], past[..., 1:], future_target=future[..., :1])

    return darts_batches(2, batch)


class Recurrent(Fitted):
    def __init__(self, keeps_state=False):
        super().__init__()
        self.lstm = nn.LSTM(REALS, 8, batch_first=True)
        self.head = nn.Linear(8, 1)
        self.keeps_state = keeps_state
        self.register_buffer("hidden", None)
        self.cell = None

    def forward(self, x):
        state = None
        if self.keeps_state and self.hidden is not None and self.hidden.shape[1] == len(x):
            state = (self.hidden, self.cell)
        out, (hidden, cell) = self.lstm(x, state)
        if self.keeps_state:
            self.hidden, self.cell = hidden.detach(), cell.detach()
        return self.head(out[:, -1])


class DeepARModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedder = nn.Embedding(4, 2)
        self.rnn = nn.LSTM(REALS + 3, 8, batch_first=True)
        self.param_proj = nn.Linear(8, 2)

    def unroll_lagged_rnn(self, feat_static_cat, feat_static_real, past_time_feat, past_target):
        static = torch.cat([self.embedder(feat_static_cat[:, 0]), feat_static_real], 1)
        scale = past_target.abs().mean(1, keepdim=True)
        static = static[:, None].expand(-1, PAST, -1)
        steps = torch.cat([(past_target / scale)[..., None], past_time_feat[:, :, 1:], static], 2)
        output, state = self.rnn(steps)
        return self.param_proj(output[:, -1]).chunk(2, dim=1), scale, output, static, state

    def forward(self, feat_static_cat, feat_static_real, past_time_feat, past_target, samples=1):
        known = feat_static_cat, feat_static_real, past_time_feat, past_target
        (loc, scale), *_ = self.unroll_lagged_rnn(*known)
        return loc + scale * torch.randn(len(loc), samples)


class DeepAR(Fitted):
    def __init__(self):
        super().__init__()
        self.model = DeepARModel()
        self.inputs = ["feat_static_cat", "feat_static_real", "past_time_feat", "past_target"]

    def forward(self, *args, **kwargs):
        return self.model.forward(*args, **kwargs)

    def step(self, batch):
        (loc, scale), *_ = self.model.unroll_lagged_rnn(
            **{name: batch[name] for name in self.inputs}
        )
        scale = nn.functional.softplus(scale)
        return -torch.distributions.Normal(loc, scale).log_prob(batch["future_target"]).mean()


def gluonts_rows():
    numbers = Numbers()
    return dicts(
        feat_static_cat=numbers.below(4, ROWS, 1),
        feat_static_real=numbers.normal(ROWS, 1),
        past_time_feat=numbers.normal(ROWS, PAST, REALS),
        past_target=numbers.normal(ROWS, PAST),
        future_target=numbers.normal(ROWS, 1),
    )


class ConvNet(nn.Module):
    """Pads what it is given, unless it is told not to."""

    receptive_field = 3

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.Tanh(), nn.Conv1d(4, 1, 1))

    def forward(self, x, pad_start=None):
        if pad_start is None or pad_start:
            x = torch.cat((torch.zeros(len(x), self.receptive_field - 1), x), dim=1)
        return self.net(x[:, None])[:, 0]


class LightningModule(Fitted):
    """So the package calls its own."""

    def __init__(self):
        super().__init__()
        self._net = ConvNet()

    @property
    def net(self):
        return self._net

    def forward(self, *args, **kwargs):
        return self.net(*args, **kwargs)

    def step(self, batch):
        *args, targets = batch
        return nn.functional.mse_loss(self(*args, pad_start=False), targets)


def sequences():
    return normal_rows([PAST, REALS], [1])


PROJECTS = [
    Project(
        "darts-like RNN, batches of tuples",
        BlockRNN,
        darts_tuples,
        {"forecast": {"module": "of_past", "input": 0}},
        (PAST, FUTURE),
        "darts 0.35.0, models/forecasting/pl_forecasting_module.py (io_processor, training_step), "
        "block_rnn_model.py (_BlockRNNModule), components/layer_norm_variants.py (RINorm)",
    ),
    Project(
        "darts-like RNN, batches of dataclasses",
        DartsRNN,
        darts_dataclasses,
        {
            "forecast": {
                "module": "",
                "input": [["past_target"], ["past_covariates"]],
                "within": "to_module_input()",
                "output": "prediction",
            }
        },
        (2 * PAST, FUTURE),
        "darts 0.48.1, utils/data/torch_datasets/utils.py (TorchTrainingBatch, PLModuleInput), "
        "models/forecasting/rnn_model.py (_RNNModule)",
    ),
    Project(
        "gluonts-like DeepAR",
        DeepAR,
        gluonts_rows,
        {
            "params": {
                "module": "model.unroll_lagged_rnn",
                "input": "past_target",
                "argument": 3,
                "context": [["feat_static_cat"], ["feat_static_real"], ["past_time_feat"]],
                "output": [0, 0],
            },
            "by names": {
                "module": "model.unroll_lagged_rnn",
                "argument": "past_target",
                "context": {
                    "feat_static_cat": "feat_static_cat",
                    "feat_static_real": "feat_static_real",
                    "past_time_feat": "past_time_feat",
                },
                "output": [0, 0],
            },
        },
        (PAST, 1),
        "gluonts 0.17.0, torch/model/deepar/module.py (DeepARModel.unroll_lagged_rnn), "
        "lightning_module.py (DeepARLightningModule)",
    ),
    Project(
        "neural-amp-modeler-like ConvNet",
        LightningModule,
        lambda: normal_rows([8], [6]),
        {"amplify": {"module": "", "input": 0, "constants": {"pad_start": False}}},
        (8, 6),
        "neural-amp-modeler 0.13.0, nam/train/lightning_module.py (LightningModule), "
        "nam/models/base.py (BaseNet.forward)",
        watched=True,
    ),
    Project(
        "LSTM regressor",
        Recurrent,
        sequences,
        None,
        (PAST * REALS, 1),
        "the many-to-one LSTM of tutorials: (x of shape (B, T, F), y)",
    ),
    Project(
        "LSTM that keeps its state",
        lambda: Recurrent(keeps_state=True),
        sequences,
        None,
        (PAST * REALS, 1),
        "neuralforecast 3.3.0, models/lstm.py (LSTM.forward: maintain_state, rnn_state)",
    ),
]
