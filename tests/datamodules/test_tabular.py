import gzip

import numpy as np
import polars
import pytest
import torch

from lightning_invert.datamodules import TabularDataModule

COLUMNS = ["speed", "load", "heat", "note"]
TABLE = {
    "speed": [1.0, 2.5, -3.0, 4.0, 5.0, 6.0],
    "load": [10, 20, 30, 40, 50, 61],
    "heat": [0.1, 0.2, 0.3, 0.4, 0.5, 1e-3],
    "note": ["a", "b", "c", "d", "e", "f"],
}


def module(path, **options):
    return TabularDataModule(path, **{"inputs": ["load", "speed"], "outputs": ["heat"], **options})


def write(folder, text, name="table.csv"):
    path = folder / name
    path.write_text(text)
    return path


def text_of(table=TABLE, separator=","):
    rows = [separator.join(table), *(separator.join(map(str, r)) for r in zip(*table.values()))]  # noqa: B905
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize("name", ["table.csv", "table.tsv", "table.tsv.gz", "table.parquet"])
def test_columns_are_read_by_name_from_every_format(tmp_path, name):
    path = tmp_path / name
    if name.endswith("parquet"):
        polars.DataFrame(TABLE).write_parquet(path)
    else:
        text = text_of(separator="\t" if "tsv" in name else ",").encode()
        path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    x, y = module(path).load()
    assert x.dtype == y.dtype == torch.float64
    np.testing.assert_array_equal(x, np.column_stack([TABLE["load"], TABLE["speed"]]))
    np.testing.assert_array_equal(y[:, 0], TABLE["heat"])


def test_names_and_units_are_kept(tmp_path):
    data = module(write(tmp_path, text_of()), units={"speed": "m/s"})
    assert [(v.name, v.unit) for v in data.inputs] == [("load", ""), ("speed", "m/s")]


def test_another_separator_and_blanks_are_understood(tmp_path):
    path = write(tmp_path, text_of(separator=";").replace(";", " ; ").replace(" ;", ";"))
    with pytest.raises(ValueError, match="column 'load'"):
        module(path).load()
    path = write(tmp_path, text_of(separator=";").replace("2.5;", " 2.5 ;"))
    assert module(path, separator=";").load()[0][1, 1] == 2.5


def test_integers_and_booleans_are_numbers(tmp_path):
    path = write(tmp_path, "load,speed,heat\n1,true,3\n2,False,4\n")
    assert module(path).load()[0].tolist() == [[1, 1], [2, 0]]


def test_it_trains_a_split(tmp_path):
    data = module(write(tmp_path, text_of()))
    x, _ = next(iter(data.train_dataloader()))
    assert x.shape == (5, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "table.csv' to hold a table, but the file is empty"),
        ("load,speed,heat\n", "table.csv' to hold at least one row"),
        ("load,speed\n1,2\n", "column 'heat', but it has 'load', 'speed'"),
        ("load,sped,heat\n1,2,3\n", "column 'speed'.*Did you mean 'sped'"),
        ("load,speed,heat\n1,2,3\n4,fast,6\n7,n/a,9\n", r"'speed'.*line 3 .*'fast'.*2 in 'speed'"),
        ("load,speed,heat\n1,2,3\n4,,6\n", r"1 of 2 rows.*line 3, column 'speed' \(empty"),
        ("load,speed,heat\n1,2,3\n4,5,nan\n", "line 3, column 'heat'"),
        ("load,speed,heat\n1,2,inf\n4,5,6\n", r"line 2, column 'heat' \(inf"),
        ("load,speed,heat\n1,2,3\n\n4,5,6\n", "line 3, column 'load'"),
        ('load,speed,heat,note\n1,2,3,"a\nb"\n4,,6,\n', "line 4, column 'speed'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said_with_file_column_and_line(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        module(write(tmp_path, text)).setup()


def test_a_date_in_a_parquet_file_is_not_a_number(tmp_path):
    frame = polars.DataFrame(TABLE).with_columns(speed=polars.date(2020, 1, 1))
    frame.write_parquet(tmp_path / "table.parquet")
    with pytest.raises(ValueError, match=r"'speed' of .*table\.parquet'.*Date"):
        module(tmp_path / "table.parquet").load()


def test_rows_that_lack_a_value_can_be_dropped_and_are_counted(tmp_path):
    path = write(tmp_path, "load,speed,heat\n1,2,3\n4,,6\n7,8,nan\n10,11,12\n")
    with pytest.warns(UserWarning, match="2 of 4 rows"):
        x, _ = module(path, on_missing="drop").load()
    assert x.tolist() == [[1, 2], [10, 11]]


def test_a_missing_file_and_an_unknown_kind_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
        module(tmp_path / "nowhere.csv").load()
    with pytest.raises(ValueError, match=r"\.csv, .* but got .*table\.xlsx"):
        module(write(tmp_path, "x", "table.xlsx")).load()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"inputs": []}, "`inputs`"),
        ({"outputs": []}, "`outputs`"),
        ({"inputs": ["load", "load"]}, r"`inputs` .* 'load' twice"),
        ({"outputs": ["load"]}, r"in common, got \['load'\]"),
        ({"units": {"weight": "kg"}}, r"`units`.*\['weight'\]"),
        ({"separator": "::"}, "`separator`"),
        ({"on_missing": "guess"}, "`on_missing`"),
    ],
)
def test_names_the_argument_that_is_wrong(options, words):
    with pytest.raises(ValueError, match=words):
        module("table.csv", **options)


def test_hyperparameters_are_plain(tmp_path):
    data = module(tmp_path / "table.csv")
    torch.save(dict(data.hparams), tmp_path / "hparams.pt")
    assert torch.load(tmp_path / "hparams.pt", weights_only=True)["inputs"] == ["load", "speed"]
