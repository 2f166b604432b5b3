"""The database that the workers of a sweep share: SQLite in its folder, or any other that Optuna takes.

Knows addresses and their errors; knows no trial.
"""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from sqlalchemy import event
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from surestep.errors import ConfigError, StorageError
from surestep.files import storage_errors
from surestep.sweep.plan import STUDY

HEARTBEAT_S = 60
"""How often a worker says that it lives; one silent for twice as long is taken for dead."""
_SECONDS_FOR_A_LOCK = 60
"""How long a writer of SQLite waits for another one."""
_TRIES_TO_MAKE_TABLES = 10
"""How often a worker may lose the race for making the tables; each loss means that another one made some of them."""


def address_of(storage: str | None, folder: Path) -> URL:
    """Where the study lies: at `storage`, or in the sweep's own folder.

    Raises:
        ConfigError: `storage` is no address of a database.
    """
    if storage is None:
        return URL.create("sqlite", database=str(folder / STUDY))
    try:
        address = make_url(storage)
        address.get_dialect()
    except NoSuchModuleError:
        raise ConfigError(
            f"--storage: no database is called {storage.partition(':')[0]!r}; write postgresql://USER@HOST/NAME, "
            "mysql://USER@HOST/NAME or sqlite:///FILE"
        ) from None
    except SQLAlchemyError:  # its text is not repeated: it may hold a password
        raise ConfigError(
            "--storage is no address of a database; write postgresql://USER@HOST/NAME, mysql://USER@HOST/NAME or "
            "sqlite:///FILE"
        ) from None
    return address


@contextmanager
def database_errors(address: URL) -> Iterator[None]:
    """Within it, what the database refuses is one `StorageError` that names it, without its password.

    Raises:
        StorageError: it does not answer, or is no database of Optuna's.
    """
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = getattr(error.__cause__ or error, "orig", None) or error
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise StorageError(
            f"the sweep's database {address.render_as_string()} does not answer ({reason}); check that it runs, can be "
            "written and is one of Optuna's"
        ) from None


def open_storage(
    address: URL,
    *,
    when_dead: Callable[[optuna.Study, optuna.trial.FrozenTrial], None],
    heartbeat_s: int = HEARTBEAT_S,
) -> optuna.storages.RDBStorage:
    """The database, with its tables made; `when_dead` is told of each trial whose worker has fallen silent.

    Raises:
        ConfigError: the Python package for that database is missing.
        StorageError: it does not answer.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    options: dict[str, Any] = {"pool_pre_ping": True}
    if address.get_backend_name() == "sqlite":
        options["connect_args"] = {"timeout": _SECONDS_FOR_A_LOCK}
        if address.database:
            with storage_errors(Path(address.database)):
                Path(address.database).parent.mkdir(parents=True, exist_ok=True)
    # Optuna fills {SCHEMA_VERSION} in: braces of a path are not that.
    text = address.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")

    def connect() -> optuna.storages.RDBStorage:
        return optuna.storages.RDBStorage(
            text, engine_kwargs=options, heartbeat_interval=heartbeat_s, heartbeat_stale_trial_callback=when_dead
        )

    with database_errors(address):
        try:
            storage = _once_tables_stand(connect)
        except RuntimeError as error:
            raise StorageError(
                f"the sweep's database {address.render_as_string()} is of another Optuna ({error}); use that "
                "version of it, or begin another sweep"
            ) from None
        except ImportError:
            driver = address.get_dialect().driver
            raise ConfigError(
                f"--storage {address.render_as_string()} needs the Python package {driver}: pip install {driver}"
            ) from None
        if address.get_backend_name() == "sqlite":
            _one_transaction_at_a_time(storage.engine)
        return storage


def _once_tables_stand(connect: Callable[[], optuna.storages.RDBStorage]) -> optuna.storages.RDBStorage:
    """`connect()`, repeated while another worker is making the same tables.

    Optuna looks whether a table stands and then makes it: of two workers that begin on an empty database together, the
    slower one is refused, by a different class of error in each database.
    """
    for tries_left in reversed(range(_TRIES_TO_MAKE_TABLES)):
        try:
            return connect()
        except DBAPIError as error:
            made_by_another = isinstance(error, IntegrityError) or "already exists" in str(error.orig)
            if not made_by_another or not tries_left:
                raise
        time.sleep(random.SystemRandom().uniform(0.02, 0.2))  # apart, so that the same two do not meet again
    raise AssertionError("the last try returns or raises")


def _one_transaction_at_a_time(engine: Engine) -> None:
    """Let each transaction of SQLite hold the database from its beginning.

    Optuna reads whether a trial waits and then takes it, which is safe where rows can be locked. SQLite locks no rows,
    and Python begins its transactions at the first write, behind that read: two workers would take the same trial.
    Source: SQLAlchemy's documentation of pysqlite, on SERIALIZABLE isolation.
    """

    def leave_beginning_to_us(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", leave_beginning_to_us)
    event.listen(engine, "begin", begin)
    engine.dispose()  # connections from before know nothing of it
