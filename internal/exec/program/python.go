package program

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"quant"
)

// Python is the interpreter of a Python program.
type Python struct {
	Executable string   `json:"executable"`
	Version    string   `json:"version"`
	Prefix     string   `json:"prefix"`   // its virtual environment, or its own folder
	Packages   []string `json:"packages"` // NAME==VERSION, sorted
	// Depends are the paths, there or not, whose change may change the packages.
	Depends []string `json:"depends,omitempty"`
}

var pythonName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(python|pypy)[0-9.]*[dmtw]*$|^Python$`) })

func isPython(file string) bool { return pythonName().MatchString(filepath.Base(file)) }

// PythonOf returns the Python interpreter that runs the program at file, the
// program itself or the one that its first line names; "" if that is none.
// pathVar is the PATH of the program.
func PythonOf(file, pathVar string) string {
	if isPython(file) {
		return file
	}
	words := shebang(file)
	if len(words) == 0 {
		return ""
	}
	if filepath.Base(words[0]) == "env" {
		for _, word := range words[1:] {
			if strings.HasPrefix(word, "-") || strings.Contains(word, "=") {
				continue
			}
			if isPython(word) {
				if found, err := Find(word, pathVar); err == nil {
					return found
				}
			}
			return ""
		}
		return ""
	}
	if isPython(words[0]) {
		return words[0]
	}
	return ""
}

// shebang returns the words of a script's first line that name its interpreter.
func shebang(file string) []string {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	head := make([]byte, 256)
	n, _ := io.ReadFull(f, head)
	line, _, _ := bytes.Cut(head[:n], []byte("\n"))
	rest, found := bytes.CutPrefix(line, []byte("#!"))
	if !found {
		return nil
	}
	return strings.Fields(string(rest))
}

// askPython tells about the interpreter that runs it. The folder that it was
// started in is no place to import from: its modules are the program's.
const askPython = `import sys
sys.path[:1] = []
import json, os
packages = set()
depends = set(sys.path)
try:
    from importlib.metadata import distributions
    for d in distributions():
        try:
            packages.add("%s==%s" % (d.metadata["Name"], d.version))
        except Exception:
            pass
        try:
            at = str(d._path)
            depends.update([at] + [os.path.join(at, name) for name in ("METADATA", "PKG-INFO", "EGG-INFO")])
        except Exception:
            depends.add("")
except Exception:
    pass
try:
    import site
    try:
        depends.update(site.getsitepackages())
    except Exception:
        pass
    depends.add(site.getusersitepackages())
    for folder in list(depends):
        if os.path.isdir(folder):
            depends.update(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith((".pth", ".egg-link")))
    for name in ("sitecustomize", "usercustomize"):
        if getattr(sys.modules.get(name), "__file__", None):
            depends.add(sys.modules[name].__file__)
    bin = os.path.dirname(sys.executable)
    depends.update(os.path.join(folder, "pyvenv.cfg") for folder in (bin, os.path.dirname(bin)))
    for root in set([sys.prefix, sys.exec_prefix, sys.base_prefix]):
        depends.add(root)
except Exception:
    depends.add("")
print("\n" + json.dumps({"executable": sys.executable, "version": sys.version.split()[0], "prefix": sys.prefix, "packages": sorted(packages), "depends": sorted(depends)}))
`

const maxPythonAnswer = 8 << 20

// AskPython starts the interpreter to learn what it is and which packages it
// has. Errors: Failed, also for an answer that is none.
func AskPython(ctx context.Context, interpreter Interpreter) (Python, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, interpreter.Path, "-c", askPython)
	cmd.Env = interpreter.Env
	if info, err := os.Stat(interpreter.Dir); err == nil && info.IsDir() {
		cmd.Dir = interpreter.Dir
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is not meant for it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	answer := &bounded{most: maxPythonAnswer, full: cancel}
	cmd.Stdout = answer
	if err := cmd.Run(); err != nil {
		return Python{}, quant.Errorf(quant.Failed, "ask %s for its packages: %w", interpreter.Path, err)
	}
	last := bytes.TrimSpace(answer.Bytes())
	last = last[bytes.LastIndexByte(last, '\n')+1:] // sitecustomize may have printed something
	var p Python
	if err := json.Unmarshal(last, &p); err != nil {
		return Python{}, quant.Errorf(quant.Failed, "ask %s for its packages: its answer is none: %w", interpreter.Path, err)
	}
	return p, nil
}

// bounded is a buffer that stops what fills it too far.
type bounded struct {
	bytes.Buffer
	most int
	full func()
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.most {
		b.full()
		return 0, io.ErrShortWrite
	}
	return b.Buffer.Write(p)
}

// tools are programs that start a Python that is not known from their name.
var tools = []string{"uv", "uvx", "poetry", "pipenv", "pdm", "hatch", "conda", "mamba", "micromamba", "pixi", "rye", "tox", "nox",
	"torchrun", "papermill", "jupyter", "ipython", "accelerate", "deepspeed", "horovodrun", "ray", "kedro", "dvc", "snakemake", "pytest", "streamlit"}

// runners are programs that run the one that their arguments name.
var runners = []string{"env", "nice", "ionice", "chrt", "taskset", "numactl", "timeout", "nohup", "setsid", "stdbuf", "unbuffer", "time", "xargs",
	"sudo", "doas", "exec", "command", "sh", "bash", "dash", "zsh", "ksh", "fish", "flock", "systemd-run", "srun", "mpirun", "mpiexec", "catchsegv", "strace", "ltrace", "perf", "nsys", "uv"}

// Mentioned returns the word of a command line by which it runs Python, "" if there
// is none: the name of an interpreter behind a program that runs others, also inside
// the text that a shell gets, or of a tool that starts one. named tells that it is an
// interpreter's.
func Mentioned(argv []string) (word string, named bool) {
	runs := slices.Contains(runners, filepath.Base(argv[0]))
	for at, arg := range argv {
		if !runs {
			break
		}
		for part := range strings.FieldsFuncSeq(arg, func(r rune) bool { return strings.ContainsRune(" \t\n;&|()'\"`$", r) }) {
			if isPython(part) && (part == arg || isShell(argv[:at])) {
				return part, true
			}
			if at == 0 {
				break
			}
		}
	}
	for at, arg := range argv {
		if base := filepath.Base(arg); slices.Contains(tools, base) && (at == 0 || runs && at < 4) {
			return base, false
		}
	}
	return "", false
}

// maxScript is how much of a script is read for the names of interpreters.
const maxScript = 64 << 10

// NamedIn returns the first name of a Python interpreter in the script at file; "" if it is no script, or has none.
func NamedIn(file string) string {
	if len(shebang(file)) == 0 {
		return ""
	}
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, maxScript))
	_, text, _ = bytes.Cut(text, []byte("\n"))
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for word := range strings.FieldsFuncSeq(line, func(r rune) bool { return strings.ContainsRune(" \t\r\n;&|()'\"`$", r) }) {
			if isPython(word) {
				return filepath.Base(word)
			}
		}
	}
	return ""
}

// isShell reports whether the arguments in front of one make it the text of a
// shell.
func isShell(before []string) bool {
	if len(before) < 2 || !strings.HasPrefix(before[len(before)-1], "-") || !strings.HasSuffix(before[len(before)-1], "c") {
		return false
	}
	for _, arg := range before {
		if slices.Contains([]string{"sh", "bash", "dash", "zsh", "ksh", "fish"}, filepath.Base(arg)) {
			return true
		}
	}
	return false
}
