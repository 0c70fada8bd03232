import polars
import pytest

from lightning_invert.tables import TableWriter, read_table

FRAME = polars.DataFrame(
    {"a": [1, 2, 3, 4, 5], "b": [0.5, None, 2.5, 3.5, 4.5], "c": list("vwxyz")}
)


def save(frame, path):
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path, separator="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
@pytest.mark.parametrize("rows", [1, 2, 5, 100])
def test_pieces_together_are_the_columns_asked_for(kind, rows, tmp_path):
    path = save(FRAME, tmp_path / f"points.{kind}")
    pieces = list(read_table(path, ["b", "a"], rows_at_once=rows))
    assert max(map(len, pieces)) == min(rows, 5)
    whole = polars.concat(pieces)
    assert whole.columns == ["b", "a"]
    assert whole["a"].to_list() == [1, 2, 3, 4, 5]
    assert whole["b"].is_nan().to_list() == [False, True, False, False, False]
    assert whole.dtypes == [polars.Float64] * 2


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_without_names_all_columns_are_read(kind, tmp_path):
    path = save(FRAME.drop("c"), tmp_path / f"points.{kind}")
    (piece,) = read_table(path)
    assert piece.columns == ["a", "b"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_is_no_number_is_shown(kind, tmp_path):
    path = save(FRAME, tmp_path / f"points.{kind}")
    with pytest.raises(ValueError, match=r"'c' of .*points.* 'v' in (line 2|row 0)"):
        list(read_table(path))
    with pytest.raises(ValueError, match=r"column 'd', but it has 'a', 'b', 'c'"):
        list(read_table(path, ["d"]))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"):
        list(read_table(tmp_path / "nothing.csv"))
    empty = tmp_path / "empty.csv"
    empty.touch()
    with pytest.raises(ValueError, match="the file is empty"):
        list(read_table(empty))
    with pytest.raises(ValueError, match=r"\.csv, \.tsv or \.parquet"):
        list(read_table(save(FRAME, tmp_path / "points.csv").rename(tmp_path / "points.txt")))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_was_written_before_an_error_stays(kind, tmp_path):
    def interrupted():
        with TableWriter(tmp_path / f"found.{kind}") as table:
            table.write({"a": [1.0, 2.0]})
            table.write({"a": [3.0]})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    (piece,) = read_table(tmp_path / f"found.{kind}")
    assert piece["a"].to_list() == [1, 2, 3]
    assert [path.name for path in tmp_path.iterdir()] == [f"found.{kind}"]
