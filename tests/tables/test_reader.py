"""Reading and writing tables: every file is read as Python reads it, or refused by name and line."""

import datetime
import decimal
import gzip
import re

import polars
import pytest

from lightning_invert.tables import TableFormat, TableReader, TableWriter

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


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def pieces_of(path, *columns, rows_at_once=65536, **form):
    return list(TableReader(path, columns or None, TableFormat(**form)).read(rows_at_once))


def read(path, *columns, **options):
    return polars.concat(pieces_of(path, *columns, **options))


@pytest.mark.parametrize("kind", [*KINDS, "CSV"])
@pytest.mark.parametrize("rows", [1, 2, 100])
def test_pieces_together_are_the_selected_columns(kind, rows, tmp_path):
    pieces = pieces_of(save(FRAME, tmp_path / f"a.{kind}"), "b", "a", rows_at_once=rows)
    assert max(map(len, pieces)) == min(rows, 5)
    whole = polars.concat(pieces)
    assert whole.schema == {"b": polars.Float64, "a": polars.Float64}
    assert whole.fill_nan(None).rows() == [(0.5, 1), (None, 2), (2.5, 3), (3.5, 4), (4.5, 5)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_column_is_named(kind, tmp_path):
    path = save(FRAME.rename({"c": "load"}), tmp_path / f"a.{kind}")
    with pytest.raises(ValueError, match=r"'laod', but it has 'a', 'b', 'load'\. Did .* 'load'\?"):
        read(path, "laod")


@pytest.mark.parametrize(
    "value",
    [datetime.datetime(2020, 1, 1), datetime.timedelta(1), datetime.time(1), "1", [1.0], b"1"],
    ids=lambda value: type(value).__name__,
)
def test_a_parquet_column_of_another_type_is_named_with_the_type(value, tmp_path):
    frame = polars.DataFrame({"a": [1], "when": [value]})
    path = save(frame, tmp_path / "a.parquet")
    words = rf"of .*a\.parquet' .* 'when' is of type {frame.schema['when'].base_type()}"
    with pytest.raises(ValueError, match=words):
        read(path)
    assert read(path, "a").rows() == [(1.0,)]


@pytest.mark.parametrize(
    ("value", "type_", "expected"),
    [
        (decimal.Decimal("1.10"), polars.Decimal(10, 2), 1.1),
        (2**53 + 1, polars.Int64, 2.0**53),
        (2**64 - 1, polars.UInt64, 2.0**64),
        (0.1, polars.Float32, 0.10000000149011612),
        (True, polars.Boolean, 1.0),
    ],
)
def test_numbers_of_a_parquet_file_are_rounded_to_float64(value, type_, expected, tmp_path):
    frame = polars.DataFrame({"a": polars.Series([value], dtype=type_), "none": [None]})
    assert read(save(frame, tmp_path / "a.parquet"), "a").rows() == [(expected,)]
    assert read(tmp_path / "a.parquet", "none")["none"].is_nan().all()


def test_booleans_are_numbers_and_blanks_do_not_count(tmp_path):
    path = write(
        tmp_path / "a.csv", 'a, b ," c"\n 1 ,true,1\n"2",False,\n"  ",True,2\n"", false ,3\n'
    )
    found = read(path, "a", "b", "c").fill_nan(None)
    assert found.rows() == [(1, 1, 1), (2, 0, None), (None, 1, 2), (None, 0, 3)]


def test_another_separator_is_read_and_tabs_stay_tabs(tmp_path):
    path = write(tmp_path / "a.csv", "a;b\n1;2\n3;x\n")
    assert read(path, "a", separator=";").rows() == [(1,), (3,)]
    with pytest.raises(ValueError, match="line 3: 'x'"):
        read(path, separator=";")
    assert len(read(save(FRAME, tmp_path / "a.tsv"), "a", separator=";")) == 5


BROKEN = 'a,"the\nnote",b\n1,"one\n\ntwo, ""three""",2\n\n3,"x\r\ny",4\n5,,six\n'


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
@pytest.mark.parametrize("lead", ["", "\n\n", "\ufeff"])
def test_lines_are_counted_as_an_editor_shows_them_wherever_a_piece_ends(lead, rows, tmp_path):
    path = write(tmp_path / "a.csv", lead + BROKEN.replace("six", "6"))
    found = read(path, "b", "a", rows_at_once=rows).fill_nan(None)
    assert found.rows() == [(2, 1), (None, None), (4, 3), (6, 5)]
    write(path, lead + BROKEN)
    with pytest.raises(ValueError, match=f"line {9 + lead.count(chr(10))}: 'six'"):
        read(path, "a", "b", rows_at_once=rows)
    assert TableReader(path, ["a"]).row_name(1) == f"line {6 + lead.count(chr(10))}"
    path = save(FRAME, tmp_path / "a.parquet")
    assert TableReader(path, ["a"]).row_name(1) == "row 2"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["*", "^.*$", "^b$", "0", "x [m]"])
def test_names_of_files_and_columns_are_no_patterns(name, kind, tmp_path):
    save(polars.DataFrame({"a": [1]}), tmp_path / f"m1.{kind}")
    path = save(polars.DataFrame({"b": [1], name: [2], "a": [3]}), tmp_path / f"m[1].{kind}")
    assert read(path, name).rows() == [(2,)]
    assert read(path, "a", name, "b").rows() == [(3, 2, 1)]


def test_a_duplicate_column_is_refused_only_where_it_is_read(tmp_path):
    path = write(tmp_path / "a.csv", "a,b,a,a_duplicated_0\n1,2,3,4\n")
    for columns in ([], ["b", "a"]):
        with pytest.raises(ValueError, match=r"a\.csv' to have one column 'a', but it has 2"):
            read(path, *columns)
    assert read(path, "a_duplicated_0", "b").rows() == [(4, 2)]


@pytest.mark.parametrize("rows", [1, 2, 100])
@pytest.mark.parametrize("end", ["", "\n", "\n\n\n", " \t \n", ',\n" ",\n\n'])
def test_blank_lines_are_rows_without_values_but_at_the_end(end, rows, tmp_path):
    path = write(tmp_path / "a.csv", f"a,b\n\n1,2\n,\n\n3,\n{end}")
    for columns in (["a", "b"], ["b"], []):
        found = read(path, *columns, rows_at_once=rows).fill_nan(None)["b"]
        assert found.to_list() == [None, 2, None, None, None]
    assert len(read(write(path, f"a\n1\n\n2\n{end.replace(',', '')}"), rows_at_once=rows)) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_alone_is_no_table(kind, tmp_path):
    with pytest.raises(ValueError, match=rf"a\.{kind}' to hold at least one row"):
        read(save(FRAME.head(0), tmp_path / f"a.{kind}"), "a")


UTF8, QUOTE = "in UTF-8, but line {} has the byte {}", "but line {} cannot be split into cells"


@pytest.mark.parametrize("rows", [1, 100])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\n1,2\n3,4,5\n", "its header, 2, but line 3 has 3"),
        ("a,b\n1,2\n3\n", "its header, 2, but line 3 has 1"),
        ("a,b\n3\n1,2\n", "its header, 2, but line 2 has 1"),
        ('a,b\n"1,\n5",2\n3,"4",5\n', "its header, 2, but line 4 has 3"),
        ("a,b\n1,2\n1,5,2,5\n", "its header, 2, but line 3 has 4"),
        (b"a,b\n1,2\n\x003,4\n", r"line 3: '\?3'"),
        (b"a,b\r1,2\r3,4\r", QUOTE.format(1)),
        (b'a,b\n1,2\n"3"4,5\n', QUOTE.format(3)),
        (b'a,b\n1,2\n3,"4\n5,6\n', QUOTE.format(3)),
        (b"", "but the file is empty"),
        (b"\n\n", "but the file is empty"),
        (b"# 1\n# 2\n", "but the file is empty"),
        (b',\n"\na,b', "but line 2 cannot be split"),
    ],
)
def test_a_text_that_is_no_table_is_named_with_its_line(content, words, rows, tmp_path):
    path = write(tmp_path / "a.csv", content)
    for columns in ([], ["a"]):
        with pytest.raises(ValueError, match=f"{re.escape(repr(str(path)))}.*{words}"):
            read(path, *columns, rows_at_once=rows)


@pytest.mark.parametrize("column", ["a", "b"])
def test_a_letter_that_is_no_utf8_below_the_first_lines_is_named(column, tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_invert.tables.rows.BYTES_SEEN", 8)
    path = write(tmp_path / "a.csv", b"a,b\n1,2\n3,4\n3,\xe4\n")
    with pytest.raises(ValueError, match=UTF8.format(4, "0xe4") + ".*`encoding='cp1252'`"):
        read(path, column)
    with pytest.raises(ValueError, match="in ASCII, but line 4"):
        read(path, column, encoding="ascii")
    assert read(path, "a", encoding="cp1252").rows() == [(1,), (3,), (3,)]


def test_a_quote_that_stays_open_does_not_fill_the_memory(tmp_path):
    path = write(tmp_path / "a.csv", b'a,b\n1,2\n3,"4\n' + b"5,6\n" * 99999)
    with pytest.raises(ValueError, match=rf"a\.csv'.* {QUOTE.format(3)}: field larger"):
        read(path)


@pytest.mark.parametrize("cut", [0, 8, 40, -400, -10, -1])
@pytest.mark.parametrize("kind", ["parquet", "csv.gz"])
def test_a_file_that_is_cut_short_is_named(kind, cut, tmp_path):
    path = save(polars.DataFrame({"a": range(9999)}), tmp_path / f"a.{kind}")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=rf"a\.{kind}' to hold a table.*, but"):
        read(path)


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_a_file_that_the_system_refuses_is_named(kind, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    path = save(FRAME, tmp_path / f"a.{kind}")
    for opener in ("builtins.open", "gzip.open", "polars.scan_parquet"):
        monkeypatch.setattr(opener, refuse)
    with pytest.raises(ValueError, match=rf"a\.{kind}' .* cannot be read: .*Permission denied"):
        read(path)


@pytest.mark.parametrize(
    "cell",
    ["1,5", "1.500,0", "1_000", "1'000", "1 000", "0x10", "1d5", "5%", "$5", "1e", "e1", "--1",
     "+ 5", "yes", "1e400", "-1e400", "1.2.3", "−−5", "5 %%", "12:30", "1/2", "١", "½", "5−"],
)  # fmt: skip
def test_a_cell_that_is_no_number_of_float64_is_refused(cell, tmp_path):
    path = write(tmp_path / "a.csv", f"a;b\n1;2\n3;{cell}\n")
    with pytest.raises(ValueError, match=r"'b' \(1, .* line [23]: ['\"]"):
        read(path, separator=";", decimal=".", thousands="")


@pytest.mark.parametrize(
    "cell",
    ["1", "+1", "-0", ".5", "5.", "1e5", "1E-5", "00012", " 7 ", "\u00a07", "0.30000000000000004",
     "123456789012345678901234567890", "9007199254740993", "4.9e-324", "1e-400",
     "2.2250738585072011e-308", "1.7976931348623157e308", "inf", "-Infinity"],
)  # fmt: skip
def test_a_number_is_what_python_takes_it_for(cell, tmp_path):
    path = write(tmp_path / "a.csv", f'a,b\n{cell},"{cell}"\n')
    assert read(path).rows() == [(float(cell), float(cell))]


@pytest.mark.parametrize("separator", ["", "::", '"', "\n", "\r", "é"])
def test_a_separator_is_one_ascii_character(separator, tmp_path):
    with pytest.raises(ValueError, match="`separator` to be a single ASCII character"):
        read(write(tmp_path / "a.csv", "a\n1\n"), separator=separator)


def test_a_column_that_is_read_twice_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"a\.csv' once, but got 'a' twice"):
        read(write(tmp_path / "a.csv", "a,b\n1,2\n"), "a", "b", "a")


def test_a_path_that_is_no_table_is_named(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(FileNotFoundError, match=r"folder\.csv' is a folder"):
        read(tmp_path / "folder.csv")
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv' does not exist"):
        read(tmp_path / "nothing.csv")
    with pytest.raises(ValueError, match=r"one of \.csv, .*\.xlsm, but got .*points\.json"):
        read(write(tmp_path / "points.json", "a\n1\n"))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_rows_written_before_an_error_stay(kind, tmp_path):
    (tmp_path / "run1").mkdir()
    folder = tmp_path / "run[1]*"  # no pattern

    def write_and_fail():
        with TableWriter(folder / f"found?[2].{kind}") as table:
            table.write({"a": [1.0, 2.0]})
            table.write({"a": [3.0]})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_fail()
    (path,) = folder.iterdir()
    assert read(path).rows() == [(1,), (2,), (3,)]
    assert not list((tmp_path / "run1").iterdir())


def test_wrong_cells_are_told_alike_in_whatever_pieces_a_table_is_read(tmp_path):
    (tmp_path / "a.csv").write_text("a,b,c\n1,2,3\n1,x,3\n1,2,y\nz,2,y\n1,v,w\n")
    messages = []
    for rows_at_once in (1, 2, 65536):
        reader = TableReader(tmp_path / "a.csv", ["c", "b", "a"])
        with pytest.raises(ValueError, match="to hold numbers") as caught:
            list(reader.read(rows_at_once=rows_at_once))
        messages.append(str(caught.value))
    assert (
        "'c' (3, the first in line 4: 'y'), 'b' (2, the first in line 3: 'x'), 'a'" in messages[0]
    )
    assert "missing=['y', 'w', 'x', 'v', 'z']" in messages[0]
    assert len(set(messages)) == 1
