import polars
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_invert import ForwardInverseModule, ResidualMLP
from lightning_invert.callbacks import PredictionWriter
from tests.projects import Foreign, Smooth, loader, quiet_trainer


def predict(folder, module, data, file="predictions.csv"):
    writer = PredictionWriter(file)
    return writer, quiet_trainer(folder, callbacks=[writer]).predict(module, data)


def has_six_digits_of(written, numbers):
    return torch.allclose(torch.tensor(written.to_numpy()), numbers.double(), rtol=5.1e-6, atol=0)


def test_rows_are_what_predict_returns_under_the_variables_names(tmp_path, caplog):
    module = ForwardInverseModule(ResidualMLP(3, 2), ResidualMLP(2, 3))
    writer, found = predict(tmp_path, module, Smooth(eval_batch_size=64))
    table = polars.read_csv(writer.written)
    assert len(table) == 200
    for name, key, index in (
        ("given/heat [K]", "x", 1),
        ("predicted/rate [t/d]", "y_hat", 0),
        ("inverse/load", "x_hat", 2),
        ("inverse/gas [K]", "y_round_trip", 1),
    ):
        expected = torch.cat([batch[key] for batch in found])[:, index]
        assert has_six_digits_of(table[name], expected)
    assert f"{writer.written} (200 rows)" in caplog.text


def test_a_bare_tensor_is_written_by_position(tmp_path):
    writer, _ = predict(tmp_path, Foreign(), loader())
    assert polars.read_csv(writer.written).columns == [f"prediction/{i}" for i in range(3)]


def test_a_number_for_each_row_has_the_name_it_was_given(tmp_path):
    class Judged(Foreign):
        def predict_step(self, batch, batch_idx):
            y = self(batch[0])
            return {"y": y, "trust": y.norm(dim=1)}

    writer, found = predict(tmp_path, Judged(), loader())
    table = polars.read_csv(writer.written)
    assert table.columns == ["y/0", "y/1", "y/2", "trust"]
    assert has_six_digits_of(table["trust"], torch.cat([batch["trust"] for batch in found]))


@pytest.mark.slow
def test_proposals_are_written_under_the_variables_names(tmp_path):
    module = ForwardInverseModule(ResidualMLP(3, 2, width=8), ResidualMLP(2, 3, width=8))
    quiet_trainer(tmp_path).fit(module, datamodule=Smooth())
    writer, found = predict(tmp_path, module.eval(), Smooth(eval_batch_size=64))
    table = polars.read_csv(writer.written)
    names = [
        "solved/load",
        "solved/gas [K]",
        "solved/rate_band_low [t/d]",
        "solved/rate_band_high [t/d]",
        "trust",
        "residual",
    ]
    assert set(names) <= set(table.columns)
    expected = torch.cat([batch["x_solved"] for batch in found])
    columns = table.select("solved/wind [m3/h]", "solved/heat [K]", "solved/load")
    assert has_six_digits_of(columns, expected)


def test_a_setting_and_an_outcome_of_one_name_keep_a_column_each(tmp_path):
    module = ForwardInverseModule(nn.Linear(1, 1), nn.Linear(1, 1))
    module.pair.name_columns(["flow"], ["flow"])
    data = DataLoader(TensorDataset(torch.zeros(4, 1), torch.ones(4, 1)))
    table = polars.read_csv(predict(tmp_path, module, data)[0].written)
    assert table.select("given/flow", "given/flow (y)").row(0) == (0, 1)
    assert {"inverse/flow", "inverse/flow (y_round_trip)"} <= set(table.columns)


def test_an_existing_file_is_never_replaced(tmp_path):
    names = [predict(tmp_path, Foreign(), loader())[0].written.name for _ in range(3)]
    assert names == ["predictions.csv", "predictions-1.csv", "predictions-2.csv"]


def test_an_absolute_path_is_taken_as_it_is(tmp_path):
    file = tmp_path / "elsewhere" / "p.csv"
    assert predict(tmp_path / "logs", Foreign(), loader(), file)[0].written == file


def test_what_cannot_be_written_is_named(tmp_path):
    class Text(Foreign):
        def predict_step(self, batch, batch_idx):
            return "text"

    with pytest.raises(TypeError, match=r"`predict_step` .* but got str"):
        predict(tmp_path, Text(), loader())
