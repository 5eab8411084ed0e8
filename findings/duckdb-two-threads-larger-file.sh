#!/usr/bin/env bash
# DuckDB on two threads makes a database three quarters larger than on one, of the same files.
#
# Version    duckdb 1.5.5 (from PyPI)
# Guess      How many threads an INSERT from Parquet works on changes how long it takes, and
#            not what lies in the database afterwards: the rows are in the same order, and
#            row groups that are not full are merged when the database is closed.
# Behaviour  Each of the four files has a little more rows than a row group. On one thread the
#            rows are stored in full row groups. On two each file leaves a row group in part;
#            when the database is closed these are merged into others and written a second
#            time, and the space of the first ones stays in the file. Files of 90,000 or
#            420,000 such rows do not show it.
# Output     1 thread: 16.5 MB after the commit, 16.5 MB closed
#            2 threads: 16.3 MB after the commit, 28.6 MB closed
#
# Exits with 1 if that changes: if on two threads the file is less than 1.5 times as large.
# Needs Python 3.11 with venv and a package index; works in a temporary folder.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==1.5.5
cd "$work"
"$work/venv/bin/python" - <<'PY'
import os
import sys

import duckdb

rows = 130_000
files = duckdb.connect()
for k in range(4):
    files.execute(f"""COPY (SELECT 'run-' || (i // 13000) AS run, DATE '2010-01-01' + ((i % 13000) // 25)::INTEGER AS ts,
        'S' || lpad((hash(i) % 1000)::VARCHAR, 5, '0') AS symbol, hash(i) / 7e15 AS quantity, hash(i + 1) / 3e17 AS price,
        hash(i + 2) / 1e16 AS value, hash(i + 3) / 1e19 AS weight FROM range({k * rows}, {(k + 1) * rows}) r(i)) TO 'held.{k}.parquet'""")
closed = {}
for threads in (1, 2):
    path = f"held{threads}.duckdb"
    db = duckdb.connect(path)
    db.execute(f"SET threads = {threads}")
    db.execute("CREATE TABLE held AS FROM 'held.*.parquet' LIMIT 0")
    db.execute("CHECKPOINT")
    db.execute("INSERT INTO held FROM 'held.*.parquet'")
    committed = os.path.getsize(path)
    db.close()
    closed[threads] = os.path.getsize(path)
    print(f"{threads} thread{'s' if threads > 1 else ''}: {committed / 1e6:.1f} MB after the commit, {closed[threads] / 1e6:.1f} MB closed")
if closed[2] < 1.5 * closed[1]:
    sys.exit("the behaviour has changed")
PY
