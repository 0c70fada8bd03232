import datetime
import decimal
import gzip
import re
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
        [datetime.time(1)],
        [[1.0]],
        [{"x": 1.0}],
        [b"1"],
        polars.Series(["1"], dtype=polars.Categorical),
        polars.Series(["1"], dtype=polars.Enum(["1"])),
        polars.Series([[1.0, 2.0]], dtype=polars.Array(polars.Float64, 2)),
    ],
    ids=[
        "Datetime",
        "Date",
        "Duration",
        "String",
        "Time",
        "List",
        "Struct",
        "Binary",
        "Categorical",
        "Enum",
        "Array",
    ],
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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["*", "^.*$", "^b$", "0", "x [m]"])
def test_the_name_of_a_column_is_no_pattern(name, kind, tmp_path):
    path = save(polars.DataFrame({"b": [1], name: [2], "a": [3]}), tmp_path / f"points.{kind}")
    assert read(path, name).rows() == [(2,)]
    assert read(path, "a", name, "b").rows() == [(3, 2, 1)]


def test_a_column_that_is_there_twice_is_an_error_if_it_is_wanted(tmp_path):
    path = write(tmp_path / "a.csv", "a,b,a,a_duplicated_0\n1,2,3,4\n")
    for columns in ([], ["b", "a"]):
        with pytest.raises(ValueError, match=r"a\.csv' to have one column 'a', but it has 2"):
            read(path, *columns)
    assert read(path, "a_duplicated_0", "b").rows() == [(4, 2)]


def test_blank_lines_are_rows_without_values(tmp_path):
    assert len(read(write(tmp_path / "a.csv", "a\n1\n\n"))) == 2
    found = read(write(tmp_path / "a.csv", "a,b\n\n1,2\n \t \n")).fill_nan(None)
    assert found.rows() == [(None, None), (1, 2), (None, None)]


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
    with pytest.raises(ValueError, match=f"{name}' to hold a table.*, but"):
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


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_alone_is_no_table(kind, tmp_path):
    path = save(FRAME.head(0), tmp_path / f"points.{kind}")
    with pytest.raises(ValueError, match=rf"points\.{kind}' to hold at least one row"):
        read(path, "a")


@pytest.mark.parametrize("columns", [[], ["a"], ["b"]])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n3,4,5\n", r"as its header, 2, but that of line 3 has 3"),
        ("a,b\n1,2\n3\n", r"as its header, 2, but that of line 3 has 1"),
        ("a,b\n1,2,\n3,4,\n", r"as its header, 2, but that of line 2 has 3"),
        ('a,b\n"1,\n5",2\n3,"4",5\n', r"as its header, 2, but that of line 4 has 3"),
        ("# points\na,b\n1,2\n", r"as its header, 1, but that of line 2 has 2"),
        ("a,b\n1,2\n1,5,2,5\n", r"as its header, 2, but that of line 3 has 4"),
    ],
)
def test_a_row_of_another_length_is_named_whichever_columns_are_wanted(
    text, words, columns, tmp_path
):
    path = write(tmp_path / "a.csv", text)
    if text.startswith("#"):
        columns = []
    for rows in (1, 100):
        with pytest.raises(ValueError, match=rf"a\.csv' to have as many cells {words}"):
            read(path, *columns, rows_at_once=rows)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("größe,b\n1,2\n".encode("latin-1"), r"in UTF-8, but line 1 has the byte 0xf6 in cell 1"),
        ("a,b\n1,2\n3,ä\n".encode("latin-1"), r"in UTF-8, but line 3 has the byte 0xe4 in cell 2"),
        ('a,b\n"3,","ä"\n'.encode("latin-1"), r"line 2 has the byte 0xe4 in cell 2"),
        ("a,b\n1,2\n".encode("utf-16"), r"UTF-8, but line 1 has what UTF-16 or a binary file"),
        ("a,b\n1,2\n".encode("utf-16-be"), r"UTF-8, but line 1 has what UTF-16 or a binary file"),
        (b"a\0,b\n1,2\n", r"line 1 has what UTF-16 or a binary file"),
        (b"a,b\n1,2\n\x003,4\n", r"column 'a' .* in line 3 it has '\\x003'"),
        (b"a,b\r1,2\r3,4\r", r"line feed, but a carriage return alone is in line 1"),
        (b'a,b\n1,2\n"3"4,5\n', r"line 3 cannot be taken apart into cells: a quote"),
    ],
)
def test_what_is_no_text_of_a_table_is_named_with_its_line(content, words, tmp_path):
    (tmp_path / "a.csv").write_bytes(content)
    for rows in (1, 100):
        with pytest.raises(ValueError, match=words) as caught:
            read(tmp_path / "a.csv", rows_at_once=rows)
        assert repr(str(tmp_path / "a.csv")) in str(caught.value)


NO_NUMBERS = [
    "1,5", "1.500,0", "1_000", "1'000", "1 000", "0x10", "0b1", "1d5", "١٢", "１２", "−5", "5%", "$5",
    "1e", "e1", "--1", "+ 5", "yes", "NA", "null", "-", "1e400", "-1e400", "1e999999999", "TRUE",
]  # fmt: skip


@pytest.mark.parametrize("cell", NO_NUMBERS)
def test_what_is_no_number_of_float64_is_shown_with_column_and_line(cell, tmp_path):
    path = write(tmp_path / "a.csv", f"a;b\n1;2\n3;{cell}\n")
    with pytest.raises(
        ValueError, match=rf"'b' of .*a\.csv' .* line 3 it has '?\"?{re.escape(cell)}"
    ):
        read(path, separator=";")


NUMBERS = [
    "1", "+1", "-0", ".5", "5.", "1e5", "1E-5", "00012", " 7 ", "\u00a07", "0.1", "0.30000000000000004",
    "123456789012345678901234567890", "9007199254740993", "4.9e-324", "1e-400",
    "2.2250738585072011e-308", "1.7976931348623157e308", "inf", "-Infinity",
]  # fmt: skip


@pytest.mark.parametrize("cell", NUMBERS)
def test_a_number_is_what_python_takes_it_for(cell, tmp_path):
    path = write(tmp_path / "a.csv", f'a,b\n{cell},"{cell}"\n')
    assert read(path).rows() == [(float(cell), float(cell))]


def test_blanks_around_a_name_do_not_count(tmp_path):
    path = write(tmp_path / "a.csv", 'a, b ," c"\n1,2,3\n')
    assert read(path).columns == ["a", "b", "c"]
    assert read(path, "c", "b").rows() == [(3, 2)]


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_mark_at_the_beginning_and_line_ends_do_not_count(bom, end, tmp_path):
    path = write(tmp_path / "a.csv", bom + end.join(['"a",b', "1,2", "3,4"]))
    assert read(path, "a", "b").rows() == [(1, 2), (3, 4)]


@pytest.mark.parametrize("separator", ["", "::", '"', "\n", "\r", "é"])
def test_what_cannot_separate_cells_is_refused(separator, tmp_path):
    with pytest.raises(ValueError, match="`separator` to be a single ASCII character"):
        read(write(tmp_path / "a.csv", "a\n1\n"), separator=separator)


def test_a_column_that_is_asked_for_twice_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"a\.csv' to be asked for once, but got 'a' twice"):
        read(write(tmp_path / "a.csv", "a,b\n1,2\n"), "a", "b", "a")


def test_a_folder_is_no_table(tmp_path):
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(FileNotFoundError, match=r"x\.csv' is a folder"):
        read(tmp_path / "x.csv")


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_a_file_that_the_system_does_not_give_is_named(kind, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    path = save(FRAME, tmp_path / f"a.{kind}")
    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("gzip.open", refuse)
    monkeypatch.setattr("polars.scan_parquet", refuse)
    with pytest.raises(ValueError, match=rf"a\.{kind}' .* cannot be read: .*Permission denied"):
        read(path)


@pytest.mark.parametrize(
    ("values", "type_", "expected"),
    [
        ([decimal.Decimal("1.10")], polars.Decimal(10, 2), 1.1),
        ([2**53 + 1], polars.Int64, 2.0**53),
        ([2**64 - 1], polars.UInt64, 2.0**64),
        ([2**100], polars.Int128, 2.0**100),
        ([0.1], polars.Float32, 0.10000000149011612),
        ([True], polars.Boolean, 1.0),
    ],
)
def test_numbers_of_a_parquet_file_are_rounded_to_float64(values, type_, expected, tmp_path):
    frame = polars.DataFrame({"a": polars.Series(values, dtype=type_)})
    assert read(save(frame, tmp_path / "a.parquet")).rows() == [(expected,)]


@pytest.mark.parametrize("cut", [-1, -10, -400, 40, 8])
def test_a_parquet_file_that_is_cut_short_is_named(cut, tmp_path):
    path = save(polars.DataFrame({"a": range(9999)}), tmp_path / "a.parquet")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"a\.parquet' to hold a table, but it cannot be read"):
        read(path)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_name_of_a_folder_is_no_pattern_to_a_writer(kind, tmp_path):
    (tmp_path / "run1").mkdir()
    with TableWriter(tmp_path / "run[1]*" / f"found?[2].{kind}") as table:
        table.write({"a": [1.0, 2.0]})
        table.write({"a": [3.0]})
    assert table.path.parent.name == "run[1]*"
    assert read(table.path).rows() == [(1,), (2,), (3,)]
    assert not list((tmp_path / "run1").iterdir())


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
