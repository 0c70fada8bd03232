import datetime
import gzip
import subprocess
import sys

import polars
import pytest

from lightning_invert.datamodules import TabularDataModule
from lightning_invert.tables import TableWriter, read_table, row_name

FRAME = polars.DataFrame(
    {"a": [1, 2, 3, 4, 5], "b": [0.5, None, 2.5, 3.5, 4.5], "c": list("vwxyz")}
)


KINDS = ["csv", "tsv", "csv.gz", "tsv.gz", "parquet", "pq"]


def save(frame, path):
    if path.suffix in (".parquet", ".pq"):
        frame.write_parquet(path)
    else:
        text = frame.write_csv(separator="\t" if ".tsv" in path.name else ",").encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def write(path, text):
    path.write_bytes(text.encode())
    return path


def read(path, *columns, **options):
    return polars.concat(read_table(path, columns or None, **options))


@pytest.mark.parametrize("kind", [*KINDS, "CSV"])
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


def test_what_is_no_number_is_shown_and_such_cells_are_counted_in_all_pieces(tmp_path):
    path = save(FRAME, tmp_path / "points.csv")
    message = r"'c' of .*points\.csv' .* in line 2 it has 'v' \(5 such cell\(s\) in all\)"
    for rows in (1, 2, 5, 100):
        with pytest.raises(ValueError, match=message):
            read(path, rows_at_once=rows)


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_is_not_there_is_named(kind, tmp_path):
    path = save(FRAME.rename({"c": "load"}), tmp_path / f"points.{kind}")
    with pytest.raises(ValueError, match=r"'laod', but it has 'a', 'b', 'load'\. Did .* 'load'\?"):
        read(path, "laod")


@pytest.mark.parametrize(
    "values",
    [
        [datetime.datetime(2020, 1, 1)],
        [datetime.date(2020, 1, 1)],
        [datetime.timedelta(1)],
        ["1"],
        [[1.0]],
    ],
    ids=["Datetime", "Date", "Duration", "String", "List"],
)
def test_a_parquet_column_of_another_type_is_named_with_the_type(values, tmp_path, request):
    path = save(polars.DataFrame({"a": [1], "when": values}), tmp_path / "points.parquet")
    kind = request.node.callspec.id
    with pytest.raises(ValueError, match=rf"'when' of .*points\.parquet' .* its type is {kind}"):
        read(path)
    assert read(path, "a").rows() == [(1.0,)]


def test_a_parquet_column_without_any_value_is_missing_numbers(tmp_path):
    path = save(polars.DataFrame({"a": [None, None]}), tmp_path / "points.parquet")
    assert read(path)["a"].is_nan().all()


def test_truth_values_and_integers_are_numbers_and_blanks_do_not_count(tmp_path):
    path = write(tmp_path / "a.csv", 'a,b\n 1 ,true\n"2",False\n  ,True\n"", false \n')
    assert read(path).fill_nan(None).rows() == [(1, 1), (2, 0), (None, 1), (None, 0)]
    frame = polars.DataFrame({"a": [1, 2], "b": [True, False]})
    assert read(save(frame, tmp_path / "a.parquet")).rows() == [(1, 1), (2, 0)]


def test_another_separator_is_understood_and_tabs_stay_tabs(tmp_path):
    path = write(tmp_path / "a.csv", "a;b\n1;2\n")
    assert read(path, separator=";").rows() == [(1, 2)]
    assert read(save(FRAME, tmp_path / "a.tsv"), "a", separator=";")["a"].to_list() == [
        *range(1, 6)
    ]


BROKEN = 'a,"the\nnote",b\n1,"one\n\ntwo, ""three""",2\n\n3,"x\r\ny",4\n5,,six\n'


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_a_quoted_line_break_does_not_end_a_row_wherever_the_piece_ends(rows, tmp_path):
    path = write(tmp_path / "a.csv", BROKEN.replace("six", "6"))
    found = read(path, "b", "a", rows_at_once=rows).fill_nan(None)
    assert found.rows() == [(2, 1), (None, None), (4, 3), (6, 5)]


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
@pytest.mark.parametrize("lead", ["", "\n\n", "\ufeff"])
def test_lines_are_counted_as_an_editor_shows_them(lead, rows, tmp_path):
    path = write(tmp_path / "a.csv", lead + BROKEN)
    with pytest.raises(ValueError, match=f"in line {9 + lead.count(chr(10))} it has 'six'"):
        read(path, "a", "b", rows_at_once=rows)
    assert row_name(path, 1) == f"line {6 + lead.count(chr(10))}"


def test_a_quote_that_is_never_closed_is_found(tmp_path):
    path = write(tmp_path / "a.csv", 'a,b\n1,2\n3,"4\n5,6\n')
    with pytest.raises(ValueError, match=r"a\.csv' to close .* line 3"):
        read(path)


def test_a_quote_that_is_never_closed_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_invert.tables.MAX_LINES_OF_A_ROW", 3)
    with pytest.raises(ValueError, match=r"a\.csv' to close .* line 2"):
        read(write(tmp_path / "a.csv", 'a,b\n1,"2\n3,4\n5,6\n7,8\n9,"0\n'))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_name_is_not_a_pattern(kind, tmp_path):
    save(polars.DataFrame({"a": [1]}), tmp_path / f"m1.{kind}")
    path = save(polars.DataFrame({"a": [2]}), tmp_path / f"m[1].{kind}")
    assert read(path).rows() == [(2,)]


def test_a_column_that_is_there_twice_is_an_error_if_it_is_wanted(tmp_path):
    path = write(tmp_path / "a.csv", "a,b,a,a_duplicated_0\n1,2,3,4\n")
    for columns in ([], ["b", "a"]):
        with pytest.raises(ValueError, match=r"a\.csv' to have one column 'a', but it has 2"):
            read(path, *columns)
    assert read(path, "a_duplicated_0", "b").rows() == [(4, 2)]


def test_blank_lines_at_the_end_and_no_line_at_all_are_rows_without_values(tmp_path):
    assert len(read(write(tmp_path / "a.csv", "a\n1\n\n"))) == 2
    assert list(read_table(write(tmp_path / "a.csv", "a\n"))) == []


def test_the_same_cell_gives_the_same_message_to_a_fit_and_to_an_analysis(tmp_path):
    path = write(tmp_path / "a.csv", 'a,note,b\n1,"x\ny",2\n3,,fast\n')
    with pytest.raises(ValueError, match=r"'b' of .*a\.csv' .* line 4 it has 'fast'") as analysis:
        read(path, "a", "b")
    with pytest.raises(ValueError, match="fast") as fit:
        TabularDataModule(path, ["a"], ["b"]).load()
    assert str(fit.value) == str(analysis.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", b"PAR1 and nothing more"),
        ("a.parquet", b""),
        ("a.csv", b"a,b\n1,\xff\n"),
        ("a.csv", b"\xff\n1\n"),
        ("a.csv.gz", b"a,b\n1,2\n"),
        ("a.csv.gz", gzip.compress(b"a,b\n1,2\n")[:-9]),
        ("a.csv.gz", gzip.compress(b"a,b\n1,2\n")[:12] + b"nonsense" * 9),
    ],
    ids=["no end", "nothing", "a cell", "the header", "not packed", "cut short", "overwritten"],
)
def test_a_file_that_is_damaged_is_named(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}' to hold a table, but"):
        read(tmp_path / name)


def test_the_reader_loads_neither_torch_nor_polars():
    code = "import sys, lightning_invert.tables; print({'torch', 'polars'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"):
        list(read_table(tmp_path / "nothing.csv"))
    for name, content in {"a.csv": b"", "b.csv": b"\n\n", "a.csv.gz": gzip.compress(b"")}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}' to hold a table, but the file is empty"):
            list(read_table(tmp_path / name))
    with pytest.raises(ValueError, match=r"one of \.csv, .*\.pq, but got .*points\.txt"):
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
