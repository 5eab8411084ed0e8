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
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

__all__ = ["OwnRun", "QuantError", "Run", "run", "start"]

_MAX_NAME = 250
_MAX_VALUE = 8192
_MAX_NOTE = 65536


class QuantError(RuntimeError):
    """Recording is not possible; the text says why and what to do."""


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
    one, end() does; a program that ends normally without it ends the run as SUCCESS,
    a notebook that is shut down as FAIL. A process that dies, also by kill -9, leaves
    a FAIL, at once.

    Raises QuantError when it cannot be recorded: then nothing runs unrecorded.
    """
    return OwnRun(kind, params, tags, name, experiment, sample, quant=quant, data_dir=data_dir, strict=strict)


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
        self._closed = False
        self._broken = None  # why nothing more can be recorded
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)
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
        atexit.unregister(self._at_exit)
        return stored

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _at_exit(self):
        if self._pid == os.getpid():
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
            if os.environ.get("QUANT_RUN_ID") == self.id:
                if self._before is None:
                    del os.environ["QUANT_RUN_ID"]
                else:
                    os.environ["QUANT_RUN_ID"] = self._before
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
        if hasattr(sys, "ps1") or "IPython" in sys.modules:
            self.end("the session ended before the run did: end it with run.end()")
        else:
            self.end(getattr(sys, "last_value", None))

    def _forked(self):
        super()._forked()
        if not self._ended:
            self._ended = True  # the parent ends it
            self._holder.stdin.close()
            self._holder.returncode = 0

    def _complaint(self):
        self._held.seek(0)
        return self._held.read().decode("utf-8", "replace").strip()


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
