"""What a list is to hold: filters, order and page, as data, and the SQL they become."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Integer, and_, cast, false, or_, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

Conditions = Mapping[str, Any]  # column → its value (None: NULL), or a tuple of values of which it has any


@dataclass(frozen=True, slots=True)
class Selection:
    """All of `equal`, one of each group in `any_of` (an empty group: nothing), `patterns` found (column → regular expression), and changed in between.

    `sort` is (column, "asc" or "desc") pairs, of which the last must be unique; `marker` is the row after which the page begins, by its uuid. With `projects`,
    only what is of these is there, and so it is with the marker; None: all.
    """

    equal: Conditions = field(default_factory=dict)
    any_of: Sequence[Sequence[Conditions]] = ()
    patterns: Mapping[str, str] = field(default_factory=dict)
    changed_since: datetime | None = None
    changed_before: datetime | None = None
    sort: Sequence[tuple[str, str]] = (("created_at", "desc"), ("uuid", "desc"))
    limit: int | None = None
    marker: str | None = None
    projects: Collection[str] | None = None

    def shows(self, project: str) -> bool:
        """Whether what is of a project is there."""
        return self.projects is None or project in self.projects


class _Exact(FunctionElement[str]):
    """A column whose texts are compared letter by letter: by MariaDB's usual collation "shop", "Shop" and "shop " are the same."""

    inherit_cache = True


@compiles(_Exact)
def _as_it_is(element: _Exact, compiler: Any, **words: Any) -> str:
    return str(compiler.process(element.clauses, **words))


@compiles(_Exact, "mysql", "mariadb")
def _binary(element: _Exact, compiler: Any, **words: Any) -> str:
    return f"BINARY CONVERT({compiler.process(element.clauses, **words)} USING utf8mb4)"  # as the connection has the other side


def of_projects(column: Any, projects: Collection[str]) -> ColumnElement[bool]:
    """The rows of these projects and of no other: by the index, and then exactly."""
    names = list(projects)
    return and_(column.in_(names), _Exact(column).in_(names))


def narrowed(query: Any, model: Any, selection: Selection) -> Any:
    """The query with the selection's filters."""
    rules = [_all(model, selection.equal)]
    rules += [or_(*(_all(model, conditions) for conditions in group)) if group else _never(model) for group in selection.any_of]
    rules += [getattr(model, column).regexp_match(pattern) for column, pattern in selection.patterns.items()]
    if selection.projects is not None:
        rules.append(of_projects(model.project_id, selection.projects))
    if selection.changed_since is not None:
        rules.append(model.updated_at >= selection.changed_since)
    if selection.changed_before is not None:
        rules.append(model.updated_at <= selection.changed_before)
    return query.where(*rules)


def paged(query: Any, model: Any, selection: Selection, marker: Any) -> Any:
    """The query's one page; `marker` is the row of `selection.marker`.

    Null is the lowest value, on every database. (oslo.db's paginate_query loses rows behind a marker that has nulls.)
    """
    order = [(getattr(model, name), direction == "desc") for name, direction in selection.sort]
    for column, descending in order:
        for each in (column.is_not(None), column) if column.nullable else (column,):
            query = query.order_by(each.desc() if descending else each.asc())
    if marker is not None:
        values = [getattr(marker, name) for name, _direction in selection.sort]
        query = query.where(_behind(order, values))
    return query if selection.limit is None else query.limit(selection.limit)


def _behind(order: Sequence[tuple[Any, bool]], values: Sequence[Any]) -> ColumnElement[bool]:
    """What comes after the row with these values: alike in the first columns, and beyond it in the next."""
    alike = [column.is_(None) if value is None else column == value for (column, _descending), value in zip(order, values, strict=True)]
    return or_(*(and_(*alike[:place], _beyond(column, descending, values[place])) for place, (column, descending) in enumerate(order)))


def _beyond(column: Any, descending: bool, value: Any) -> Any:
    if value is None:
        return false() if descending else column.is_not(None)
    nullable = column.nullable
    if isinstance(column.type, Boolean):  # which no database compares with < and >
        column, value = cast(column, Integer), int(value)
    if not descending:
        return column > value
    return or_(column < value, column.is_(None)) if nullable else column < value


def _all(model: Any, conditions: Conditions) -> ColumnElement[bool]:
    return and_(*(_is(getattr(model, column), value) for column, value in conditions.items()), true())


def _is(column: Any, value: Any) -> ColumnElement[bool]:
    rule: ColumnElement[bool] = column.in_(value) if isinstance(value, tuple) else column.is_(None) if value is None else column == value
    return rule


def _never(model: Any) -> ColumnElement[bool]:
    rule: ColumnElement[bool] = model.uuid.in_(())
    return rule
