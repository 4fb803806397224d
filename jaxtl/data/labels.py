"""A table of image files and their labels, a CSV file or data frames, as a data set."""

import contextlib
import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxtl.data.collection import Collection
from jaxtl.data.folder import SPLITS, collect
from jaxtl.data.image_files import composed, shown
from jaxtl.data.options import ImageOptions
from jaxtl.errors import UserError, nearest

PATH, LABEL, SPLIT = "path", "label", "split"
_SPLIT_OF = {name: split for split, names in SPLITS.items() for name in names}


class Row(NamedTuple):
    """An image file: its place in the table, for error messages; its path, its class, its split (``None``: none)."""

    where: str
    path: str
    label: str
    split: str | None


def read_table(file: Path) -> list[Row]:
    """Read a CSV file with the columns ``path``, ``label`` and optionally ``split``; other columns are ignored.

    Values are separated by commas, semicolons or tabs, as in the first line; the text is UTF-8, with or without a mark.

    Raises:
      UserError: the file cannot be read, lacks a column, or a line has too few or too many values.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"The table {file} cannot be read ({error.strerror or error}); correct data.labels.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"The table {file} is not UTF-8 text; save it as a CSV file in UTF-8.") from error
    separator = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows = []
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        _check_columns(header, str(file))
        for values in filter(lambda values: any(map(str.strip, values)), reader):
            where = f"Line {reader.line_num} of {file}"
            if len(values) != len(header):
                raise UserError(
                    f"{where} has {len(values)} values, but the first line names {len(header)} columns; put a value "
                    "with a separator in it between double quotes."
                )
            named = dict(zip(header, map(str.strip, values), strict=True))
            rows.append(Row(where, named[PATH], named[LABEL], named.get(SPLIT)))
    except csv.Error as error:
        raise UserError(f"Line {reader.line_num} of {file} is not CSV ({error}); correct its quotes.") from error
    return rows


def is_frame(images: Any) -> bool:
    """Whether something is a data frame, of pandas or of another library with named columns."""
    return hasattr(images, "columns") and hasattr(images, "__getitem__")


def frame_rows(frames: Mapping[str, Any]) -> list[Row]:
    """The rows of data frames with the columns ``path`` and ``label``.

    Args:
      frames: by split, ``train``, ``val``, ``test``. A single one, of ``train``, may have a column ``split`` instead.

    Raises:
      UserError: one of them is not a data frame, or lacks a column.
    """
    rows: list[Row] = []
    for split, frame in frames.items():
        name = f"the data frame of {split}"
        if not is_frame(frame):
            raise UserError(f"{split} is not a data frame, but others are; give all splits in one form.")
        _check_columns(list(frame.columns), name)
        splits: Iterable[str | None] = [split if len(frames) > 1 else None] * len(frame)
        if len(frames) == 1 and SPLIT in frame.columns:
            splits = map(_text, frame[SPLIT])
        columns = map(_text, frame[PATH]), map(_text, frame[LABEL]), splits
        rows += [Row(f"Row {i} of {name}", *values) for i, values in enumerate(zip(*columns, strict=True))]
    return rows


def _text(value: Any) -> str:
    """The value of a cell; an empty one is ``None``, not equal to itself, or ``pandas.NA``, whose truth is an error."""
    with contextlib.suppress(TypeError):
        return "" if value is None or value != value else str(value).strip()
    return ""


def _check_columns(names: list[Any], table: str) -> None:
    for column in (PATH, LABEL):
        if column not in names:
            there = ", ".join(repr(name) for name in names) or "none"
            raise UserError(f"A column {column!r} is missing in {table}, which has: {there}; add or rename it.")
        if names.count(column) > 1:
            raise UserError(f"The column {column!r} is twice in {table}; rename one of the two.")


def scan(rows: Sequence[Row], root: Path, table: str, options: ImageOptions) -> Collection:
    """Look at the rows of a table, whose paths are relative to ``root``; no image is opened.

    Without a column of splits it is split here, stratified by class. With ``val`` and without ``test``, ``val`` becomes
    the test, as in a folder.

    Raises:
      UserError: a file is missing or named twice; a label is empty; a split is unknown; there is no training image, or
        there are fewer than two classes.
    """
    root = root.absolute()
    found: dict[str, dict[str, list[str]]] = {}
    places: dict[str, str] = {}
    for where, name, label, split_name in rows:
        if empty := [column for column, value in ((PATH, name), (LABEL, label), (SPLIT, split_name)) if value == ""]:
            raise UserError(f"{where} has no {empty[0]}; fill it in, or remove the row.")
        if (split := _SPLIT_OF.get((split_name or "train").lower())) is None:
            known = nearest(str(split_name), SPLITS)
            raise UserError(f"{where} has the split {split_name!r}, which does not exist; {known}")
        if "\\" in name and not os.path.isfile(os.path.join(root, name)):  # noqa: PTH113, PTH118 (as below)
            name = name.replace("\\", "/")  # of a table that Windows wrote
        file = os.path.normpath(os.path.join(root, name))  # noqa: PTH118 (quicker, for long tables)
        if before := places.get(file):
            again = f"{where} names {shown(name)} again, after {before[0].lower()}{before[1:]}"
            raise UserError(f"{again}; remove one of the two.")
        if not os.path.isfile(file):  # noqa: PTH113 (false, not an error, for a name that is too long)
            raise UserError(f"{where} names {shown(name)}, but {root} has no such file; correct it, or set data.dir.")
        places[file] = where
        found.setdefault(split, {}).setdefault(composed(label), []).append(os.path.normpath(name))
    if "train" not in found:
        raise UserError(f"No row of {table} names an image to train on; give some the split 'train'.")
    labels = {label for classes in found.values() for label in classes}
    if len(labels) < 2:
        raise UserError(f"All rows of {table} have the label {labels.pop()!r}; a classifier needs two or more.")
    return collect(table, root, found, [], options)
