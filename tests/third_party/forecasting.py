"""After pytorch-forecasting, darts and neuralforecast; and plain recurrent networks."""

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import rnn
from torch.utils.data import default_collate

from tests.third_party.project import ROWS, Fitted, Numbers, Project, batches, tuples

PAST, FUTURE, REALS, CATEGORIES, QUANTILES = 6, 3, 2, 4, 3


class OutputMixIn:
    def __getitem__(self, k):
        return getattr(self, k) if isinstance(k, str) else super().__getitem__(k)


class PytorchForecasting(Fitted):
    def to_network_output(self, **results):
        if not hasattr(self, "_output_class"):
            # Made in the first forward, and kept.
            self._output_class = type("Output", (OutputMixIn, namedtuple("output", results)), {})
        return self._output_class(**results)

    def transform_output(self, prediction, target_scale):
        return prediction * target_scale[:, 1, None, None] + target_scale[:, 0, None, None]

    def step(self, batch):
        x, (target, _weight) = batch
        error = target.unsqueeze(-1) - self(x)["prediction"]
        quantiles = torch.linspace(0.1, 0.9, error.shape[-1])
        return torch.maximum(quantiles * error, (quantiles - 1) * error).mean()


class TemporalFusion(PytorchForecasting):
    def __init__(self, hidden=8):
        super().__init__()
        self.input_embeddings = nn.Embedding(CATEGORIES, hidden)
        self.variable_selection = nn.Linear(REALS, hidden)
        self.lstm_encoder = nn.LSTM(hidden, hidden, batch_first=True)
        self.lstm_decoder = nn.LSTM(hidden, hidden, batch_first=True)
        self.query, self.key = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.post_attn_norm = nn.LayerNorm(hidden)
        self.output_layer = nn.Linear(hidden, QUANTILES)

    def run(self, lstm, x, lengths, state):
        packed = rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        output, state = lstm(packed, state)
        return rnn.pad_packed_sequence(output, batch_first=True)[0], state

    def forward(self, x):
        encoder_lengths, decoder_lengths = x["encoder_lengths"], x["decoder_lengths"]
        x_cat = torch.cat([x["encoder_cat"], x["decoder_cat"]], dim=1)
        x_cont = torch.cat([x["encoder_cont"], x["decoder_cont"]], dim=1)
        longest = int(encoder_lengths.max())
        static = self.input_embeddings(x_cat[:, 0, 0])
        inputs = self.variable_selection(x_cont) + static.unsqueeze(1)
        state = (static.expand(1, -1, -1), static.expand(1, -1, -1))
        encoded, state = self.run(self.lstm_encoder, inputs[:, :longest], encoder_lengths, state)
        decoded, _ = self.run(self.lstm_decoder, inputs[:, longest:], decoder_lengths, state)
        both = torch.cat([encoded, decoded], dim=1)
        scores = self.query(decoded) @ self.key(both).transpose(1, 2)
        times = torch.arange(both.shape[1])
        later = times[None, :] > times[longest:, None]
        attention = scores.masked_fill(later, -1e9).softmax(dim=-1)
        output = self.output_layer(self.post_attn_norm(attention @ both + decoded))
        return self.to_network_output(
            prediction=self.transform_output(output, target_scale=x["target_scale"]),
            encoder_attention=attention[..., :longest],
            decoder_attention=attention[..., longest:],
            decoder_lengths=decoder_lengths,
            encoder_lengths=encoder_lengths,
        )

    def of_history(self, encoder_cont, decoder_cont, *rest):
        """Added: ``forward`` of tensors, not of a dict."""
        return self(dict(zip(HISTORY, (encoder_cont, decoder_cont, *rest), strict=True)))


HISTORY = (
    "encoder_cont",
    "decoder_cont",
    "encoder_cat",
    "decoder_cat",
    "encoder_lengths",
    "decoder_lengths",
    "target_scale",
)


class NBeatsBlock(nn.Module):
    def __init__(self, units=16):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(PAST, units), nn.ReLU(), nn.Linear(units, units))
        self.theta_b = nn.Linear(units, PAST, bias=False)
        self.theta_f = nn.Linear(units, FUTURE, bias=False)

    def forward(self, x):
        x = self.fc(x)
        return self.theta_b(x), self.theta_f(x)


class NBeats(PytorchForecasting):
    def __init__(self):
        super().__init__()
        self.net_blocks = nn.ModuleList([NBeatsBlock(), NBeatsBlock()])

    def forward(self, x):
        backcast = x["encoder_cont"][..., 0]
        forecast = torch.zeros((backcast.size(0), FUTURE), dtype=torch.float32, device=self.device)
        for block in self.net_blocks:
            backcast_block, forecast_block = block(backcast)
            backcast = backcast - backcast_block
            forecast = forecast + forecast_block
        prediction = self.transform_output(forecast.unsqueeze(-1), target_scale=x["target_scale"])
        return self.to_network_output(prediction=prediction, backcast=backcast)


def pytorch_forecasting_rows():
    numbers = Numbers()
    x = {
        "encoder_cat": numbers.below(CATEGORIES, ROWS, PAST, 1),
        "encoder_cont": numbers.normal(ROWS, PAST, REALS),
        "encoder_target": numbers.normal(ROWS, PAST),
        "encoder_lengths": torch.full((ROWS,), PAST),
        "decoder_cat": numbers.below(CATEGORIES, ROWS, FUTURE, 1),
        "decoder_cont": numbers.normal(ROWS, FUTURE, REALS),
        "decoder_target": numbers.normal(ROWS, FUTURE),
        "decoder_lengths": torch.full((ROWS,), FUTURE),
        "decoder_time_idx": torch.arange(PAST, PAST + FUTURE).expand(ROWS, -1),
        "groups": numbers.below(CATEGORIES, ROWS, 1),
        "target_scale": numbers.normal(ROWS, 2).exp(),
    }
    rows = [{key: column[i] for key, column in x.items()} for i in range(ROWS)]

    def collate(some):
        x = default_collate(some)
        return x, (x["decoder_target"], None)

    return batches(rows, collate)


class Windows(Fitted):
    """A dict of series; the model sees windows of them, of which there are more than series."""

    def __init__(self):
        super().__init__()
        self.input_size, self.h = PAST, FUTURE
        self.mlp = nn.ModuleList([nn.Linear(2 * PAST, 16)])
        self.out = nn.Linear(16, FUTURE)

    def forward(self, windows_batch):
        insample_y = windows_batch["insample_y"].squeeze(-1)
        hist_exog = windows_batch["hist_exog"]
        y_pred = torch.cat((insample_y, hist_exog.reshape(len(insample_y), -1)), dim=1)
        for layer in self.mlp:
            y_pred = torch.relu(layer(y_pred))
        return self.out(y_pred).reshape(len(insample_y), self.h, -1)

    def windows(self, batch):
        windows = batch["temporal"].unfold(-1, self.input_size + self.h, 1)
        windows = windows.permute(0, 2, 3, 1).flatten(0, 1).unsqueeze(-1)
        past, future = windows[:, : self.input_size], windows[:, self.input_size :]
        mask, exog = (batch["temporal_cols"].index(name) for name in ("available_mask", "price"))
        return {
            "insample_y": past[:, :, batch["y_idx"]],
            "insample_mask": past[:, :, mask],
            "futr_exog": None,
            "hist_exog": past[:, :, exog],
            "stat_exog": None,
        }, future[:, :, batch["y_idx"]]

    def step(self, batch):
        windows, outsample_y = self.windows(batch)
        if self.training:
            chosen = torch.randperm(len(outsample_y))[:32]
            windows = {k: v if v is None else v[chosen] for k, v in windows.items()}
            outsample_y = outsample_y[chosen]
        return (self(windows) - outsample_y).abs().mean()

    def of_past(self, insample_y, hist_exog):
        """Added: ``forward`` of tensors, not of a dict."""
        return self({"insample_y": insample_y, "hist_exog": hist_exog})


def insample_y(batch, model):
    return model.windows(batch)[0]["insample_y"]


def hist_exog(batch, model):
    return model.windows(batch)[0]["hist_exog"]


def neuralforecast_rows():
    temporal_cols = ["y", "price", "available_mask"]
    numbers = Numbers()
    rows = [torch.cat([numbers.normal(2, 12), torch.ones(1, 12)]) for _ in range(ROWS)]

    def collate(some):
        return {"temporal": torch.stack(some), "temporal_cols": temporal_cols, "y_idx": 0}

    return batches(rows, collate)


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


def darts_tuples():
    numbers = Numbers()
    series = numbers.normal(ROWS, PAST + FUTURE, 1)

    def collate(some):
        past, future = torch.stack(some).split([PAST, FUTURE], dim=1)
        return (past, None, None, None, None, None, future)

    return batches(list(series), collate)


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

    def of_past(self, past_target, past_covariates):
        """Added: ``forward`` of tensors, not of a dataclass."""
        return self(PLModuleInput(past_target, past_covariates))


def darts_dataclasses():
    rows = list(Numbers().normal(ROWS, PAST + FUTURE, 2))

    def collate(some):
        past, future = torch.stack(some).split([PAST, FUTURE], dim=1)
        return TorchTrainingBatch(past[..., :1], past[..., 1:], future_target=future[..., :1])

    return batches(rows, collate)


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

    def step(self, batch):
        x, y = batch
        return nn.functional.mse_loss(self(x), y)


def sequences():
    numbers = Numbers()
    return tuples(numbers.normal(ROWS, PAST, REALS), numbers.normal(ROWS, 1))


PYTORCH_FORECASTING = (
    "pytorch-forecasting 1.8.0, data/timeseries/_timeseries.py (TimeSeriesDataSet._collate_fn), "
    "utils/_utils.py (TupleOutputMixIn), models/"
)

PROJECTS = [
    Project(
        "pytorch-forecasting-like TFT",
        TemporalFusion,
        pytorch_forecasting_rows,
        {
            "forecast": {
                "module": "of_history",
                "input": [[0, key] for key in HISTORY[:2]],
                "context": [[0, key] for key in HISTORY[2:]],
                "output": "prediction",
            },
            # Its forward as it is: the input is a part of the dict that it takes.
            "history": {
                "module": "",
                "input": [0, "encoder_cont"],
                "within": 0,
                "output": "prediction",
            },
        },
        ((PAST + FUTURE) * REALS, FUTURE * QUANTILES),
        "message",
        PYTORCH_FORECASTING + "temporal_fusion_transformer/_tft.py (TemporalFusionTransformer)",
    ),
    Project(
        "pytorch-forecasting-like N-BEATS",
        NBeats,
        pytorch_forecasting_rows,
        {
            "block": {
                "module": "net_blocks.0",
                "input": lambda batch: batch[0]["encoder_cont"][..., 0],
                "output": 1,
            }
        },
        (PAST, FUTURE),
        "message",
        PYTORCH_FORECASTING + "nbeats/_nbeats_adapter.py (NBeatsAdapter)",
    ),
    Project(
        "neuralforecast-like MLP",
        Windows,
        neuralforecast_rows,
        {"forecast": {"module": "of_past", "input": insample_y, "context": hist_exog}},
        (PAST, FUTURE),
        "message",
        "neuralforecast 3.3.0, tsdataset.py (TimeSeriesLoader._collate_fn), "
        "common/_base_model.py (BaseModel.training_step), models/mlp.py (MLP)",
    ),
    Project(
        "darts-like RNN, batches of tuples",
        BlockRNN,
        darts_tuples,
        {"forecast": {"module": "of_past", "input": 0}},
        (PAST, FUTURE),
        "message",
        "darts 0.35.0, models/forecasting/pl_forecasting_module.py (io_processor, training_step), "
        "block_rnn_model.py (_BlockRNNModule), components/layer_norm_variants.py (RINorm)",
    ),
    Project(
        "darts-like RNN, batches of dataclasses",
        DartsRNN,
        darts_dataclasses,
        {
            "forecast": {
                "module": "of_past",
                "input": [["past_target"], ["past_covariates"]],
                "output": "prediction",
            }
        },
        (2 * PAST, FUTURE),
        "message",
        "darts 0.48.1, utils/data/torch_datasets/utils.py (TorchTrainingBatch, PLModuleInput), "
        "models/forecasting/rnn_model.py (_RNNModule)",
    ),
    Project(
        "LSTM regressor",
        Recurrent,
        sequences,
        None,
        (PAST * REALS, 1),
        "watched",
        "the many-to-one LSTM of tutorials: (x of shape (B, T, F), y)",
    ),
    Project(
        "LSTM that keeps its state",
        lambda: Recurrent(keeps_state=True),
        sequences,
        None,
        (PAST * REALS, 1),
        "watched",
        "neuralforecast 3.3.0, models/lstm.py (LSTM.forward: maintain_state, rnn_state)",
    ),
]
