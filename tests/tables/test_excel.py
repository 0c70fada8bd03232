"""Workbooks: the first sheet is a table; its numbers are numbers, whatever a text looks like."""

import re
import zipfile
from xml.sax.saxutils import escape

import numpy as np
import polars
import pytest

from lightning_invert.tables import FormatError, TableReader

SPACE = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
KIND = "application/vnd.openxmlformats-officedocument.spreadsheetml"


def save_workbook(path, rows):
    """Write the smallest workbook with one sheet; an error is a text that begins with #."""

    def cell(value):
        if isinstance(value, str):
            if value.startswith("#"):
                return f'<c t="e"><v>{value}</v></c>'
            return f'<c t="inlineStr"><is><t>{escape(value)}</t></is></c>'
        return "<c/>" if value is None else f"<c><v>{value!r}</v></c>"

    lines = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" '
        f'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default '
        f'Extension="xml" ContentType="{KIND}.worksheet+xml"/><Override PartName="/xl/workbook.xml" '
        f'ContentType="{KIND}.sheet.main+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r1" '
        f'Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {SPACE} xmlns:r="{OFFICE}"><sheets><sheet name="Daten" '
        'sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship '
        f'Id="r1" Type="{OFFICE}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f"<worksheet {SPACE}><sheetData>{lines}</sheetData></worksheet>",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return path


def rows_of(path, *columns):
    return polars.concat(TableReader(path, columns or None).read()).fill_nan(None).rows()


@pytest.fixture
def workbook(tmp_path):
    pytest.importorskip("fastexcel", reason="the extra `excel` is not installed")
    return lambda *rows: save_workbook(tmp_path / "a.xlsx", rows)


def test_numbers_of_a_workbook_are_read_exactly(workbook):
    numbers = np.random.default_rng(0).standard_normal((200, 2)) * 10.0 ** np.arange(-7, 13, 10)
    path = workbook(["a", "b [t/h]"], *numbers.tolist())
    assert rows_of(path) == [tuple(row) for row in numbers.tolist()]
    assert TableReader(path).units == {"a": "", "b [t/h]": "t/h"}
    assert rows_of(path, "b")[3] == (numbers[3, 1],)


def test_a_workbook_has_titles_units_and_words_too(workbook):
    path = workbook(
        ["Report"], [], ["t", "a", "b"], [None, "°C", "t/h"],
        ["Monday", 1.299, "Bad Input"], ["Tuesday", "#DIV/0!", 2], [None, 3, None],
    )  # fmt: skip
    reader = TableReader(path, ["a", "b"])
    assert rows_of(path, "a", "b") == [(1.299, None), (None, 2), (3, None)]
    assert reader.units == {"a": "°C", "b": "t/h"}
    assert "is read with skip_rows 2, units_row 1" in reader.note
    assert reader.row_name(1) == "row 6"


def test_a_text_in_a_workbook_is_no_number_with_a_decimal_comma(workbook):
    path = workbook(["a", "b"], [1.299, "0,5"], [2.5, "0,7"])
    with pytest.raises(
        FormatError, match=r"'b' \(2, the first in row 2: '0,5'\).* cell of numbers"
    ):
        rows_of(path)
    assert rows_of(path, "a") == [(1.299,), (2.5,)]


def test_without_the_reader_of_workbooks_its_installation_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fastexcel", None)
    monkeypatch.setattr("polars.io.spreadsheet.functions.import_optional", _missing)
    path = save_workbook(tmp_path / "a.xlsx", [["a"], [1.5]])
    words = re.escape("pip install 'lightning-invert[excel]'")
    with pytest.raises(ImportError, match=f"fastexcel, with which .*{words}"):
        TableReader(path)


def _missing(*_, **__):
    raise ModuleNotFoundError("required package 'fastexcel' not found")
