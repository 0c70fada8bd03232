"""Two doors for data, one verdict: a fit and an analysis take the same files in the same way.

A fit goes through :class:`TabularDataModule`, ``lightning-invert analyze --data`` through
``cli.analyze`` and :class:`PointSource`. Both take a table with identical values, or both refuse it
with an error that names the file. One thing differs by design: an analysis counts a point that is
not finite (``nonfinite_fraction``), a fit leaves its row out (``on_missing="drop"``) or refuses it
(``on_missing="raise"``).
"""

import csv
import datetime
import gzip
import io
import math
import warnings

import numpy as np
import polars
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from lightning_invert.analysis.points import PointSource
from lightning_invert.cli.analyze import _points, _Task
from lightning_invert.datamodules import TabularDataModule
from lightning_invert.watch.maps import resolve_maps

FUZZ = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SPELLED = st.one_of(
    FLOATS.map(repr),
    st.floats(-1e307, 1e307).map("{:.3e}".format),
    FLOATS.map("{:+.17g}".format),
    st.integers(-(10**25), 10**25).map(str),
    st.integers(0, 999).map("{:05d}".format),
)
MISSING = st.sampled_from(["", " ", '""', "nan", "NaN", "-nan", "inf", "-inf", "Infinity"])
ODD = st.sampled_from(
    [
        "true",
        "False",
        "True",
        "1e400",
        "-1e999",
        "1e-400",
        "0x10",
        "1_000",
        "١٢",
        "１２",
        "5%",
        ".5",
        "5.",
        "1e5",
        "1E+05",
        "+",
        "-",
        "1e",
        "NA",
        "null",
        "None",
        "yes",
        "−5",
        "1d5",
        "\xa05",
        "5\u3000",
        "1f",
        "TRUE",
        "9007199254740993",
        "4.9e-324",
        "\x00",
        "1\x00",
        "\x0b7",
        "ä",
    ]
)
WRITTEN = st.one_of(SPELLED, MISSING)
RARE = st.one_of(ODD, ODD, ODD, st.text(max_size=4))
TIDY = st.one_of(SPELLED, st.sampled_from(["true", "False", "1E+05", ".5", "5.", "0"]))
NAMES = st.one_of(
    st.sampled_from(["a", "b", "c", "d", "time", "a b", "x [m]", "größe", "*", "^a$", "0", "1"]),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6),
)


@st.composite
def tables(draw, cells, names, odd):
    """The bytes of a text file, its separator, and names of columns that might be there."""
    n = draw(st.integers(2, 4))
    separator = draw(st.sampled_from(",\t"))
    alike = odd and draw(st.integers(0, 9)) == 9
    header = draw(
        st.lists(names, min_size=n, max_size=n, unique_by=None if alike else lambda s: s.strip())
    )
    rows = [draw(st.lists(cells, min_size=n, max_size=n)) for _ in range(draw(st.integers(0, 6)))]
    if odd and rows and draw(st.booleans()):
        draw(st.sampled_from(rows))[draw(st.integers(0, n - 1))] = draw(RARE)
    quoting = draw(st.sampled_from([None, csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
    end = draw(st.sampled_from(["\n", "\r\n"] * 3 + ["\r"] * odd))
    buffer = io.StringIO()
    if quoting is None:
        buffer.write(end.join(separator.join(row) for row in [header, *rows]))
    else:
        writer = csv.writer(buffer, delimiter=separator, quoting=quoting, lineterminator=end)
        writer.writerows([header, *rows])
    lines = buffer.getvalue().split(end)
    if odd:
        for _ in range(draw(st.integers(0, 2))):
            place = draw(st.integers(0, len(lines)))
            some = ["", "  ", separator, "1", f"1{separator}2", '"', f'"1{separator}', "\t", "# no"]
            lines.insert(place, draw(st.sampled_from(some)))
    text = end.join(lines) + draw(st.sampled_from(["", end]))
    bom, encoding = "", "utf-8"
    if odd:
        bom = draw(st.sampled_from(["", "", "\ufeff"]))
        encoding = draw(st.sampled_from(["utf-8"] * 12 + ["latin-1", "utf-16", "utf-16-le"]))
    content = (bom + text).encode(encoding, "replace")
    wanted = draw(st.permutations([name.strip() for name in header]))
    return content, separator, wanted


def fit_reads(path, wanted, separator):
    """Return the rows that a fit takes."""
    data = TabularDataModule(path, wanted[:-1], wanted[-1:], separator=separator, on_missing="drop")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*rows of .* lack a finite value")
        return torch.cat(data.load(), 1).numpy()


def analysis_reads(path, wanted):
    """Return the rows that an analysis takes."""
    (watched,) = resolve_maps({"f": ""}, nn.Linear(len(wanted), 1).double())
    points = _points(str(path), _Task(watched, tuple(wanted)))
    pieces = list(PointSource(points, watched, double=False))
    return torch.cat([piece.inputs for piece in pieces]).numpy()


def verdict(read, path, *args):
    """Return rows, or an error that names the file and is in our own words."""
    try:
        return read(path, *args)
    except (ValueError, FileNotFoundError) as error:
        refused = error
    assert repr(str(path)) in str(refused)
    assert "schema" not in str(refused).replace(str(path), "").lower()
    return refused


def same(path, wanted, separator=","):
    """Demand the same verdict of both doors, and return it: rows or an error."""
    of_fit = verdict(fit_reads, path, wanted, separator)
    of_analysis = verdict(analysis_reads, path, wanted)
    if isinstance(of_analysis, Exception):
        assert type(of_fit) is type(of_analysis), (of_fit, of_analysis)
        assert str(of_fit) == str(of_analysis)
        return of_analysis
    assert not isinstance(of_fit, Exception), of_fit
    finite = np.isfinite(of_analysis).all(1)
    np.testing.assert_array_equal(of_fit, of_analysis[finite])
    return of_analysis


def by_python(content, separator, wanted):
    """Read a table with Python's own parsers: blank lines are rows without values."""
    rows = list(
        csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=separator)
    )
    rows = rows[next(i for i, row in enumerate(rows) if "".join(row).strip()) :]
    header = [name.strip() for name in rows[0]]
    places = [header.index(name) for name in wanted]
    truth = {"": math.nan, "true": 1.0, "True": 1.0, "false": 0.0, "False": 0.0}

    def number(row, place):
        cell = row[place].strip() if place < len(row) else ""
        return truth[cell] if cell in truth else float(cell)

    return np.array([[number(row, place) for place in places] for row in rows[1:]])


def written(folder, content, separator, packed):
    name = f"points.{'csv' if separator == ',' else 'tsv'}{'.gz' if packed else ''}"
    (folder / name).write_bytes(gzip.compress(content) if packed else content)
    return folder / name


@FUZZ
@given(
    tables(TIDY, st.sampled_from(["a", "b", "c", "d", "a b", "größe", "*"]), odd=False),
    st.booleans(),
)
def test_tidy_tables_are_taken_with_the_values_that_python_reads(tmp_path, table, packed):
    content, separator, wanted = table
    path = written(tmp_path, content, separator, packed)
    found = same(path, wanted, separator)
    expected = by_python(content, separator, wanted)
    if len(expected) == 0:
        assert "at least one row" in str(found)
    else:
        np.testing.assert_array_equal(found, expected)


@settings(FUZZ, max_examples=400)
@given(tables(WRITTEN, NAMES, odd=True), st.booleans())
def test_odd_tables_get_one_verdict_and_no_value_that_python_does_not_read(tmp_path, table, packed):
    content, separator, wanted = table
    path = written(tmp_path, content, separator, packed)
    if len({*wanted}) < len(wanted):
        for read, options in ((fit_reads, (wanted, separator)), (analysis_reads, (wanted,))):
            with pytest.raises(ValueError, match=r"once|no column in common"):
                read(path, *options)
        return
    found = same(path, wanted, separator)
    if not isinstance(found, Exception):
        np.testing.assert_array_equal(found, by_python(content, separator, wanted))


@FUZZ
@given(st.binary(max_size=60), st.sampled_from(["csv", "tsv", "csv.gz", "parquet", "pq"]))
def test_any_bytes_get_one_verdict(tmp_path, content, kind):
    path = tmp_path / f"points.{kind}"
    path.write_bytes(content)
    same(path, ["a", "b"], "\t" if kind == "tsv" else ",")


@FUZZ
@given(st.data())
def test_a_damaged_file_gets_one_verdict(tmp_path, data):
    frame = polars.DataFrame({"a": [1.0, 2.5, None], "b": [3, 4, 5]})
    kind = data.draw(st.sampled_from(["csv", "csv.gz", "parquet"]))
    path = tmp_path / f"points.{kind}"
    if kind == "parquet":
        frame.write_parquet(path)
    else:
        text = frame.write_csv().encode()
        path.write_bytes(gzip.compress(text) if kind == "csv.gz" else text)
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    same(path, ["a", "b"])


NUMERIC = {
    polars.Float64: st.floats(),
    polars.Float32: st.floats(width=32),
    polars.Int64: st.integers(-(2**63), 2**63 - 1),
    polars.UInt64: st.integers(0, 2**64 - 1),
    polars.Int8: st.integers(-128, 127),
    polars.Boolean: st.booleans(),
}
OTHER = {
    polars.String: st.sampled_from(["1", "a"]),
    polars.Date: st.dates(),
    polars.Datetime: st.datetimes(min_value=datetime.datetime(1970, 1, 1)),
    polars.Duration: st.timedeltas(datetime.timedelta(0), max_value=datetime.timedelta(days=9)),
    polars.List(polars.Float64): st.lists(st.floats(), max_size=2),
    polars.Struct({"x": polars.Int64}): st.fixed_dictionaries({"x": st.integers(0, 9)}),
    polars.Categorical: st.sampled_from(["1", "a"]),
    polars.Binary: st.binary(max_size=2),
}


@FUZZ
@given(st.data())
def test_parquet_files_of_any_types_get_one_verdict(tmp_path, data):
    types = {**NUMERIC, **OTHER} if data.draw(st.booleans()) else NUMERIC
    names = data.draw(st.lists(NAMES, min_size=2, max_size=4, unique=True))
    rows = data.draw(st.integers(0, 5))
    columns = {}
    for name in names:
        kind = data.draw(st.sampled_from(list(types)))
        values = st.one_of(types[kind], types[kind], st.none())
        cells = data.draw(st.lists(values, min_size=rows, max_size=rows))
        columns[name] = polars.Series(cells, dtype=kind)
    path = tmp_path / f"points.{data.draw(st.sampled_from(['parquet', 'pq']))}"
    polars.DataFrame(columns).write_parquet(path)
    wanted = data.draw(st.permutations(names))
    found = same(path, wanted)
    takes = rows > 0 and all(column.dtype in NUMERIC for column in columns.values())
    assert isinstance(found, Exception) != takes
    if takes:
        expected = [
            [math.nan if cell is None else float(cell) for cell in columns[name].to_list()]
            for name in wanted
        ]
        np.testing.assert_array_equal(found, np.array(expected).T)


@pytest.mark.parametrize(
    "name", ["nothing.csv", "folder.csv", "points.txt", "points[1].csv", "*.csv"]
)
def test_what_is_no_file_of_a_table_gets_one_verdict(name, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "points.txt").write_text("a,b\n1,2\n")
    (tmp_path / "points1.csv").write_text("a,b\n1,2\n")
    assert isinstance(same(tmp_path / name, ["a", "b"]), Exception)


def test_a_row_that_is_not_finite_is_counted_by_one_door_and_refused_or_left_out_by_the_other(
    tmp_path,
):
    path = tmp_path / "points.csv"
    path.write_text("a,b\n1,2\n3,\ninf,4\n5,6\n")
    assert len(analysis_reads(path, ["a", "b"])) == 4
    assert fit_reads(path, ["a", "b"], ",").tolist() == [[1, 2], [5, 6]]
    with pytest.raises(ValueError, match=r"2 of 4 rows .* line 3, column 'b'"):
        TabularDataModule(path, ["a"], ["b"]).load()
