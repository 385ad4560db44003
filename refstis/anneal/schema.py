"""The ledger's tables, and how an older ledger is brought to them.

`MIGRATIONS` holds one small function per schema version after the first: a new ledger is made in the present
form at once, an older one goes through the steps that it has not seen.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import sqlalchemy as sa

from refstis.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

__all__ = ["MIGRATIONS", "anneals", "exposures", "files", "marks", "migrate", "products", "runs", "verdicts"]

metadata = sa.MetaData()

schema_version = sa.Table(
    "refstis_schema",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
)

# Content, by checksum: what the headers of a raw say.
exposures = sa.Table(
    "exposures",
    metadata,
    sa.Column("checksum", sa.String(64), primary_key=True),
    sa.Column("rootname", sa.Text, nullable=False, index=True),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("begin_mjd", sa.Double, index=True),
    sa.Column("fault", sa.Text, nullable=False),
    sa.Column("facts", sa.JSON, nullable=False),
)

# Where that content was seen, and how the file looked to the file system.
files = sa.Table(
    "files",
    metadata,
    sa.Column("path", sa.Text, primary_key=True),
    sa.Column("checksum", sa.String(64), sa.ForeignKey("exposures.checksum"), nullable=False, index=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("mtime_ns", sa.BigInteger, nullable=False),
    sa.Column("ctime_ns", sa.BigInteger, nullable=False),
    # Inodes of some file systems do not fit a signed 64-bit column.
    sa.Column("inode", sa.Text, nullable=False),
    sa.Column("checked_ns", sa.BigInteger, nullable=False),
)

# Judgements of exposures; the last one of an exposure holds.
marks = sa.Table(
    "marks",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("rootname", sa.Text, nullable=False, index=True),
    sa.Column("bad", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("marked", sa.Text, nullable=False),
)

# Anneals on top of the table in use; rows are only ever added.
anneals = sa.Table(
    "anneals",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("begin_mjd", sa.Double, nullable=False),
    sa.Column("end_mjd", sa.Double),
    sa.Column("proposal", sa.Text, nullable=False),
    sa.Column("visit", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("remark", sa.Text, nullable=False),
    sa.Column("added", sa.Text, nullable=False),
)

products = sa.Table(
    "products",
    metadata,
    sa.Column("path", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("month", sa.Text, nullable=False, index=True),
    sa.Column("key", sa.String(64), nullable=False),
    sa.Column("checksum", sa.String(64), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("mtime_ns", sa.BigInteger, nullable=False),
    sa.Column("ctime_ns", sa.BigInteger, nullable=False),
    sa.Column("inode", sa.Text, nullable=False),
    sa.Column("provisional", sa.Boolean, nullable=False),
    sa.Column("record", sa.JSON, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("made", sa.Text, nullable=False),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("began", sa.Text, nullable=False),
    sa.Column("ended", sa.Text),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("details", sa.JSON, nullable=False),
)

verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("product", sa.Text, nullable=False, index=True),
    sa.Column("checksum", sa.String(64), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("figure", sa.Double),
    sa.Column("limit", sa.Double),
    sa.Column("judged", sa.Text, nullable=False),
)

# version: what turns a ledger of the version before into one of this version.
MIGRATIONS: Mapping[int, Callable[["Connection"], None]] = {}

# Any number will do, as long as nobody else uses it for an advisory lock in the same data base.
_POSTGRESQL_LOCK = 7_380_183


def migrate(engine: "Engine", migrations: Mapping[int, Callable[["Connection"], None]] = MIGRATIONS) -> None:
    """Make the tables of a new ledger, or bring an older one to the present schema.

    Parameters
    ----------
    engine : sqlalchemy.engine.Engine
        Of the data base.
    migrations : mapping
        Version number, from 2, to the function that leads to it.

    Raises
    ------
    refstis.errors.ConfigurationError
        Where a newer refstis made the ledger.
    """
    present = max(migrations, default=1)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if _version(connection) == present:
            return
    with engine.begin() as connection:
        # Of two processes that open a new ledger at once, one waits here (SQLite: at BEGIN IMMEDIATE).
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_POSTGRESQL_LOCK)))
        found = _version(connection)
        if found is None:
            metadata.create_all(connection)
            connection.execute(schema_version.insert().values(version=present))
            return
        if found > present:
            raise ConfigurationError(
                f"this ledger was made by a newer refstis (schema {found}, this one knows {present}); "
                "update refstis or name another ledger with --ledger"
            )
        for version in range(found + 1, present + 1):
            migrations[version](connection)
        connection.execute(schema_version.update().values(version=present))


def _version(connection: "Connection") -> int | None:
    if not sa.inspect(connection).has_table(schema_version.name):
        return None
    return connection.execute(sa.select(sa.func.max(schema_version.c.version))).scalar()
