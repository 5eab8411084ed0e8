package exec

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"quant/internal/test/labtest"
)

// python runs a script that uses sdk/python in the lab.
func python(l *labtest.Lab, env []string, script string) labtest.Result {
	l.T.Helper()
	return startPython(l, env, script).Wait()
}

func startPython(l *labtest.Lab, env []string, script string) *labtest.Process {
	l.T.Helper()
	program, err := exec.LookPath("python3")
	if err != nil {
		labtest.CannotTry(l.T, "there is no python3 here")
	}
	sdk, err := filepath.Abs("../../../sdk/python")
	labtest.Must(l.T, err)
	cmd := l.Command("python3", "-c", script)
	cmd.Path, cmd.Args = program, []string{"python3", "-c", script}
	// A version manager's python3 finds its versions below the true home.
	cmd.Env = append(append(cmd.Env, "PYTHONPATH="+sdk, "PYTHONDONTWRITEBYTECODE=1", "HOME="+os.Getenv("HOME")), env...)
	return l.StartCmd(cmd)
}

// reading is a lab with a run to log to, and its id.
func reading(t *testing.T) (*labtest.Lab, string) {
	t.Helper()
	l := labtest.New(t)
	l.Must("config")
	return l, l.RunOf("config").ID
}

const recorded = `SELECT 'param', name, value FROM run_params UNION ALL SELECT 'tag', name, value FROM run_tags UNION ALL
	SELECT 'metric', name, points || ' ' || last_step || ' ' || round(last, 3) FROM run_metrics UNION ALL
	SELECT 'note', note, text FROM run_notes UNION ALL SELECT 'artifact', name, bytes FROM run_artifacts ORDER BY 1, 2`

func TestPythonRecordsInsideARun(t *testing.T) {
	t.Parallel()
	l, id := reading(t)
	l.Write("plots/loss.txt", []byte("abc"))
	r := python(l, []string{"QUANT_RUN_ID=" + id}, `
import quant_run
class Scalar:  # as numpy's and torch's
    def __float__(self): return 0.125
run = quant_run.run()
run.param("lr", 0.1)
run.params({"optim": {"name": "adam", "betas": [0.9, 0.99]}, "flag": True, "none": None, "api_key": "hunter22"})
for i in range(3):
    run.metric("loss", 1 / (i + 1), step=i)
run.metrics({"acc": Scalar(), "f1": 1})
run.tag("name", "first")
run.tags({"team": "alpha"})
run.note("한글\nsecond line")
run.artifact("plots/loss.txt", name="loss/loss.txt")
run.artifact("plots")
for wrong in (lambda: run.param("", 1), lambda: run.note(" "), lambda: run.tag("t", "v" * 9000), lambda: run.note("\ud800")):
    try:
        wrong()
    except ValueError:
        continue
    raise SystemExit("taken")
assert run.close() and run.close()
try:
    run.note("late")
except quant_run.QuantError:
    pass
else:
    raise SystemExit("recorded after close")
`)
	if r.Code != 0 || r.Stderr != "" || r.Stdout != "" {
		t.Fatal(r)
	}
	want := `artifact loss.txt 3
artifact loss/loss.txt 3
metric acc 1 0 0.125
metric f1 1 0 1.0
metric loss 3 2 0.333
note 1 한글
second line
param api_key ***
param flag true
param lr 0.1
param none None
param optim.betas [0.9, 0.99]
param optim.name adam
tag name first
tag team alpha
`
	if got := l.MetaRows(recorded); got != want {
		t.Errorf("%s", got)
	}
	if run := l.RunOf("log"); run.Status != "SUCCESS" {
		t.Error(run)
	}
	if got := l.MetaRows("SELECT count(*) FROM run_process p JOIN runs r USING (run_id) WHERE kind = 'log' AND parent_run_id = '" + id + "'"); got != "1\n" {
		t.Error(got)
	}
	l.WantClosed()
}

func TestPythonLeavesOutWhatIsNotFiniteAndRefusesWhatIsNoNumber(t *testing.T) {
	t.Parallel()
	l, id := reading(t)
	r := python(l, []string{"QUANT_RUN_ID=" + id}, `
import quant_run
class Array:  # of one element, as numpy's
    ndim = 1
    def __float__(self): raise TypeError("only 0-dimensional arrays can be converted to Python scalars")
    def item(self): return True
class Bool:  # as numpy's bool_ and torch's
    ndim = 0
    def item(self): return True
    def __str__(self): return "True"
class One:  # an array of one element, as older versions of numpy have it
    ndim = 1
    def __float__(self): return 1.0
class Complex:  # as numpy's complex64
    ndim = 0
    class dtype: kind = "c"
    def __float__(self): return 1.0
run, strict = quant_run.run(), quant_run.run(strict=True)
for number in (float("nan"), 0.5, float("inf"), float("nan")):
    run.metric("loss", number)
run.metrics({"acc": float("nan"), "f1": 1.0})
run.params({"own": True, "theirs": Bool(), "list": [Bool(), 1]})
run.tag("flag", Bool())
for wrong in (Array(), One(), Complex(), None, 1j, "half", 10**400, [1.0], object()):
    try:
        run.metric("x", wrong)
    except ValueError as error:
        assert "metric 'x'" in str(error), error
        continue
    raise SystemExit("taken")
for call in (lambda: strict.metric("x", float("nan")), lambda: strict.metric("x", float("-inf")), lambda: run.metric("x", 1, step=[])):
    try:
        call()
    except ValueError:
        continue
    raise SystemExit("taken")
assert run.close() and strict.close()
`)
	if r.Code != 0 || strings.Count(r.Stderr, "\n") != 2 || !strings.Contains(r.Stderr, "metric 'loss': nan is no finite number") || !strings.Contains(r.Stderr, "metric 'acc'") {
		t.Fatal(r)
	}
	want := "metric f1 1 0 1.0\nmetric loss 1 0 0.5\nparam list [true, 1]\nparam own true\nparam theirs true\ntag flag true\n"
	if got := l.MetaRows(recorded); got != want {
		t.Errorf("%s", got)
	}
}

func TestPythonSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	l, id := reading(t)
	if r := python(l, nil, "import quant_run; quant_run.run()"); r.Code != 1 || !strings.Contains(r.Stderr, "QuantError: no run to record to: start the program with `quant exec") {
		t.Error(r)
	}
	if r := python(l, []string{"QUANT_RUN_ID=" + id}, "import quant_run; quant_run.run(quant='no-such-quant')"); r.Code != 1 || !strings.Contains(r.Stderr, "is not on PATH: install quant") {
		t.Error(r)
	}
}

func TestPythonTellsOfAFailedRecordOnceAndGoesOn(t *testing.T) {
	t.Parallel()
	l, _ := reading(t)
	r := python(l, nil, `
import quant_run, time
run = quant_run.run("00000000")
for i in range(2000):
    run.metric("loss", i)
print("trained", run.close())
`)
	if r.Code != 0 || r.Stdout != "trained False\n" || strings.Count(r.Stderr, "quant_run: quant log failed (exit status 4)") != 1 || !strings.Contains(r.Stderr, `no run "00000000"`) {
		t.Error(r)
	}
	// A line that is refused costs only itself.
	r = python(l, nil, `
import quant_run
run = quant_run.run("last:config")
run.param("lr", 1)
run.param("lr", 2)
run.metric("loss", 1)
print(run.flush())
run.metric("loss", 2)
print(run.close())
`)
	if r.Code != 0 || r.Stdout != "False\nTrue\n" || strings.Count(r.Stderr, "quant_run: ") != 1 || !strings.Contains(r.Stderr, `param "lr" is "1" already`) {
		t.Error(r)
	}
	if got := l.MetaRows("SELECT points, last FROM run_metrics"); got != "2 2\n" && got != "2 2.0\n" {
		t.Error(got)
	}
}

func TestPythonKeepsWhatAProgramRecordedBeforeItsEnd(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]string{
		"an exception": "raise KeyError('x')",
		"exit":         "sys.exit(3)",
		"_exit":        "os._exit(0)",
		"kill -9":      "os.kill(os.getpid(), 9)",
		"interrupt":    "os.kill(os.getpid(), 2); time.sleep(60)",
		"SIGTERM":      "os.kill(os.getpid(), 15); time.sleep(60)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, id := reading(t)
			python(l, []string{"QUANT_RUN_ID=" + id}, `
import os, sys, time, quant_run
run = quant_run.run()
for i in range(5000):
    run.metric("loss", i)
`+end)
			l.Eventually("all points are stored", func() bool {
				return l.MetaRows("SELECT coalesce(sum(points), 0) FROM run_metrics") == "5000\n"
			})
			l.Eventually("its record is closed", func() bool { return l.RunOf("log").Status == "SUCCESS" })
		})
	}
}

func TestPythonSurvivesAnInterruptOfItsTerminal(t *testing.T) {
	t.Parallel()
	l, id := reading(t)
	p := startPython(l, []string{"QUANT_RUN_ID=" + id}, `
import sys, time, quant_run
run = quant_run.run()
run.metric("loss", 1)
try:
    open("ready", "w").close()
    time.sleep(60)
except KeyboardInterrupt:
    run.metric("loss", 2)
    sys.exit(0 if run.close() else 1)
`)
	l.Eventually("it records", func() bool { _, err := os.Stat(l.Path("ready")); return err == nil })
	p.Signal(syscall.SIGINT)
	if r := p.Wait(); r.Code != 0 || r.Stderr != "" {
		t.Error(r)
	}
	if got := l.MetaRows("SELECT sum(points) FROM run_metrics"); got != "2\n" {
		t.Error(got)
	}
}

func TestPythonThreadsAndForksTearNothing(t *testing.T) {
	t.Parallel()
	l, id := reading(t)
	r := python(l, []string{"QUANT_RUN_ID=" + id}, `
import multiprocessing, os, threading, quant_run
run = quant_run.run()

def work(name, n):
    for i in range(n):
        run.metric(name, i, step=i)

threads = [threading.Thread(target=work, args=("thread%d" % i, 500)) for i in range(8)]
for t in threads: t.start()
workers = [multiprocessing.get_context("fork").Process(target=work, args=("worker%d" % i, 500)) for i in range(4)]
for w in workers: w.start()
pid = os.fork()
if pid == 0:
    work("fork", 500)
    os._exit(0 if run.close() else 1)
assert os.waitpid(pid, 0)[1] == 0
for w in workers: w.join()
assert all(w.exitcode == 0 for w in workers)
for t in threads: t.join()
assert run.close()
`)
	if r.Code != 0 || strings.Contains(r.Stderr, "quant_run") {
		t.Fatal(r)
	}
	if got := l.MetaRows("SELECT count(*), sum(points), min(points), max(last) FROM run_metrics"); got != "13 6500 500 499\n" && got != "13 6500 500 499.0\n" {
		t.Error(got)
	}
	if got := l.MetaRows("SELECT count(*), min(status) FROM runs WHERE kind = 'log'"); got != "6 SUCCESS\n" {
		t.Error(got)
	}
}

// pythonOf is what is recorded of the Python of a run's program, and the names of
// the artifacts of packages.
func pythonOf(l *labtest.Lab, id string) (python struct {
	Executable, Version, Prefix string
	Seen                        bool
}, packages string) {
	l.T.Helper()
	var env struct{ Python any }
	env.Python = &python
	labtest.Must(l.T, json.Unmarshal([]byte(programOf(l, id).Env), &env))
	return python, l.MetaRows("SELECT name FROM run_artifacts WHERE name LIKE 'python%' AND run_id = '" + id + "' ORDER BY name")
}

// virtual makes a virtual environment with one package in it.
func virtual(l *labtest.Lab, python, name, pkg string) string {
	l.T.Helper()
	out, err := exec.Command(python, "-m", "venv", "--without-pip", l.Path(name)).CombinedOutput()
	if err != nil {
		l.T.Skipf("python3 makes no virtual environment: %v %s", err, out)
	}
	site, _ := filepath.Glob(l.Path(name, "lib", "python3*", "site-packages"))
	if len(site) != 1 {
		l.T.Fatal(site)
	}
	info := filepath.Join(site[0], pkg+"-1.0.dist-info")
	labtest.Must(l.T, os.MkdirAll(info, 0o700))
	labtest.Must(l.T, os.WriteFile(filepath.Join(info, "METADATA"), []byte("Metadata-Version: 2.1\nName: "+pkg+"\nVersion: 1.0\n"), 0o600))
	return l.Path(name)
}

func TestThePythonThatReallyRunsIsRecorded(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		labtest.CannotTry(t, "there is no python3 here")
	}
	l := labtest.New(t)
	l.Env = append(l.Env, "HOME="+os.Getenv("HOME")) // a version manager's python3 finds its versions below it
	mine, theirs := virtual(l, python, "mine", "mypkg"), virtual(l, python, "theirs", "otherpkg")
	write := func(name, text string) {
		l.Write(name, []byte(text))
		labtest.Must(t, os.Chmod(l.Path(name), 0o700))
	}
	short := "import sys" // over within some 20 ms
	write("job.py", "#!"+mine+"/bin/python3\nprint('ran')\n")
	write("wrapper", "#!/bin/sh\nPATH="+mine+"/bin:$PATH\nexport PATH\nexec python3 \"$@\"\n")
	write("python", "#!/bin/sh\n"+mine+"/bin/python3 \"$@\"\n")
	// What runs another Python: in its place, and as a child of its own.
	write("poetry", "#!"+theirs+"/bin/python3\nimport os, sys, time\ntime.sleep(0.2)\nos.execv('"+mine+"/bin/python3', ['"+mine+"/bin/python3', '-c', 'import time; time.sleep(0.2)'])\n")
	write("conda", "#!"+theirs+"/bin/python3\nimport subprocess, sys\nsubprocess.run(['sh', '-c', '"+mine+"/bin/python3 -c \"import sys\"; true'])\n")
	write("replaced", "#!"+theirs+"/bin/python3\nimport os\nos.environ['PATH'] = '"+mine+"/bin:' + os.environ['PATH']\nos.execvp('python3', ['python3', '-c', 'import time; time.sleep(1.5)'])\n")
	path := "PATH=" + mine + "/bin:" + os.Getenv("PATH")
	for _, argv := range [][]string{
		{"env", path, "python3", "-c", short},
		{"env", path, "nice", "python3", "-c", short},
		{"env", path, "timeout", "60", "python3", "-c", short},
		{"env", path, "nohup", "python3", "-c", short},
		{"env", path, "stdbuf", "-oL", "python3", "-c", short},
		{"env", path, "sh", "-c", "python3 -c 'import sys'; true"},
		{"env", path, "sh", "-c", "sleep 1; python3 -c 'import sys'; sleep 0.1"},
		{"env", path, "sh", "-c", "echo 1 2 | xargs -n1 python3 -c 'import sys'"},
		{"env", path, "sh", "-c", "python3 -c 'import sys' | cat"},
		{"./mine/bin/python3", "-c", short},
		{"sh", "-c", "cd mine && bin/python3 -c 'import sys'; true"},
		{"sh", "-c", ". mine/bin/activate; exec python3 -c 'import sys'"},
		{"./job.py"},
		{"nice", "./job.py"},
		{"./wrapper", "-c", short},
		{"./python", "-c", short},
		{"./poetry", "run", "x"},
		{"./conda", "run", "x"},
		{"./replaced"},
	} {
		// What takes longer than a person waits for is left out with a note, and what
		// is over before it is looked at is told: on a machine that has other work it
		// is tried again.
		for try := 0; ; try++ {
			l.Must(append([]string{"exec", "--"}, argv...)...)
			id := l.RunOf("exec").ID
			got, packages := pythonOf(l, id)
			notes := l.MetaRows("SELECT text FROM run_notes WHERE run_id = '" + id + "'")
			if !got.Seen && try < 10 && (strings.Contains(notes, "it took too long") || strings.Contains(notes, "no Python process") || notes == "") {
				continue
			}
			list := ""
			if packages != "" {
				list = l.Must("runs", "artifact", id, "python-packages.txt").Stdout
			}
			if got.Prefix != mine || !got.Seen || !strings.HasPrefix(got.Version, "3.") || !strings.Contains(list, "mypkg==1.0\n") || strings.Contains(list, "otherpkg") || packages != "python-packages.txt\n" || notes != "" {
				t.Errorf("%q: %+v %q %q, the packages are %.99q", argv, got, packages, notes, list)
			}
			break
		}
	}
}

func TestAPythonThatCannotBeSeenIsTold(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Write("script", []byte("#!/bin/sh\n# python2 of old\nfalse && python3 train.py\nexit 0\n"))
	labtest.Must(t, os.Chmod(l.Path("script"), 0o700))
	for _, name := range []string{"uv", "python3"} {
		l.Write("bin/"+name, []byte("#!/bin/sh\nexit 0\n"))
		labtest.Must(t, os.Chmod(l.Path("bin", name), 0o700))
	}
	l.Env = append(l.Env, "PATH="+l.Path("bin")+":/usr/bin:/bin")
	for _, c := range []struct {
		argv []string
		want string
	}{
		{[]string{"uv", "run", "train.py"}, "packages not kept: no Python process of uv was seen\n"},
		{[]string{"nice", "python3", "train.py"}, "no Python process of the program was seen: the packages are those of " + l.Path("bin", "python3") + ", which the command line names\npackages not kept: ask " + l.Path("bin", "python3") + " for its packages: its answer is none: unexpected end of JSON input\n"},
		{[]string{"sh", "-c", "true || python3.99 train.py"}, "packages not kept: no Python process of python3.99 was seen\n"},
		{[]string{"./script"}, "packages not kept: no Python process of python3 was seen\n"},
		{[]string{"echo", "python"}, ""},
		{[]string{"true"}, ""},
	} {
		l.Must(append([]string{"exec", "--"}, c.argv...)...)
		if got := l.MetaRows("SELECT text FROM run_notes WHERE run_id = '" + l.RunOf("exec").ID + "' ORDER BY note"); got != c.want {
			t.Errorf("%v: %q", c.argv, got)
		}
	}
}

func TestSeveralPythonsOfAProgramAreAllRecorded(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		labtest.CannotTry(t, "there is no python3 here")
	}
	l := labtest.New(t)
	l.Env = append(l.Env, "HOME="+os.Getenv("HOME"))
	mine, theirs := virtual(l, python, "mine", "mypkg"), virtual(l, python, "theirs", "otherpkg")
	for try := 0; ; try++ {
		l.Must("exec", "--", mine+"/bin/python3", "-c", "import subprocess; subprocess.run(['"+theirs+"/bin/python3', '-c', 'import time; time.sleep(1)'])")
		id := l.RunOf("exec").ID
		got, packages := pythonOf(l, id)
		if packages != "python-packages-2.txt\npython-packages.txt\n" && try < 10 && strings.Contains(l.MetaRows("SELECT text FROM run_notes"), "it took too long") {
			continue
		}
		if got.Prefix != mine || packages != "python-packages-2.txt\npython-packages.txt\n" || !strings.Contains(l.Must("runs", "artifact", id, "python-packages-2.txt").Stdout, "otherpkg==1.0\n") {
			t.Errorf("%+v %q", got, packages)
		}
		break
	}
}
