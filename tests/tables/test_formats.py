"""Tables as plants write them: read as they are meant, or refused; never as other numbers."""

import csv
import gzip
import io
import math
import re

import polars
import pytest

from lightning_invert.tables import FormatError, TableFormat, TableReader, TableWriter

NAN = math.nan
ROWS = [(10.2, 1.0), (3.5, 2.0)]
NOTHING = [(NAN, 1.0)] * 4


def open_table(folder, content, columns=None, name="a.csv", **form):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return TableReader(path, columns, TableFormat(**form))


def rows_of(reader, rows_at_once=2):
    return polars.concat(reader.read(rows_at_once)).rows()


def same(found, expected):
    return repr([tuple(map(float, row)) for row in found]) == repr(expected)


@pytest.mark.parametrize(
    ("content", "expected", "note"),
    [
        # decimal commas
        ("a;b\n10,20;1\n3,5;2\n", ROWS, "with separator ';', decimal ','"),
        ('a,b\n"10,2",1\n"3,5",2\n', ROWS, "with decimal ','"),
        ("a\tb\n10,2\t1\n3,5\t2\n", ROWS, r"with separator '\t', decimal ','"),
        ("a|b\r\n10,2|1\r\n3,5|2", ROWS, "with separator '|', decimal ','"),
        ("y\n10,5\n20,1\n", [(10.5,), (20.1,)], "with separator ';', decimal ','"),
        ("a;b\n1,5E-3;-,5\n", [(0.0015, -0.5)], "with separator ';', decimal ','"),
        # thousands
        ("a;b\n1.299,99;1\n3,5;2\n", [(1299.99, 1), (3.5, 2)], "decimal ',', thousands '.'"),
        ("a;b\n1.299;0,5\n2.500;0,7\n", [(1299, 0.5), (2500, 0.7)], "decimal ',', thousands '.'"),
        ("a;b\n1.299;0.5\n2.500;0.7\n", [(1.299, 0.5), (2.5, 0.7)], "with separator ';'"),
        ("a;b\n1.299.000;1\n2;3\n", [(1299000, 1), (2, 3)], "thousands '.'"),
        ('a,b\n"1,299.99",1\n3.5,2\n', [(1299.99, 1), (3.5, 2)], "with thousands ','"),
        ('a,b\n"1,299",0.5\n', [(1299, 0.5)], "with thousands ','"),
        ('a,b\n"0,5",1.299\n"0,7",2.5\n', [], "cells: 'b' (1, the first in line 3: '2.5')"),
        ("a;b\n1 299,5;1\n3,5;2\n", [(1299.5, 1), (3.5, 2)], "decimal ',', thousands ' '"),
        ("a;b\n1\xa0299,5;1\n3\u202f000;2\n", [(1299.5, 1), (3000, 2)], "thousands ' '"),
        ("a;b\n1'299.5;1\n3’000;2\n", [(1299.5, 1), (3000, 2)], 'thousands "\'"'),
        ("a,b\n1.299,5\n2.310,6\n", [(1.299, 5), (2.31, 6)], ""),
        # a row of units, and other rows of text
        ("a;b\n°C;t/h\n10,2;1\n3,5;2\n".encode("cp1252"), ROWS, "'cp1252', units_row 1"),
        ("a,b\n°C,-\n10.2,1\n3.5,2\n", ROWS, "with units_row 1"),
        ("a;b\nin;out\n[K];[bar]\n10,2;1\n3,5;2\n", ROWS, "units_row 2"),
        ("Report\n\na,b\n10.2,1\n3.5,2\n", ROWS, "with skip_rows 2"),
        ("Report;\nPlant 7;\na;b\n10,2;1\n3,5;2\n", ROWS, "skip_rows 2"),
        # encodings
        ("Größe;b\n10,2;1\n3,5;2\n".encode("latin-1"), ROWS, "encoding 'cp1252'"),
        ("a – €;b\n10,2;1\n3,5;2\n".encode("cp1252"), ROWS, "encoding 'cp1252'"),
        ("a\tb\r\n10,2\t1\r\n3,5\t2\r\n".encode("utf-16"), ROWS, "encoding 'utf-16'"),
        (b"\xfe\xff" + "a\tb\n10,2\t1\n3,5\t2\n".encode("utf-16-be"), ROWS, "encoding 'utf-16'"),
        # what spreadsheets and programs add
        ("sep=;\na;b\n10,2;1\n3,5;2\n", ROWS, "skip_rows 1"),
        ("\ufeffsep=,\r\na,b\r\n10.2,1\r\n3.5,2\r\n", ROWS, "with skip_rows 1"),
        ("a;b;;\n10,2;1;;\n3,5;2;;\n", ROWS, "separator ';', decimal ','"),
        ("a,b\n10.2,1,\n3.5,2,\n", ROWS, ""),
        ("a,b,\n10.2,1\n3.5,2\n", ROWS, ""),
        ("# plant\n#\na,b\n10.2,1\n#stop, 7\n3.5,2\n", ROWS, "skip_rows 2; without its comments"),
        ("# a,b\n10.2,1\n3.5,2\n", ROWS, ""),
        ("my value\n1 299\n2 500\n", [(1299,), (2500,)], "with thousands ' '"),
        ("a,b\n#N/A,1\n#REF!,1\n?,1\n.,1\n", NOTHING, ""),
        # numbers
        ("a,b\n\u221210.2,1\n\u20133.5,+2\n", [(-10.2, 1), (-3.5, 2)], ""),
        ("a;b\nWAHR;1,5\nfalsch;2,5\nVRAI;3,5\n", [(1, 1.5), (0, 2.5), (1, 3.5)], "decimal ','"),
        # words for missing
        ("a,b\nNA,1\nN/A,1\nn/a,1\nn.a.,1\n", NOTHING, ""),
        ("a,b\n#N/A,1\n#DIV/0!,1\n#WERT!,1\n#NV,1\n", NOTHING, ""),
        ("a,b\n?,1\n-,1\n\u2013,1\n--,1\n", NOTHING, ""),
        ("a,b\nnull,1\nNone,1\nNaN,1\nnan,1\n", NOTHING, ""),
        ("a,b\nBad Input,1\nBad,1\nI/O Timeout,1\nNo Data,1\n", NOTHING, ""),
        ("a,b\nNot Connected,1\nbad\xa0input,1\nCOMM FAIL,1\nScan Off,1\n", NOTHING, ""),
    ],
)
def test_a_table_is_read_as_it_is_meant_and_this_is_said(content, expected, note, tmp_path):
    if not expected:
        with pytest.raises(FormatError, match=re.escape(note)):
            rows_of(open_table(tmp_path, content))
        return
    reader = open_table(tmp_path, content)
    assert same(rows_of(reader), [tuple(map(float, row)) for row in expected])
    assert reader.note.removeprefix(f"{reader.file} is read ").endswith(note)
    assert bool(note) == bool(reader.note)


@pytest.mark.parametrize(
    ("content", "columns", "readings"),
    [
        ("a;b\n1.299;5\n2.500;7\n", None, [1.299, 1299.0]),
        ("a;b\n5;1,234\n5;12,345\n", None, [1.234, 1234.0]),
        ("a\tb\n1.299\t5\n", None, [1.299, 1299.0]),
        ("a\n1.299\n2.500\n", None, [1.299, 1299.0]),
        ('a,b\n"1,234",5\n', None, [1.234, 1234.0]),
        ("a;b\n" + "1;2\n" * 3000 + "1.299;5\n", None, [1.299, 1299.0]),
        # A column that is not read tells nothing: 14.30 is a time of day.
        ("time;a\n14.30;1.299\n14.45;2.345\n", ["a"], [1.299, 1299.0]),
        ("Größe;b\n1.299;5\n".encode("cp1252"), None, [1.299, 1299.0]),
    ],
)
def test_where_two_readings_give_two_numbers_both_are_told_to_copy(
    content, columns, readings, tmp_path
):
    with pytest.raises(FormatError, match=r"no number in the file shows") as caught:
        open_table(tmp_path, content, columns)
    error = caught.value
    found = []
    for (condition, said), reading in zip(error.advice, readings, strict=True):
        assert f"{reading:g}" in condition
        (values,) = (set(sum(rows_of(open_table(tmp_path, content, columns, **said), 1000), ())),)
        found.append(reading in values)
        for name, value in said.items():
            assert f"{name}={value!r}" in str(error)
            word = r"$'\t'" if value == "\t" else f"'{value}'"
            assert f"--{name} {word}" in error.as_options()
    assert all(found)
    assert "\n" not in str(error)


LATER = "1;0,2\n" * 1500


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f"a;b\n{LATER}1.299;0,5\n", r"'a' \(1, the first in line 1502: '1\.299'\).*thousands='\.'"),
        (f"a;b\n{LATER}1.2;0,5\n", r"'a' \(1, the first in line 1502: '1\.2'\)"),
        (f"a;b\n{LATER}1;1 299,5\n", r"'b' \(1, the first in line 1502: '1 299,5'\).*thousands=' '"),
        ("a,b\n10.2 %,1\n3.5 %,2\n", r"'a' \(2, .*: '10.2 %'\)\. Write .* without a per cent sign"),
        (f"a;b\n{LATER}1;5 %\nStop;1\n", r"'a' .* 1503: 'Stop'\), 'b' .* 1502: '5 %'\)|'b' .*'a'"),
        ("a,b\n" + "1,2\n" * 1500 + '"1,299",2\n', r"'a' \(1, the first in line 1502: '1,299'\)"),
        ("a;b\n1;2\n0,5;0.5\n", "cells: "),
        ('a,b\n"1,23,45,678.25",0.5\n', r"line 2: '1,23,45,678\.25'\)\.$"),
        ("a,b\n1.5D+03,2\n3,4\n", r"line 2: '1\.5D\+03'\)\.$"),
        ("t,a\n2024-01-01,Startup\n2024-01-02,2.5\n", r"line 2: 'Startup'\)"),
        ("t;s;a\n10:30;-;Off\n10:31;1;2,5\n10:32;1;3\n", r"line 2: 'Off'\)"),
        ("t,u,a\n1. Feb,,Trip\n2. Feb,,2.5\n", r"line 2: 'Trip'\)"),
        ("a,b\n1,2\n1,x\n1.2.24,2\n", r"'b' \(1, the first in line 3: 'x'\)\.$"),
    ],
)  # fmt: skip
def test_what_contradicts_the_first_lines_is_named_with_line_and_column(content, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        rows_of(open_table(tmp_path, content), 1000)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("day;a\n01.02.2024;3,5\n02.02.2024;4,5\nTotal;8\n\n", "line 4"),
        ("t,a\n1,2\n2,4\nMean,3\nStd,1.4\n", "line 4"),
        ("t,a\n" + "".join(f"10:{i},{i}\n" for i in range(10, 40)) + "Summe:,735\n,\n", "line 32"),
    ],
)
def test_a_total_at_the_end_is_no_row(content, line, tmp_path):
    with pytest.raises(ValueError, match=f"{line}, one of the last, begins with '[TMS]"):
        rows_of(open_table(tmp_path, content, ["a"]), 1000)


@pytest.mark.parametrize("last", ["5", "", "NA", "CTRL 7"])
@pytest.mark.parametrize("label", ["S{}", "{}", "run"])
def test_labels_of_rows_are_no_totals(label, last, tmp_path):
    content = "".join(f"{label.format(i)},{i}\n" for i in range(9))
    assert len(rows_of(open_table(tmp_path, f"t,a\n{content}{last},9\n", ["a"]), 1000)) == 10


def test_integers_are_no_evidence_but_what_follows_them_is(tmp_path):
    content = "a;b\n" + "1;2\n" * 3000
    assert rows_of(open_table(tmp_path, f"{content}1.299;0,5\n"), 1000)[-1] == (1299, 0.5)
    assert rows_of(open_table(tmp_path, f"{content}1.299;0.5\n"), 1000)[-1] == (1.299, 0.5)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("  a   b\n 10.2\t1\n-3.5   2e0 \n", [(10.2, 1.0), (-3.5, 2.0)]),
        ("# a b\n1.020000e+01 1\n3.500000e+00 2\n", ROWS),  # numpy.savetxt
        ("a b\n10,2 1\n3,5 2\n", ROWS),
        ("a;b\n10,2;1\n3,5;2\n", ROWS),
    ],
)
@pytest.mark.parametrize("name", ["a.dat", "a.txt", "a.TXT", "a.dat.gz"])
def test_runs_of_blanks_separate_where_nothing_else_does(content, expected, name, tmp_path):
    content = gzip.compress(content.encode()) if name.endswith("gz") else content
    assert rows_of(open_table(tmp_path, content, name=name)) == expected


def test_sentinels_are_missing_only_where_they_are_declared(tmp_path):
    content = "a;b\n-200;1\n-200,0;2\n3,5;-9999\nStop;1\n"
    with pytest.raises(FormatError, match=r"`separator=';', decimal=',', missing=\['Stop'\]`"):
        rows_of(open_table(tmp_path, content))
    found = rows_of(open_table(tmp_path, content, missing="stop"))
    assert same(found, [(-200.0, 1.0), (-200.0, 2.0), (3.5, -9999.0), (NAN, 1.0)])
    found = rows_of(open_table(tmp_path, content, missing=[-200, "-9999", "Stop"]))
    assert same(found, [(NAN, 1.0), (NAN, 2.0), (3.5, NAN), (NAN, 1.0)])
    polars.DataFrame({"a": [1, -200]}).write_parquet(tmp_path / "a.parquet")
    reader = TableReader(tmp_path / "a.parquet", form=TableFormat(missing=-200))
    assert same(rows_of(reader), [(1.0,), (NAN,)])


@pytest.mark.parametrize(
    ("content", "units"),
    [
        ("flow [t/h],T[°C],F(x),x[0]\n1,2,3,4\n", ["t/h", "°C", "", ""]),
        ("flow,T,F,x\nt/h,(°C),[bar],-\n1,2,3,4\n", ["t/h", "°C", "bar", ""]),
        ("flow [kg/h],T,F,x\n,K,,\n1,2,3,4\n", ["kg/h", "K", "", ""]),
    ],
)
def test_units_are_in_names_or_in_a_row(content, units, tmp_path):
    reader = open_table(tmp_path, content, name="a.csv")
    assert list(reader.units.values()) == units
    found = open_table(tmp_path, content, [reader.columns[1], "flow"])
    assert rows_of(found) == [(2, 1)]
    assert list(found.units.values()) == [units[1], units[0]]


@pytest.mark.parametrize("column", ["Przepływ", "Расход"])
def test_where_letters_were_guessed_a_missing_column_names_the_encoding(column, tmp_path):
    content = f"t;{column}\n1;12,5\n".encode("cp1251" if column == "Расход" else "cp1250")
    with pytest.raises(FormatError, match=r"write an encoding, like `encoding='cp1250'`"):
        open_table(tmp_path, content, [column])


LABVIEW = (
    "LabVIEW Measurement\t\nDecimal_Separator\t,\n***End_of_Header***\t\n\t\nSamples\t2\t2\t\n"
    "X_Value\tVoltage\tCurrent\tComment\n0,0\t1,5\t2,5\t\n1,0\t1,6\t2,6\n2,0\t1,7\t2,7\n"
)


def test_a_last_column_that_rows_leave_out_may_be_empty_if_it_is_not_read(tmp_path):
    read = ["Voltage", "Current"]
    assert rows_of(open_table(tmp_path, LABVIEW, read)) == [(1.5, 2.5), (1.6, 2.6), (1.7, 2.7)]
    assert rows_of(open_table(tmp_path, "a;b;c;d\n1,5;2\n2,5;3;\n", ["a"])) == [(1.5,), (2.5,)]
    for content, columns in [
        (LABVIEW, [*read, "Comment"]), (LABVIEW.replace("6\n", "6\tStop\n"), read),
        (f"{LABVIEW}3,0\t1,8\n", read), ("a;b;c\n1,5;2\n2,5\n", ["a"]),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match="as many cells as its header"):
            rows_of(open_table(tmp_path, content, columns))


def test_names_that_begin_like_a_comment_are_names(tmp_path):
    for content in ("#id,a,b\nx,1,2\ny,3,4\n", "#id,a,b\n5,1,2\n6,3,4\n"):
        assert rows_of(open_table(tmp_path, content, ["b", "a"])) == [(2, 1), (4, 3)]
    assert rows_of(open_table(tmp_path, content, ["#id"])) == [(5,), (6,)]
    assert rows_of(open_table(tmp_path, content)) == [(5, 1, 2), (6, 3, 4)]


def test_blanks_are_no_separators_where_a_name_has_one(tmp_path):
    content = "my value\n1 299\n2 500\n"
    assert rows_of(open_table(tmp_path, content, ["my value"], "a.txt")) == [(1299,), (2500,)]


def test_a_short_name_must_mean_one_column(tmp_path):
    content = "flow [t/h],flow [kg/h],flow\n1,2,3\n"
    assert rows_of(open_table(tmp_path, content, ["flow", "flow [kg/h]"])) == [(3, 2)]
    with pytest.raises(ValueError, match="one column 'flow', but it has 2"):
        open_table(tmp_path, "flow [t/h],flow [kg/h]\n1,2\n", ["flow"])


@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " "])
def test_what_is_written_has_the_separator_and_the_decimal_that_were_read(
    separator, decimal, tmp_path
):
    text = io.StringIO()
    write = csv.writer(text, delimiter=separator, lineterminator="\n")
    write.writerows([["a", "b"], *([str(x).replace(".", decimal) for x in row] for row in ROWS)])
    reader = open_table(tmp_path, text.getvalue(), name="a.txt")
    frame = polars.concat(reader.read())
    with TableWriter(tmp_path / "b.csv", reader.found) as writer:
        writer.write(frame.to_dict())
    expected = text.getvalue() if separator != " " else ""
    written = (tmp_path / "b.csv").read_text()
    assert written.replace(f"{decimal}0", "") == expected.replace(f"{decimal}0", "") or not expected
    assert rows_of(TableReader(tmp_path / "b.csv")) == ROWS
