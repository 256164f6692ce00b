"""A source of rows from any database with a DB-API 2.0 module (PEP 249), and a sink into SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from headrace.connectors.files import PATH, AnyPath
from headrace.settings import function, text, whole_number


@frozen
class SqlQuery:
    """The rows that a query gives, as the database module has them (tuples, mostly), `fetch` at a time.

    connect     called without arguments for a connection, which is made, used and closed in the one thread that pulls
    parameters  of the query, as the module takes them

        SqlQuery(partial(sqlite3.connect, "shop.db"), "SELECT id, name FROM customers WHERE city = ?", ("Basel",))
    """

    connect: Callable[[], Any] = field(validator=function(of="a function that makes a connection"))
    query: str = field(validator=text(of="a query"))
    parameters: Sequence[Any] | Mapping[str, Any] = ()
    fetch: int = field(default=1_000, kw_only=True, validator=whole_number(at_least=1, of="rows"))

    def __call__(self) -> Iterator[Any]:
        connection = self.connect()
        try:
            cursor = connection.cursor()
            cursor.execute(self.query, self.parameters)
            while rows := cursor.fetchmany(self.fetch):
                yield from rows
        finally:
            connection.close()


class SQLiteSink:
    """Writes rows into a SQLite database: `statement` with each item as its parameters, a tuple or a dict.

        .sink("store", SQLiteSink("shop.db", "INSERT INTO sales VALUES (:day, :total)"))

    Each batch of items is a transaction: it is there whole or not at all, and what is counted as done was committed. A
    run that fails keeps what was committed before. The table must exist.
    """

    def __init__(self, path: AnyPath, statement: str) -> None:
        PATH.check("SQLiteSink.path", path)
        text(of="a statement").check("SQLiteSink.statement", statement)
        self.path = path
        self.statement = statement
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        # The thread that writes is one, but another may close.
        self._connection = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)

    def write(self, items: Sequence[Any]) -> None:
        connection = self._connection
        assert connection is not None
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(self.statement, items)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __repr__(self) -> str:
        return f"SQLiteSink({self.path!r}, {self.statement!r})"
