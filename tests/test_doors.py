"""Fuzzed tables: a fit and an analysis read the values that Python reads, or refuse the file by name.

A fit reads through :class:`TabularDataModule`, an analysis through ``TableReader``. One thing
differs: an analysis counts a row that is not finite, a fit leaves it out or refuses it.
"""

import csv
import gzip
import io
import math
import re
import warnings

import numpy as np
import polars
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st

from lightning_invert.datamodules import TabularDataModule
from lightning_invert.tables import TableFormat, TableReader
from lightning_invert.tables.cells import FLAGS, MISSING as MISSING_WORDS

FUZZ = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

PLAIN = {"decimal": ".", "thousands": "", "encoding": "utf-8", "skip_rows": 0, "units_row": 0}

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
NUMBERS = st.one_of(
    FLOATS.map(repr),
    FLOATS.map("{:+.17g}".format),
    st.integers(-(10**25), 10**25).map(str),
    st.sampled_from(["true", "False", "1E+05", ".5", "5.", "007"]),
)
MISSING = st.sampled_from(["", " ", '""', "nan", "NaN", "inf", "-Infinity"])
ODD = st.one_of(
    st.sampled_from(["1e400", "0x10", "1_000", "5%", "NA", "TRUE", "\xa05", "1\x00", "\x0b7", "ä"]),
    st.text(max_size=4),
)
WORDS = dict.fromkeys(["", *MISSING_WORDS], math.nan) | FLAGS


@st.composite
def tables(draw, cells, *, odd):
    """The bytes of a text file, its separator and the names of its columns."""
    columns, separator = draw(st.integers(2, 4)), draw(st.sampled_from(",\t"))
    names = st.sampled_from(["a", "b", "c", "d", "a b", "größe", "*", "^a$", "0"])
    header = draw(st.lists(names, min_size=columns, max_size=columns, unique=True))
    row = st.lists(cells, min_size=columns, max_size=columns)
    rows = draw(st.lists(row, max_size=6))
    if odd and rows and draw(st.booleans()):
        draw(st.sampled_from(rows))[draw(st.integers(0, columns - 1))] = draw(ODD)
    quoting = draw(st.sampled_from([None, csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
    end = draw(st.sampled_from(["\n", "\r\n"] * 3 + ["\r"] * odd))
    buffer = io.StringIO()
    if quoting is None:
        buffer.write(end.join(separator.join(cells) for cells in [header, *rows]))
    else:
        writer = csv.writer(buffer, delimiter=separator, quoting=quoting, lineterminator=end)
        writer.writerows([header, *rows])
    lines = buffer.getvalue().split(end)
    for _ in range(draw(st.integers(0, 2)) * odd):
        extra = ["", "  ", separator, "1", f"1{separator}2", '"', f'"1{separator}', "# no"]
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(extra)))
    text = end.join(lines) + draw(st.sampled_from(["", end]))
    encoding = draw(st.sampled_from(["utf-8"] * 9 + ["utf-8-sig", "latin-1", "utf-16"] * odd))
    return text.encode(encoding, "replace"), separator, draw(st.permutations(header))


def read_fit(path, names):
    """Return the rows that a fit takes."""
    form = {**PLAIN, "separator": ","}
    data = TabularDataModule(path, names[:-1], names[-1:], on_missing="drop", **form)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*rows of .* lack a finite value")
        return torch.cat(data.load(), 1).numpy()


def read_analysis(path, names):
    """Return the rows that an analysis takes."""
    reader = TableReader(path, names, TableFormat(separator=",", **PLAIN))
    return polars.concat(reader.read(rows_at_once=2)).to_numpy()


def verdict(read, path, names):
    """Return the rows, or the message of an error that names the file in our own words."""
    try:
        return read(path, names)
    except (ValueError, FileNotFoundError) as error:
        message = str(error)
    assert repr(str(path)) in message
    assert "schema" not in message.replace(str(path), "").lower()
    return message


def check_both_doors(path, names):
    """Return the rows or the message that both doors agree on."""
    fit, analysis = verdict(read_fit, path, names), verdict(read_analysis, path, names)
    if isinstance(analysis, str):
        assert fit == analysis
    else:
        np.testing.assert_array_equal(fit, analysis[np.isfinite(analysis).all(1)])
    return analysis


def read_python(content, separator, names):
    """Read a table with Python's own parsers; a blank line is a row without values, but at the end."""
    lines = content.decode("utf-8-sig").split("\n")
    text = io.StringIO("\n".join(line for line in lines if not line.startswith("# ")), newline="")
    rows = list(csv.reader(text, delimiter=separator))
    filled = [i for i, row in enumerate(rows) if "".join(row).strip()]
    rows = rows[filled[0] : filled[-1] + 1]
    places = [[name.strip() for name in rows[0]].index(name) for name in names]

    def number(row, place):
        cell = row[place].strip() if place < len(row) else ""
        cell = cell.removesuffix("%").lower()
        return WORDS[cell] if cell in WORDS else float(re.sub("^[−–]", "-", cell))

    values = [[number(row, place) for place in places] for row in rows[1:]]
    return np.array(values).reshape(len(values), len(names))


@FUZZ
@given(tables(NUMBERS, odd=False), st.booleans())
def test_tidy_tables_are_read_as_python_reads_them(tmp_path, table, packed):
    content, separator, names = table
    path = tmp_path / f"points.{'csv' if separator == ',' else 'tsv'}{'.gz' * packed}"
    path.write_bytes(gzip.compress(content) if packed else content)
    found, expected = check_both_doors(path, names), read_python(content, separator, names)
    if len(expected) == 0:
        assert "at least one row" in found
    else:
        np.testing.assert_array_equal(found, expected)


@settings(FUZZ, max_examples=400)
@given(tables(st.one_of(NUMBERS, MISSING), odd=True))
@pytest.mark.slow
def test_odd_tables_are_read_as_python_reads_them_or_refused(tmp_path, table):
    content, separator, names = table
    path = tmp_path / f"points.{'csv' if separator == ',' else 'tsv'}"
    path.write_bytes(content)
    found = check_both_doors(path, names)
    if not isinstance(found, str):
        np.testing.assert_array_equal(found, read_python(content, separator, names))


@FUZZ
@given(st.data())
def test_any_bytes_and_any_damage_get_one_verdict(tmp_path, data):
    frame = polars.DataFrame({"a": [1.0, 2.5, None], "b": [3, 4, 5]})
    kind = data.draw(st.sampled_from(["csv", "csv.gz", "parquet"]))
    path = tmp_path / f"points.{kind}"
    if kind == "parquet":
        frame.write_parquet(path)
    else:
        text = frame.write_csv().encode()
        path.write_bytes(gzip.compress(text) if kind == "csv.gz" else text)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    path.write_bytes(data.draw(st.sampled_from([bytes(content), data.draw(st.binary())])))
    check_both_doors(path, ["a", "b"])


def test_a_row_that_is_not_finite_is_counted_or_refused_or_left_out(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("a,b\n1,2\n3,\ninf,4\n5,6\n")
    assert len(read_analysis(path, ["a", "b"])) == 4
    assert read_fit(path, ["a", "b"]).tolist() == [[1, 2], [5, 6]]
    with pytest.raises(ValueError, match=r"2 of 4 rows .* line 3, column 'b'"):
        TabularDataModule(path, ["a"], ["b"]).load()
