"""After pytorch-forecasting and neuralforecast: dicts of past and future, and their windows."""

from collections import namedtuple

import torch
from torch import nn
from torch.nn.utils import rnn
from torch.utils.data import default_collate

from tests.projects import Fitted
from tests.third_party.project import ROWS, Numbers, Project, batches, perceptron

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
        self.post_attn_norm = nn.LayerNorm(hidden)
        self.output_layer = nn.Linear(hidden, QUANTILES)

    def run(self, lstm, x, lengths, state):
        packed = rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        output, state = lstm(packed, state)
        return rnn.pad_packed_sequence(output, batch_first=True)[0], state

    def forward(self, x):
        encoder_lengths, decoder_lengths = x["encoder_lengths"], x["decoder_lengths"]
        x_cont = torch.cat([x["encoder_cont"], x["decoder_cont"]], dim=1)
        longest = int(encoder_lengths.max())
        static = self.input_embeddings(x["encoder_cat"][:, 0, 0])
        inputs = self.variable_selection(x_cont) + static.unsqueeze(1)
        state = (static.expand(1, -1, -1), static.expand(1, -1, -1))
        encoded, state = self.run(self.lstm_encoder, inputs[:, :longest], encoder_lengths, state)
        decoded, _ = self.run(self.lstm_decoder, inputs[:, longest:], decoder_lengths, state)
        both = torch.cat([encoded, decoded], dim=1)
        attention = (decoded @ both.transpose(1, 2)).softmax(dim=-1)
        output = self.output_layer(self.post_attn_norm(attention @ both + decoded))
        return self.to_network_output(
            prediction=self.transform_output(output, target_scale=x["target_scale"]),
            encoder_attention=attention[..., :longest],
            decoder_attention=attention[..., longest:],
            decoder_lengths=decoder_lengths,
            encoder_lengths=encoder_lengths,
        )


class NBeatsBlock(nn.Module):
    def __init__(self, units=16):
        super().__init__()
        self.fc = perceptron(PAST, units, units, nn.ReLU)
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

    def collate(rows):
        x = default_collate(rows)
        return x, (x["decoder_target"], None)

    return batches([{key: column[i] for key, column in x.items()} for i in range(ROWS)], collate)


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


def of_windows(name):
    return {"module": "windows", "input": [], "output": [0, name]}


def neuralforecast_rows():
    numbers = Numbers()
    series = torch.cat([numbers.normal(ROWS, 2, 12), torch.ones(ROWS, 1, 12)], dim=1)
    columns = {"temporal_cols": ["y", "price", "available_mask"], "y_idx": 0}
    return batches(list(series), lambda rows: {"temporal": torch.stack(rows), **columns})


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
                "module": "",
                "input": [[0, "encoder_cont"], [0, "decoder_cont"]],
                "within": 0,
                "output": "prediction",
            },
            "history": {
                "module": "",
                "input": [0, "encoder_cont"],
                "within": 0,
                "output": "prediction",
            },
        },
        ((PAST + FUTURE) * REALS, FUTURE * QUANTILES),
        PYTORCH_FORECASTING + "temporal_fusion_transformer/_tft.py (TemporalFusionTransformer)",
    ),
    Project(
        "pytorch-forecasting-like N-BEATS",
        NBeats,
        pytorch_forecasting_rows,
        {
            "forecast": {
                "module": "",
                "input": [0, "encoder_cont"],
                "within": 0,
                "output": "prediction",
            }
        },
        (PAST * REALS, FUTURE),
        PYTORCH_FORECASTING + "nbeats/_nbeats_adapter.py (NBeatsAdapter)",
    ),
    Project(
        "neuralforecast-like MLP",
        Windows,
        neuralforecast_rows,
        {
            "forecast": {
                "module": "of_past",
                "input": of_windows("insample_y"),
                "context": [of_windows("hist_exog")],
            }
        },
        (PAST, FUTURE),
        "neuralforecast 3.3.0, tsdataset.py (TimeSeriesLoader._collate_fn), "
        "common/_base_model.py (BaseModel.training_step), models/mlp.py (MLP)",
    ),
]
