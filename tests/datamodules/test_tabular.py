import numpy as np
import pytest
import torch

from lightning_invert.datamodules import TabularDataModule

TABLE = {
    "speed": [1.0, 2.5, -3.0, 4.0, 5.0, 6.0],
    "load": [10, 20, 30, 40, 50, 61],
    "heat": [0.1, 0.2, 0.3, 0.4, 0.5, 1e-3],
    "note": ["a", "b", "c", "d", "e", "f"],
}


def module(path, **options):
    return TabularDataModule(path, **{"inputs": ["load", "speed"], "outputs": ["heat"], **options})


def write(folder, text):
    path = folder / "table.csv"
    path.write_text(text)
    return path


def text_of(separator=","):
    rows = [TABLE, *zip(*TABLE.values(), strict=True)]
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)


def test_columns_are_read_by_name(tmp_path):
    x, y = module(write(tmp_path, text_of())).load()
    assert x.dtype == y.dtype == torch.float64
    np.testing.assert_array_equal(x, np.column_stack([TABLE["load"], TABLE["speed"]]))
    np.testing.assert_array_equal(y[:, 0], TABLE["heat"])


def test_names_and_units_are_kept(tmp_path):
    data = module(write(tmp_path, text_of()), units={"speed": "m/s"})
    assert [(v.name, v.unit) for v in data.inputs] == [("load", ""), ("speed", "m/s")]


@pytest.mark.parametrize(
    ("inputs", "labels"),
    [
        (["load", "speed [m/s]"], ["load [kN]", "speed [km/h]"]),
        (["load [kN]", "speed"], ["load [kN]", "speed [m/s]"]),
        (["speed", "speed [rpm]"], ["speed [m/s]", "speed [rpm] [rpm]"]),
    ],
)
def test_the_file_tells_units_and_the_user_knows_better(inputs, labels, tmp_path, caplog):
    path = write(tmp_path, "speed,load [kN],heat,speed [rpm]\nm/s,,W,\n1,2,3,4\n5,6,7,8\n")
    units = {"speed [m/s]": "km/h"} if "speed [m/s]" in inputs else None
    if units:
        path.write_text(path.read_text().replace("speed,", "speed [m/s],").replace("m/s,,", ",,"))
    data = module(path, inputs=inputs, units=units)
    assert data.load()[0].shape == (2, 2)
    assert [variable.label for variable in data.inputs] == labels
    assert data.outputs[0].label == "heat [W]"
    assert "with units_row 1" in caplog.text


def test_options_of_all_data_modules_are_passed_on(tmp_path):
    data = module(write(tmp_path, text_of()), batch_size=3, val_fraction=0.5)
    assert (data.batch_size, data.val_fraction) == (3, 0.5)
    assert data.hparams["batch_size"] == 3
    with pytest.raises(TypeError, match="bach_size"):
        module("table.csv", bach_size=3)


def test_another_separator_is_understood(tmp_path):
    path = write(tmp_path, text_of(separator=";"))
    assert module(path, separator=";").load()[0][1, 1] == module(path).load()[0][1, 1] == 2.5


def test_it_trains_a_split(tmp_path):
    data = module(write(tmp_path, text_of()))
    x, _ = next(iter(data.train_dataloader()))
    assert x.shape == (5, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("load,sped,heat\n1,2,3\n", "column 'speed'.*Did you mean 'sped'"),
        ("load,speed,heat\n1,2,\n4,5,n/a\n", "column 'heat' .* but it has none in any row"),
        ("load,speed,heat\n1,2,3\n4,,6\n", r"1 of 2 rows.*line 3, column 'speed' \(missing.*on_missing='drop'"),
        ("load,speed,heat\n1,2,3\n4,5,nan\n", "line 3, column 'heat'"),
        ("load,speed,heat\n1,2,inf\n4,5,6\n", r"line 2, column 'heat' \(inf"),
        ("load,speed,heat\n1,2,3\n\n4,5,6\n", "line 3, column 'load'"),
        ('load,speed,heat,note\n1,2,3,"a\nb"\n4,,6,\n', "line 4, column 'speed'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said_with_file_column_and_line(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        module(write(tmp_path, text)).setup()


def test_rows_that_lack_a_value_can_be_dropped_and_are_counted(tmp_path):
    path = write(tmp_path, "load,speed,heat\n1,2,3\n4,,6\n7,8,nan\n10,11,12\n")
    with pytest.warns(UserWarning, match="2 of 4 rows"):
        x, _ = module(path, on_missing="drop").load()
    assert x.tolist() == [[1, 2], [10, 11]]


def test_a_column_is_on_one_side_alone():
    with pytest.raises(ValueError, match=r"in common, but got \['load'\]"):
        module("table.csv", outputs=["load"])


def test_hyperparameters_are_plain(tmp_path):
    data = module(tmp_path / "table.csv")
    torch.save(dict(data.hparams), tmp_path / "hparams.pt")
    assert torch.load(tmp_path / "hparams.pt", weights_only=True)["inputs"] == ["load", "speed"]
