"""What a list is to hold: filters, order and page, as data, and the SQL they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from oslo_db.sqlalchemy.utils import paginate_query
from sqlalchemy import ColumnElement, and_, or_, true

Conditions = Mapping[str, Any]  # column → its value (None: NULL), or a tuple of values of which it has any


@dataclass(frozen=True, slots=True)
class Selection:
    """All of `equal`, one of each group in `any_of` (an empty group: nothing), `patterns` found (column → regular expression), and changed in between.

    `sort` is (column, "asc" or "desc") pairs, of which the last must be unique; `marker` is the row after which the page begins, by its uuid.
    """

    equal: Conditions = field(default_factory=dict)
    any_of: Sequence[Sequence[Conditions]] = ()
    patterns: Mapping[str, str] = field(default_factory=dict)
    changed_since: datetime | None = None
    changed_before: datetime | None = None
    sort: Sequence[tuple[str, str]] = (("created_at", "desc"), ("uuid", "desc"))
    limit: int | None = None
    marker: str | None = None


def narrowed(query: Any, model: Any, selection: Selection) -> Any:
    """The query with the selection's filters."""
    rules = [_all(model, selection.equal)]
    rules += [or_(*(_all(model, conditions) for conditions in group)) if group else _never(model) for group in selection.any_of]
    rules += [getattr(model, column).regexp_match(pattern) for column, pattern in selection.patterns.items()]
    if selection.changed_since is not None:
        rules.append(model.updated_at >= selection.changed_since)
    if selection.changed_before is not None:
        rules.append(model.updated_at <= selection.changed_before)
    return query.where(*rules)


def paged(query: Any, model: Any, selection: Selection, marker: Any) -> Any:
    """The query's one page; `marker` is the row of `selection.marker`."""
    keys, directions = zip(*selection.sort, strict=True)
    return paginate_query(query, model, selection.limit, keys, marker, sort_dirs=directions)


def _all(model: Any, conditions: Conditions) -> ColumnElement[bool]:
    return and_(*(_is(getattr(model, column), value) for column, value in conditions.items()), true())


def _is(column: Any, value: Any) -> ColumnElement[bool]:
    rule: ColumnElement[bool] = column.in_(value) if isinstance(value, tuple) else column.is_(None) if value is None else column == value
    return rule


def _never(model: Any) -> ColumnElement[bool]:
    rule: ColumnElement[bool] = model.uuid.in_(())
    return rule
