"""Tables drawn at random: read as Python reads them, or refused by the name of the file.

Everything is drawn from a seed: which tables are tried does not depend on what else is loaded.
"""

import csv
import gzip
import io
import math
import random
import re
import struct

import numpy as np
import polars
import pytest

from lightning_invert.tables import TableFormat, TableReader
from lightning_invert.tables.cells import FLAGS, MISSING

PLAIN = TableFormat(separator=",", decimal=".", thousands="", encoding="utf-8", skip_rows=0, units_row=0)  # fmt: skip
SPECIAL = ["true", "False", "1E+05", ".5", "5.", "007", "\u22127", "-0", "1.7976931348623157e308"]
EMPTY = ["", " ", '""', "nan", "NaN", "inf", "-Infinity", "N/A", "#N/A"]
ODD = ["1e400", "0x10", "1_000", "5%", "TRUE", "\xa05", "1\x00", "\x0b7", "ä", "+ 5", "#1", "# 1"]
LETTERS = "0159.,eE+-'%\"#; \t\n\rxä\u0661\u2212\x00"
LINES = ["", "  ", ",", "\t", "1", "1,2", "1\t2", '"', '"1,', "# no", "#no"]
WORDS = dict.fromkeys(["", *MISSING], math.nan) | FLAGS


def draw_number(rng):
    """Draw a number of any size, as text."""
    number = struct.unpack("d", rng.randbytes(8))[0]
    number = number if math.isfinite(number) else 0.1
    texts = [repr(number), f"{number:+.17g}", str(rng.randrange(-(10**25), 10**25))]
    return rng.choice([*texts, repr(rng.randrange(10**6) / 1000), rng.choice(SPECIAL)])


def draw_table(rng, odd):
    """Draw the bytes of a text file, its separator and the names of its columns."""
    columns, separator = rng.randint(2, 4), rng.choice(",\t")
    names = ["a", "b", "c", "d", "a b", "größe", "*", "^a$", "0"]
    rows = [rng.sample(names, columns)]
    for _ in range(rng.randint(0, 6)):
        rows.append([draw_number(rng) for _ in range(columns)])
        if odd and rng.random() < 0.3:
            word = "".join(rng.choices(LETTERS, k=rng.randint(1, 4)))
            rows[-1][rng.randrange(columns)] = rng.choice(
                [rng.choice(EMPTY), rng.choice(ODD), word]
            )
    end = rng.choice(["\n", "\r\n", *["\r"] * (odd and rng.random() < 0.2)])
    quoting = rng.choice([None, csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
    buffer = io.StringIO()
    if quoting is None:
        buffer.write(end.join(separator.join(cells) for cells in rows) + end)
    else:
        writer = csv.writer(
            buffer, delimiter=separator, quoting=quoting, lineterminator=end, escapechar="\\"
        )
        writer.writerows(rows)
    lines = buffer.getvalue().split(end)
    for _ in range(rng.randint(0, 2) * odd):
        lines.insert(rng.randint(0, len(lines)), rng.choice(LINES))
    encoding = rng.choice(["utf-8"] * 9 + ["utf-8-sig", "latin-1", "utf-16"] * odd)
    return end.join(lines).encode(encoding, "replace"), separator, rng.sample(rows[0], columns)


def read_python(content, separator, names):
    """Read a table with Python's own parsers; a blank line is a row without values, but at the end."""
    lines = content.decode("utf-8-sig").replace("\0", "?").split("\n")
    first = [re.split(r"[,;\t|]", line)[0].strip().lower() for line in lines]
    lines = [
        line
        for line, word in zip(lines, first, strict=True)
        if not line.startswith("#") or word in MISSING
    ]
    rows = list(csv.reader(io.StringIO("\n".join(lines), newline=""), delimiter=separator))
    filled = [i for i, row in enumerate(rows) if "".join(row).strip()]
    rows = rows[filled[0] : filled[-1] + 1]
    places = [[name.strip() for name in rows[0]].index(name) for name in names]

    def number(row, place):
        cell = row[place].strip() if place < len(row) else ""
        cell = cell.lower()
        return WORDS[cell] if cell in WORDS else float(re.sub("^[−–]", "-", cell))

    values = [[number(row, place) for place in places] for row in rows[1:]]
    return np.array(values).reshape(len(values), len(names))


def verdict(path, names, form=None, rows_at_once=2):
    """Return the rows, or the message of an error that names the file."""
    try:
        return polars.concat(TableReader(path, names, form).read(rows_at_once)).to_numpy()
    except ValueError as error:
        message = str(error)
    assert repr(str(path)) in message
    return message


@pytest.mark.slow
@pytest.mark.parametrize("odd", [False, True])
def test_tables_are_read_as_python_reads_them_or_refused(odd, tmp_path):
    read = 0
    for seed in range(200):
        content, separator, names = draw_table(random.Random(seed), odd)
        path = tmp_path / f"a.{'csv' if separator == ',' else 'tsv'}{'.gz' * (seed % 2)}"
        path.write_bytes(gzip.compress(content) if seed % 2 else content)
        found = verdict(path, names, PLAIN)
        if not isinstance(found, str):
            np.testing.assert_array_equal(found, read_python(content, separator, names), str(seed))
            read += 1
        elif not odd:
            assert "at least one row" in found
            assert len(read_python(content, separator, names)) == 0
    assert read > 40


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_any_bytes_and_any_damage_are_read_or_refused_by_the_name_of_the_file(kind, tmp_path):
    frame, path = polars.DataFrame({"a": [1.0, 2.5, None], "b": [3, 4, 5]}), tmp_path / f"a.{kind}"
    text = frame.write_csv().encode()
    frame.write_parquet(path)
    whole = {"csv": text, "csv.gz": gzip.compress(text, mtime=0), "parquet": path.read_bytes()}[
        kind
    ]
    for seed in range(100):
        rng, content = random.Random(seed), bytearray(whole)
        for _ in range(rng.randint(0, 3)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        cut = content[: rng.randint(0, len(content))]
        path.write_bytes(rng.choice([content, cut, rng.randbytes(rng.randint(0, 40))]))
        verdict(path, ["a", "b"], rng.choice([None, PLAIN]))


def draw_writing(rng):
    """Draw a table as a plain writer writes it: its bytes, its names and its numbers."""
    decimal, separator = rng.choice(".,"), rng.choice(",;\t|")
    thousands = rng.choice([sign for sign in ["", ",", ".", " ", "'", "\xa0"] if sign != decimal])
    digits = rng.choice([None, 0, 2, 3])
    if separator == "," and digits == 0:
        decimal, thousands = ".", thousands.strip(".")  # who writes commas between cells writes 1.5
    names = ["a, 1", "b [t/h]", "größe"][: rng.randint(1, 3)]
    draws = [
        lambda: float(rng.randint(-(10**9), 10**9)),
        lambda: rng.randint(-(10**7), 10**7) / 1000,
        lambda: rng.randint(0, 99) / 100,
        lambda: float(draw_number(rng).lower().replace("true", "1").replace("false", "0").replace("\u2212", "-")),
    ]  # fmt: skip
    table = [[rng.choice(draws)() for _ in names] for _ in range(rng.randint(1, 9))]

    def write(number):
        if digits is None:
            return repr(number).replace(".", decimal)
        signs = {",": thousands, ".": decimal}
        return "".join(signs.get(sign, sign) for sign in f"{number:,.{digits}f}")

    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=rng.choice(["\n", "\r\n"]))
    text.write(rng.choice(["", f"sep={separator}\n"]))
    writer.writerow(names)
    if rng.random() < 0.5:
        writer.writerow(["°C", "t/h", "-"][: len(names)])
    writer.writerows([map(write, row) for row in table])
    numbers = [[x if digits is None else float(f"{x:.{digits}f}") for x in row] for row in table]
    content = text.getvalue().encode(rng.choice(["utf-8", "utf-8-sig", "cp1252", "utf-16"]))
    return content, names, numbers


@pytest.mark.slow
@pytest.mark.parametrize("lines_seen", [4, 1000])
def test_any_numbers_in_any_format_are_read_exactly_or_refused(lines_seen, tmp_path, monkeypatch):
    for module in ("reader", "decimal_sign"):
        monkeypatch.setattr(f"lightning_invert.tables.{module}.LINES_SEEN", lines_seen)
    read, path = 0, tmp_path / "a.csv"
    for seed in range(200):
        rng = random.Random(seed)
        content, names, numbers = draw_writing(rng)
        columns = rng.choice([names, names[-1:]])
        path.write_bytes(content)
        found = verdict(path, columns)
        if not isinstance(found, str):
            expected = np.array(numbers)[:, [names.index(name) for name in columns]]
            np.testing.assert_array_equal(found, expected, str(seed))
            read += 1
    assert read > 100
