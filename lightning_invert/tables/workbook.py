"""Workbooks, by way of the extra ``excel``."""

from __future__ import annotations

from pathlib import Path

__all__ = ["read_sheet"]


def read_sheet(workbook: Path) -> str:
    """Return the first sheet of a workbook as a text of a line each row."""
    import polars

    def read(kind: str) -> polars.DataFrame:
        return polars.read_excel(
            workbook,
            has_header=False,
            read_options={"skip_rows": 0, "dtypes": kind},
            drop_empty_rows=False,
            drop_empty_cols=False,
            raise_if_empty=False,
        )

    try:
        texts, numbers = read("string"), read("float")
    except ModuleNotFoundError as error:
        raise ImportError(
            f"Expected the package fastexcel, with which {str(workbook)!r} is read, but it is not "
            "installed: pip install 'lightning-invert[excel]'."
        ) from error
    # As text, a number has nine decimal places; as a number, a date has a value.
    is_number = (
        texts[name].cast(polars.Float64, strict=False).is_not_null() for name in texts.columns
    )
    exact = numbers.select(polars.all().cast(polars.String))
    sheet = [
        exact[name].zip_with(
            here & exact[name].is_not_null(), texts[name].str.replace_all("\n", " ")
        )
        for name, here in zip(texts.columns, is_number, strict=True)
    ]
    return polars.DataFrame(sheet).write_csv(include_header=False)
