"""Record params, metrics, tags, notes and artifacts of a run in a quant lab.

One file, standard library only, Python 3.8 or newer. Copy it beside your script,
or put its folder on PYTHONPATH.

Inside ``quant exec -- python train.py`` the run is there already::

    import quant_run

    run = quant_run.run()
    run.params({"lr": 0.1, "optimizer": "adam"})
    for epoch in range(10):
        run.metric("loss", loss, step=epoch)
    run.artifact("plots/loss.png")

A script or a notebook that nothing started as a run starts one of its own::

    with quant_run.start("fit", params={"lr": 0.1}) as run:
        run.metric("loss", loss)

It stands in the lab as RUNNING from that line on, with the program's command line,
its code and its packages, and ends with the block: SUCCESS, or FAIL with the
exception. However the program dies, the run ends as FAIL.

The lab's tables are read as frames, and what is computed of them goes back::

    bars = quant_run.sql("SELECT symbol, ts, close FROM ohlcv")  # or to="polars", "arrow", "rows"
    quant_run.features(frame, "my_signals")
    quant_run.predictions(frame, "my_model")

Elsewhere name one: ``quant_run.run("last")``, or any other reference that
``quant runs show`` takes.

What is logged goes to one child process, ``quant log --stdin``, which stores it
within about half a second, in batches that are stored whole or not at all. It is
flushed and closed at the end of the program, also after an exception. A program
that is killed loses nothing that it had handed over. Recording never stops the
program that records: what goes wrong is told on stderr, and by ``close()``.

Names have 1 to 250 bytes, values of params and tags at most 8192 bytes, notes
65536. A param is written once. Metrics are finite numbers: NaN and infinity are
left out, or a ValueError with ``run(strict=True)``. Values whose names
tell of a secret (``password``, ``api_key``) are stored as ``***``.
"""

import atexit
import csv
import datetime
import decimal
import gc
import importlib
import io
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import weakref

__all__ = ["OwnRun", "QuantError", "Run", "features", "predictions", "run", "sql", "start"]

_MAX_NAME = 250
_MAX_VALUE = 8192
_MAX_NOTE = 65536


class QuantError(RuntimeError):
    """quant could not do it; the text says why and what to do. report is what it told
    of an import that it refused, else None."""

    report = None


def run(ref=None, *, quant="quant", data_dir=None, strict=False):
    """Return the run to record to.

    ref is any reference of a run (an id, ``last``, ``last:KIND``, ``@NAME``);
    without it, it is the run inside which this program was started
    (``QUANT_RUN_ID``, which ``quant exec`` sets). quant is the program, data_dir
    the lab's folder where it is not that of ``QUANT_DATA_DIR``. strict makes a
    NaN or an infinity as a metric a ValueError; else that point is left out, and
    that is told on stderr, once a metric.

    Raises QuantError when there is no run, or no quant.
    """
    return Run(ref, quant=quant, data_dir=data_dir, strict=strict)


def start(kind, *, params=None, tags=None, name=None, experiment=None, sample=None, quant="quant", data_dir=None, strict=False):
    """Start a run of this program's own and return it; it is a context manager.

    kind says what runs: "fit", "notebook". Inside another run (``QUANT_RUN_ID``) it
    is a child of that one. Until it ends, ``QUANT_RUN_ID`` names it, so that every
    quant that the program starts belongs to it, and ``run()`` elsewhere in the
    program is it. params and tags are recorded with the start; name makes it @NAME,
    experiment is an id or a name of one. sample ("1s") records what the program's
    processes and the accelerators use, so often, as metrics system.*. The others are
    those of run().

    A with block ends it: SUCCESS, or FAIL with the exception, which goes on. Without
    one, end() does; a program that ends without it ends the run as SUCCESS, or as FAIL
    with the exception or the status of sys.exit() that ended it (not of ``raise
    SystemExit``), a notebook that is shut down as FAIL. A process that dies, also by kill -9, leaves
    a FAIL, at once.

    Raises QuantError when it cannot be recorded: then nothing runs unrecorded.
    """
    return OwnRun(kind, params, tags, name, experiment, sample, quant=quant, data_dir=data_dir, strict=strict)


def sql(query, to="pandas", *, meta=False, limit=None, timeout=None, quant="quant", data_dir=None):
    """Run one reading query on the lab, as ``quant sql`` does, and return its rows.

    to is "pandas", "polars", "arrow" (a pyarrow.Table) or "rows", a list of dicts, which
    takes no package. meta asks the Meta DB (runs, params, metrics) in place of the Fact
    DB. limit is the most rows, timeout a text such as "10m". The query is recorded, and
    inside a run it is a child of it.

    A DATE is a date (datetime64 in pandas), a TIMESTAMP one in UTC, a DOUBLE the same to
    the bit, a BIGINT a whole number also beside NULL (Int64 in pandas), a BOOLEAN true or
    false (boolean in pandas beside NULL), a text a text, NULL apart from the empty one. A
    HUGEINT, as sum() makes one, is a 64-bit number where all of the column fit; a DECIMAL
    is decimal.Decimal, in pandas a float. Lists, structs and maps are JSON, which "rows"
    reads. pandas is fast with pyarrow, and works without.

    Raises QuantError with quant's text, also where a package is missing.
    """
    if to not in ("pandas", "polars", "arrow", "rows"):
        raise ValueError('to=%r is none of "pandas", "polars", "arrow", "rows"' % (to,))
    if to in ("pandas", "polars"):
        frames = _package(to, to)
    arrow = _package("pyarrow", to, optional=to == "pandas") if to in ("pandas", "arrow") else None
    lines = to == "rows" or to == "pandas" and arrow is None
    command = [_program(quant), "sql", "--quiet", "--stream=" + ("lines" if lines else "arrow")]
    if meta:
        command.append("--meta")
    for flag, value in (("--data-dir=", data_dir), ("--limit=", limit), ("--timeout=", timeout)):
        if value is not None:
            command.append(flag + (os.fspath(value) if flag == "--data-dir=" else str(value)))
    command += ["--", query]
    if to == "rows":
        return _told(command, _rows)
    if lines:
        return _told(command, lambda out: _pandas_of_lines(out, frames))
    if to == "polars":
        return _narrow_polars(_told(command, lambda out: frames.read_ipc_stream(io.BytesIO(out.read()))), frames)
    table = _told(command, lambda out: arrow.ipc.open_stream(out).read_all())
    columns = [_narrow_arrow(column, arrow) for column in table.columns]
    if to == "pandas":
        return _pandas_of_arrow(table.column_names, columns, frames, arrow)
    return arrow.table(columns, names=table.column_names)


def features(frame, version, *, quant="quant", data_dir=None, **options):
    """Import features that this program computed, as ``quant features import`` does,
    and return its report, a dict.

    frame is a pandas or polars DataFrame, a pyarrow Table, or a list of dicts: long
    (symbol, ts, feature_name, feature_value), wide (symbol, ts and a column a feature),
    or with feature="NAME" ts and a column a symbol. symbol and ts may be its index.
    version is theirs alone. options are the flags of the command: known_at="filed",
    map={"symbol": "ticker"}, features=["a", "b"], replace=True, ... Inside a run the
    import is a child of it, so that lineage leads from the features to this program.

    Where a part was not taken, that is told on stderr, and stands in the report. Raises
    QuantError, with the report where there is one, if nothing was stored.
    """
    return _import(frame, "features", ["--feature-version=" + str(version)], options, quant, data_dir)


def predictions(frame, model, *, quant="quant", data_dir=None, **options):
    """Import the scores of a model that this program trained, as ``quant predictions
    import`` does, and return its report. frame has symbol, ts and score, or ts and a
    column a symbol; model is a name of its own. The rest is as of features()."""
    return _import(frame, "predictions", ["--model=" + str(model)], options, quant, data_dir)


class Run:
    """A run to record to. Safe for use by several threads; a fork may go on
    recording and gets a child process of its own. Also a context manager."""

    def __init__(self, ref=None, *, quant="quant", data_dir=None, strict=False):
        if ref is None and not os.environ.get("QUANT_RUN_ID"):
            raise QuantError(
                "no run to record to: start the program with `quant exec -- python ...`, "
                'or name a run, such as quant_run.run("last")'
            )
        program = _program(quant)
        self._command = [program, "log", "--stdin", "--quiet", "--output", "json"]
        if ref is not None:
            self._command.append("--run=" + str(ref))
        if data_dir is not None:
            self._command.append("--data-dir=" + os.fspath(data_dir))
        self._strict = strict
        self._left_out = set()  # metrics of which a point was
        self._quoted = {}  # names of metrics as they stand in a line
        self._clock = _Clock()
        self._lock = threading.RLock()
        self._child = None
        self._errors = None
        self._pid = os.getpid()
        self._closed = self._leaving = False
        self._broken = None  # why nothing more can be recorded
        if hasattr(os, "register_at_fork"):
            # Python holds what is registered until its very end, past all files.
            this = weakref.ref(self)
            os.register_at_fork(after_in_child=lambda: this() is not None and this()._forked())
        atexit.register(self._at_exit)

    # What can be recorded.

    def param(self, name, value):
        """Record a setting, once: another value for it later is refused."""
        self.params({name: value})

    def params(self, values):
        """Record settings from a dict, all of them or none. Nested dicts are
        named with dots: {"optim": {"lr": 0.1}} is optim.lr."""
        flat = {n: _value("param", n, v) for n, v in _flat(values)}
        if flat:
            self._write({"params": flat})

    def metric(self, name, value, step=None):
        """Record a point of a metric. value is a finite number, or what float()
        makes one of (numpy and torch scalars), else it is a ValueError; without
        step it is the next. NaN and infinity: see run()."""
        self.metrics({name: value}, step=step)

    def metrics(self, values, step=None):
        """Record points of several metrics at one step, all of them or none."""
        points = self._points(dict(values))
        if step is not None and type(step) is not int:
            try:
                step = int(step)
            except (TypeError, OverflowError) as error:
                raise ValueError("step %.60r is no whole number: %s" % (step, error)) from error
        if not points:
            return
        at = "" if step is None else ',"step":%d' % step
        self._write_text('{"metrics":{%s},"time":"%s"%s}\n' % (points, self._clock.now(), at))

    def _points(self, values):
        # Members of a JSON object. The repr of a finite float is a JSON number, and
        # the shortest that reads back as the same float. Written out here because
        # json.dumps takes longer than all the rest of a call.
        written = {}  # by what a name is as a text: 1 and "1" are one, the last counts
        for name, value in values.items():
            quoted = self._quoted.get(name) if type(name) is str else None
            if quoted is None:
                name = _name("metric", name)
                quoted = json.dumps(name)
                if len(self._quoted) < 10000:
                    self._quoted[name] = quoted
            number = value if type(value) is float else _number(name, value)
            if not math.isfinite(number):
                if self._strict:
                    raise ValueError("metric %r: %r is no finite number; leave the point out" % (name, number))
                self._leave_out(name, number)
                continue
            written[quoted] = float.__repr__(number)
        return ",".join([quoted + ":" + number for quoted, number in written.items()])

    def _leave_out(self, name, number):
        # The training goes on, and its other points are stored.
        with self._lock:
            if name in self._left_out:
                return
            self._left_out.add(name)
        sys.stderr.write("quant_run: metric %r: %r is no finite number; such points are left out\n" % (name, number))

    def tag(self, name, value):
        """Set a tag, in place of the one of that name. The tag ``name`` makes
        the run @NAME."""
        self._write({"tag": _name("tag", name), "value": _value("tag", name, value)})

    def tags(self, values):
        """Set tags from a dict, all of them or none."""
        line = {"tags": {_name("tag", n): _value("tag", n, v) for n, v in dict(values).items()}}
        if line["tags"]:
            self._write(line)

    def note(self, text):
        """Add a note."""
        text = str(text)
        if not text.strip():
            raise ValueError("the note is empty")
        if len(text.encode("utf-8")) > _MAX_NOTE:
            raise ValueError("the note is longer than %d bytes; keep it as an artifact" % _MAX_NOTE)
        self._write({"note": text, "time": self._clock.now()})

    def artifact(self, path, name=None):
        """Keep a file, or all files of a folder, under a name: its own without
        one. The content is read soon after the call: leave the file as it is, or
        call flush() before changing it."""
        path = os.path.abspath(os.fspath(path))
        if not os.path.exists(path):
            raise FileNotFoundError("artifact %s does not exist" % path)
        line = {"artifact": path, "time": self._clock.now()}
        if name is not None:
            line["name"] = str(name)
        self._write(line)

    # The child process.

    def flush(self):
        """Wait until everything recorded so far is stored. Returns whether it
        is; what was not is told on stderr, once."""
        with self._lock:
            return self._end()

    def close(self):
        """Store what is left. Returns whether everything was stored. Recording
        afterwards raises QuantError; a second close does nothing."""
        with self._lock:
            if self._closed:
                return self._broken is None
            self._closed = True
            stored = self._end()
        if not self._leaving:  # within atexit it would crash Python before 3.10
            atexit.unregister(self._at_exit)
        return stored

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _at_exit(self):
        if self._pid == os.getpid():
            self._leaving = True
            self.close()

    def _forked(self):
        # The pipe leads to the parent's child: writing to it from here would tear
        # lines, and holding it would keep that child from its end. A lock may
        # have been held by a thread that is not here.
        child, errors, self._child, self._errors = self._child, self._errors, None, None
        self._lock, self._pid = threading.RLock(), os.getpid()
        if child is not None:
            child.stdin.close()
            errors.close()
            child.returncode = 0  # the parent waits for it
        # A worker of multiprocessing ends past atexit.
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util.register_after_fork(self, lambda run: util.Finalize(run, run.close, exitpriority=0))

    def _start(self):
        # stderr goes to a file: nobody reads while the program works. In a
        # session of its own, so that Ctrl-C ends the program and not its record.
        self._errors = tempfile.TemporaryFile()
        self._child = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            bufsize=0,
            start_new_session=True,
        )

    def _write(self, line):
        self._write_text(json.dumps(line, ensure_ascii=True, allow_nan=False) + "\n")

    def _write_text(self, text):
        # Straight into the pipe, so that a program that is killed loses nothing.
        with self._lock:
            if self._closed:
                raise QuantError("the run is closed: record before close()")
            if self._child is not None and self._child.poll() is not None:
                self._end()  # it ended early, and its status says why
                if self._broken is None:
                    self._tell("quant log ended before the program did")
            if self._broken is not None:
                return  # that has been told
            try:
                if self._child is None:
                    self._start()
                self._send(text.encode("ascii"))
            except OSError as error:
                if self._child is None:
                    self._tell("quant could not be started: %s" % error)
                elif self._end() and self._broken is None:
                    self._tell("quant log ended before the program did")

    def _send(self, text):
        # A line is written whole: Ctrl-C waits for its end, a second one does not.
        rest, interrupted = text, None
        while rest:
            try:
                rest = rest[self._child.stdin.write(rest) or 0 :]
            except KeyboardInterrupt as error:
                if interrupted is not None:
                    raise
                interrupted = error
        if interrupted is not None:
            raise interrupted

    def _end(self):
        child, errors = self._child, self._errors
        if child is None:
            return self._broken is None
        self._child, self._errors = None, None
        try:
            child.stdin.close()
        except OSError:
            pass  # it has ended; its status says why
        while True:
            try:
                status = child.wait()
                break
            except KeyboardInterrupt:
                sys.stderr.write("quant_run: storing the last of the run; a moment\n")
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace").strip()
        errors.close()
        if status != 0:
            self._tell("quant log failed (exit status %d)" % status, said)
            if status == 3:  # the rest is stored, and so is what comes
                self._broken = None
                return False
        elif said:
            sys.stderr.write(said + "\n")
        return status == 0

    def _tell(self, what, said=""):
        first = self._broken is None
        self._broken = what
        if first:
            text = "quant_run: %s\n%s" % (what, said and said + "\n")
            try:
                sys.stderr.write(text)
                sys.stderr.flush()
            except (OSError, ValueError, AttributeError):
                pass  # there is no stderr to tell it on


_before = {}  # of own runs that have ended: QUANT_RUN_ID before each


class OwnRun(Run):
    """A run that this program started: see start(). id is its whole id."""

    def __init__(self, kind, params, tags, name, experiment, sample, *, quant="quant", data_dir=None, strict=False):
        self.kind = str(kind)
        command = [_program(quant), "log", "--stdin", "--quiet", "--output", "json", "--start=" + self.kind]
        for flag, value in (("--data-dir=", data_dir), ("--name=", name), ("--experiment=", experiment), ("--sample=", sample)):
            if value is not None:
                command.append(flag + os.fspath(value))
        # A process of its own holds the run: it notices when this one is gone.
        self._held = tempfile.TemporaryFile()
        try:
            self._holder = subprocess.Popen(
                command + ["--"] + _command_line(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._held,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise QuantError("quant could not be started: %s" % error) from error
        self.id = self._recorded()
        if self.id is None:
            self._holder.stdin.close()
            self._holder.wait()
            raise QuantError("the run was not started: %s" % (self._complaint() or "quant said nothing of a run"))
        _watch_exit()
        self._ended = False
        self._before = os.environ.get("QUANT_RUN_ID")
        os.environ["QUANT_RUN_ID"] = self.id
        super().__init__(self.id, quant=quant, data_dir=data_dir, strict=strict)
        try:
            if params:
                self.params(params)
            if tags:
                self.tags(tags)
        except BaseException as error:
            self.end(error)
            raise

    def _recorded(self):
        """The id that quant tells once the run is recorded; None if it is not."""
        said = b""
        with self._holder.stdout as out:
            while True:
                more = out.read(4096)
                said += more
                try:
                    return json.loads(said.decode("utf-8"))["run_id"]
                except (ValueError, KeyError, TypeError):
                    if not more:
                        return None

    def __repr__(self):
        return "<quant run %s %s%s>" % (self.kind, self.id, " (ended)" if self._ended else "")

    def end(self, error=None):
        """Store what is left and end the run: SUCCESS, or FAIL where error says what
        went wrong, an exception or a text. Returns whether everything was stored and
        the end recorded; a second end does nothing."""
        with self._lock:
            if self._ended:
                return self._broken is None
            self._ended = True
            stored = super().close()
            before = _before[self.id] = self._before
            while before in _before:
                before = _before[before]
            if os.environ.get("QUANT_RUN_ID") == self.id:
                if before is None:
                    del os.environ["QUANT_RUN_ID"]
                else:
                    os.environ["QUANT_RUN_ID"] = before
            line = {"end": "SUCCESS"}
            if error is not None:
                line = {"end": "FAIL", "error": _said(error)}
            try:
                self._holder.stdin.write((json.dumps(line) + "\n").encode("ascii"))
                self._holder.stdin.close()
            except OSError:
                pass  # it has ended; its status says why
            while True:
                try:
                    status = self._holder.wait()
                    break
                except KeyboardInterrupt:
                    sys.stderr.write("quant_run: ending the run; a moment\n")
            if status != 0:
                self._tell("the end of the run was not recorded (exit status %d)" % status, self._complaint())
            self._held.close()
            return stored and status == 0

    def close(self):
        """As end()."""
        return self.end()

    def __exit__(self, _, error, __):
        if isinstance(error, SystemExit) and error.code in (None, 0):
            error = None
        self.end(error)

    def _at_exit(self):
        if self._pid != os.getpid():
            return
        self._leaving = True
        if hasattr(sys, "ps1") or "IPython" in sys.modules:
            self.end("the session ended before the run did: end it with run.end()")
        else:
            self.end(getattr(sys, "last_value", None) or _exit_status())

    def _forked(self):
        super()._forked()
        if not self._ended:
            self._ended = True  # the parent ends it
            self._holder.stdin.close()
            self._holder.returncode = 0

    def _complaint(self):
        self._held.seek(0)
        return self._held.read().decode("utf-8", "replace").strip()


def _package(name, to, optional=False):
    try:
        module = importlib.import_module(name)
        if name == "pyarrow":
            importlib.import_module("pyarrow.ipc")
        return module
    except ImportError as error:
        if optional:
            return None
        raise QuantError('to="%s" needs %s (%s): install it, or take to="rows"' % (to, name, error)) from error


def _told(command, read):
    """What read makes of the output of a command; QuantError with what it says on stderr
    where it fails."""
    with tempfile.TemporaryFile() as errors:
        try:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        except (OSError, ValueError) as error:  # a text with a NUL, or one that is too long
            raise QuantError("quant could not be started: %s" % error) from error
        result = failed = None
        try:
            with child.stdout as out:
                try:
                    result = read(out)
                except Exception as error:
                    failed = error  # it has ended early, and its status says why
                while out.read(1 << 16):
                    pass
        except BaseException:
            child.terminate()
            raise
        finally:
            status = child.wait()
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace").strip()
    if status != 0:
        raise QuantError(said or "quant failed (exit status %d)" % status) from None
    if failed is not None:
        raise failed
    if said:
        sys.stderr.write(said + "\n")
    return result


def _lines(out):
    """The columns, (name, type) each, and the rows of a stream of lines."""
    first = out.readline()
    if not first:
        return [], []
    columns = [(c["name"], c["type"]) for c in json.loads(first.decode("utf-8"))["columns"]]
    collecting = gc.isenabled()
    gc.disable()  # it would look at all rows again and again
    try:
        return columns, [json.loads(line) for line in out]
    finally:
        if collecting:
            gc.enable()


def _rows(out):
    columns, rows = _lines(out)
    names = [name for name, _ in columns]
    for i, (_, kind) in enumerate(columns):
        read = _READ.get(kind.partition("(")[0])
        if read is None:
            continue
        known = {None: None}  # a day stands on many rows
        for row in rows:
            value = row[i]
            if value in known:
                row[i] = known[value]
                continue
            row[i] = read(value)
            if read in (_day, _moment) and len(known) < 10000:
                known[value] = row[i]
    for at, row in enumerate(rows):
        rows[at] = dict(zip(names, row))
    return rows


def _moment(text):
    """A time, or a moment in UTC, as Python before 3.11 reads it; as it stands where
    Python has none, as of infinity."""
    whole, _, rest = text.rstrip("Z").partition(".")
    try:
        whole += "." + (rest + "000000")[:6] if rest else ""
        if "T" not in whole:
            return datetime.time.fromisoformat(whole)
        return datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.timezone.utc)
    except ValueError:
        return text


def _day(text):
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        return text


_READ = {
    "DOUBLE": float,
    "FLOAT": float,
    "DECIMAL": decimal.Decimal,
    "DATE": _day,
    "TIME": _moment,
    "TIMESTAMP": _moment,
    "TIMESTAMPTZ": _moment,
    "TIMESTAMP_S": _moment,
    "TIMESTAMP_MS": _moment,
    "BLOB": bytes.fromhex,
}

_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT")


def _pandas_of_lines(out, pandas):
    numpy = importlib.import_module("numpy")
    columns, rows = _lines(out)
    frame = {}
    for i, (name, kind) in enumerate(columns):
        values = [row[i] for row in rows]
        kind, missing = kind.partition("(")[0], any(v is None for v in values)
        if kind in ("DOUBLE", "FLOAT", "DECIMAL"):
            dtype = "float32" if kind == "FLOAT" else "float64"
            frame[name] = pandas.Series([math.nan if v is None else float(v) for v in values], dtype=dtype)
        elif kind in _WHOLE:
            low, high = (0, 1 << 64) if kind == "UBIGINT" else (-1 << 63, 1 << 63)
            if all(v is None or low <= v < high for v in values):
                dtype = ("u" if low == 0 else "") + "int64"
                frame[name] = pandas.Series(values, dtype=dtype.replace("i", "I").replace("u", "U") if missing else dtype)
            else:
                frame[name] = pandas.Series(values, dtype=object)
        elif kind == "BOOLEAN":
            frame[name] = pandas.Series(values, dtype="boolean" if missing else "bool")
        elif kind == "DATE" or kind.startswith("TIMESTAMP"):
            unit = "D" if kind == "DATE" else "ns" if kind == "TIMESTAMP_NS" else "us"
            try:
                times = pandas.Series(numpy.array(["NaT" if v is None else v.rstrip("Z") for v in values], dtype="datetime64[%s]" % unit))
                frame[name] = times if kind == "DATE" else times.dt.tz_localize("UTC")
            except ValueError:
                frame[name] = pandas.Series(values, dtype=object)
        elif kind == "JSON":
            frame[name] = pandas.Series([v if v is None else json.dumps(v, ensure_ascii=False, separators=(",", ":")) for v in values], dtype=object)
        else:
            frame[name] = pandas.Series(values, dtype=object)
    return pandas.DataFrame(frame)


def _narrow_arrow(column, arrow):
    """The column; whole numbers of 38 digits as 64-bit ones where all of them fit."""
    if arrow.types.is_decimal(column.type) and (column.type.precision, column.type.scale) == (38, 0):
        try:
            return column.cast(arrow.int64())
        except arrow.ArrowInvalid:
            pass
    return column


def _narrow_polars(frame, polars):
    for name, kind in list(frame.schema.items()):
        if isinstance(kind, polars.Decimal) and (kind.precision, kind.scale) == (38, 0):
            try:
                frame = frame.with_columns(polars.col(name).cast(polars.Int64, strict=True))
            except polars.exceptions.PolarsError:
                pass
    return frame


def _pandas_of_arrow(names, columns, pandas, arrow):
    nullable = {arrow.bool_(): pandas.BooleanDtype()}
    for kind in ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"):
        nullable[getattr(arrow, kind.lower())()] = getattr(pandas, kind + "Dtype")()
    frame = {}
    for name, column in zip(names, columns):
        if arrow.types.is_decimal(column.type) and column.type.scale > 0:
            column = column.cast(arrow.float64())
        if column.null_count and column.type in nullable:
            frame[name] = column.to_pandas(types_mapper=nullable.get)
        else:
            frame[name] = column.to_pandas(date_as_object=False)
    return pandas.DataFrame(frame, copy=False)


def _import(frame, command, named, options, quant, data_dir):
    words = [_program(quant), command, "import", "--quiet", "--output=json"] + named
    if data_dir is not None:
        words.append("--data-dir=" + os.fspath(data_dir))
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True or value is False:
            words.append("%s=%s" % (flag, str(value).lower()))
        elif isinstance(value, dict):
            words += ["%s=%s=%s" % (flag, of, column) for of, column in value.items()]
        elif isinstance(value, (list, tuple)):
            words.append(flag + "=" + ",".join(str(v) for v in value))
        elif value is not None:
            words.append("%s=%s" % (flag, value))
    with tempfile.TemporaryDirectory(prefix="quant_run-") as folder:
        try:
            done = subprocess.run(
                words + ["--", _written(frame, os.path.join(folder, command))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except (OSError, ValueError) as error:
            raise QuantError("quant could not be started: %s" % error) from error
    said = done.stderr.decode("utf-8", "replace").strip()
    try:
        report = json.loads(done.stdout.decode("utf-8"))
    except ValueError:
        report = None
    if done.returncode not in (0, 3) or report is None:
        error = QuantError(said or "quant failed (exit status %d)" % done.returncode)
        error.report = report
        raise error
    if said:
        sys.stderr.write(said + "\n")
    return report


def _written(frame, path):
    """Write a frame to a file beside path, and return its name."""
    module = type(frame).__module__.partition(".")[0]
    if module == "polars":
        frame = frame.collect() if hasattr(frame, "collect") else frame
        frame.write_parquet(path + ".parquet")
        return path + ".parquet"
    if module == "pandas":
        if frame.index.nlevels > 1 or frame.index.name is not None:
            frame = frame.reset_index()
        elif str(frame.index.dtype).startswith("datetime64"):
            frame = frame.rename_axis("ts").reset_index()
        frame = frame.rename(columns=str)
        try:
            arrow = importlib.import_module("pyarrow")
        except ImportError:
            frame.to_csv(path + ".csv", index=False)
            return path + ".csv"
        frame = arrow.Table.from_pandas(frame, preserve_index=False)
        module = "pyarrow"
    if module == "pyarrow":
        importlib.import_module("pyarrow.parquet").write_table(frame, path + ".parquet")
        return path + ".parquet"
    rows = [dict(row) for row in frame] if isinstance(frame, (list, tuple)) else []
    if not rows:
        raise QuantError("%.60r is no DataFrame of pandas or polars, no Table of pyarrow and no list of dicts" % (frame,))
    with open(path + ".csv", "w", newline="", encoding="utf-8") as out:
        names = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(out, names)
        writer.writeheader()
        writer.writerows(rows)
    return path + ".csv"


def _program(quant):
    program = shutil.which(quant)
    if program is None:
        raise QuantError(
            "the program %r is not on PATH: install quant, or name it, such as "
            'quant_run.run(quant="/opt/quant/bin/quant")' % quant
        )
    return program


def _command_line():
    """How this program was started, with the interpreter."""
    line = getattr(sys, "orig_argv", None) or [sys.executable] + sys.argv
    return [sys.executable or line[0]] + [str(word) for word in line[1:]]


_exiting = None  # what sys.exit raised last


def _watch_exit():
    """Remember what sys.exit raises: a program that it ends tells its atexit nothing."""
    if getattr(sys.exit, "_of_quant_run", False):
        return

    def exit(status=None, /):
        global _exiting
        error = SystemExit(status)
        if threading.current_thread() is threading.main_thread():
            _exiting = error
        raise error

    exit.__doc__, exit._of_quant_run = sys.exit.__doc__, True
    sys.exit = exit


def _exit_status():
    """The SystemExit that ends the program; None where it means success, or where the
    program has caught it, which Python before 3.12 does not let one tell."""
    if _exiting is None or _exiting.code in (None, 0):
        return None
    if sys.version_info >= (3, 12) and _exiting.__traceback__ is not None:
        outermost = _exiting.__traceback__.tb_frame
        name = outermost.f_globals.get("__name__")
        if name != "runpy" and (name != "__main__" or outermost.f_code.co_name != "<module>"):
            return None
    return _exiting


def _said(error):
    """What an exception says, as the last line of its traceback."""
    if not isinstance(error, BaseException):
        return str(error) or "it failed"
    if isinstance(error, SystemExit):
        return "exit status %s" % error.code
    text = str(error).strip()
    return type(error).__name__ + (text and ": " + text)


class _Clock:
    """The present time as lines have it. What of it holds for a second is kept,
    since formatting a date takes longer than writing a line."""

    def __init__(self):
        self._second = None, ""

    def now(self):
        second, micros = divmod(time.time_ns() // 1000, 1000000)
        at, text = self._second  # one assignment: threads need no lock
        if at != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second, text
        return "%s.%06dZ" % (text, micros)


def _name(noun, name):
    name = str(name)
    size = len(name.encode("utf-8"))
    if not 0 < size <= _MAX_NAME:
        raise ValueError("%s %r: a name has 1 to %d bytes" % (noun, name[:20], _MAX_NAME))
    return name


def _value(noun, name, value):
    """A value as it is stored: text, number, true or false."""
    value = _truth(value)
    if isinstance(value, bool) or isinstance(value, int) and abs(value) < 1 << 53:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, (list, tuple, dict)):
        value = json.dumps(value, ensure_ascii=False, default=_element)
    text = str(value)
    if len(text.encode("utf-8")) > _MAX_VALUE:
        raise ValueError("%s %r: its value is longer than %d bytes; keep it as an artifact" % (noun, name, _MAX_VALUE))
    return text


def _truth(value):
    """True or False for a scalar of numpy or torch that is one of them."""
    item = getattr(value, "item", None)
    if not callable(item) or getattr(value, "ndim", 0) != 0:
        return value
    try:
        plain = item()
    except Exception:
        return value
    return plain if isinstance(plain, bool) else value


def _element(value):
    plain = _truth(value)
    return plain if isinstance(plain, bool) else str(value)


def _number(name, value):
    """What float() makes of a value; ValueError where it makes nothing, or makes less
    of it: of an array with one element or a complex number, as some versions of
    numpy do."""
    try:
        if getattr(value, "ndim", 0) != 0:
            raise TypeError("it is an array")
        if getattr(getattr(value, "dtype", None), "kind", "") == "c":
            raise TypeError("it is complex")
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("metric %r: %.60r is no number: %s" % (name, value, error)) from error


def _flat(values, prefix=""):
    for name, value in dict(values).items():
        name = prefix + str(name)
        if isinstance(value, dict) and value:
            for pair in _flat(value, name + "."):
                yield pair
        else:
            yield _name("param", name), value
