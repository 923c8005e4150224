"""Journals: answers of servers, kept as they come."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from geointerp.errors import InputError

# "geoJ": by which a journal is told from anybody else's database
_OURS = 0x67656F4A


def name(*parts: Any) -> str:
    """What an answer is filed under: a hash of everything that decides it.

    Parameters
    ----------
    *parts
        What JSON can hold.

    Returns
    -------
    str
        SHA-256 in hexadecimal.
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Journal(AbstractContextManager["Journal"]):
    """Answers in a SQLite file, each on the disk before its question counts as answered.

    Several threads and processes may use one file at a time. A process that is killed leaves
    every answer that `put` was given.

    Parameters
    ----------
    path : path-like, optional
        A file of its own, made if there is none; in memory if not given.

    Raises
    ------
    InputError
        A file that is no journal, or one that cannot be written.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._lock = threading.Lock()
        try:
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            # each statement is a transaction of its own
            self._base = sqlite3.connect(
                self.path or ":memory:", timeout=60, isolation_level=None, check_same_thread=False
            )
            self._check()
            self._base.execute("PRAGMA synchronous = FULL")
            self._base.execute(
                "CREATE TABLE IF NOT EXISTS answers (name TEXT PRIMARY KEY, answer TEXT NOT NULL)"
            )
        except (OSError, sqlite3.Error) as error:
            raise InputError(f"{self.path}: not usable as a journal: {error}.") from error

    def _check(self) -> None:
        """Let nobody else's database become a journal."""
        self._base.execute("BEGIN IMMEDIATE")
        (owner,) = self._base.execute("PRAGMA application_id").fetchone()
        (tables,) = self._base.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if owner != _OURS and tables:
            self._base.close()
            raise InputError(f"{self.path}: a database, but no journal; name a file of its own.")
        self._base.execute(f"PRAGMA application_id = {_OURS}")
        self._base.execute("COMMIT")

    def get(self, name: str) -> Any:
        """The answer under a name, or None.

        Raises
        ------
        InputError
            A journal that was damaged.
        """
        try:
            with self._lock:
                row = self._base.execute(
                    "SELECT answer FROM answers WHERE name = ?", (name,)
                ).fetchone()
            return None if row is None else json.loads(row[0])
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise InputError(
                f"{self.path}: not readable as a journal: {error}; put a copy in its place, or "
                "name another file, and what is not in it is asked for again."
            ) from error

    def put(self, name: str, answer: Any) -> None:
        """Keep an answer. When this returns, it is on the disk."""
        try:
            with self._lock:
                self._base.execute(
                    "INSERT OR REPLACE INTO answers VALUES (?, ?)", (name, json.dumps(answer))
                )
        except sqlite3.Error as error:
            raise InputError(f"{self.path}: an answer could not be kept: {error}.") from error

    def __exit__(self, *_: object) -> None:
        self._base.close()
