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
	Packages   []string `json:"packages"` // NAME==VERSION, sorted
}

var pythonName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^python[0-9.]*$`) })

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
import json
packages = set()
try:
    from importlib.metadata import distributions
    for d in distributions():
        try:
            packages.add("%s==%s" % (d.metadata["Name"], d.version))
        except Exception:
            pass
except Exception:
    pass
print("\n" + json.dumps({"executable": sys.executable, "version": sys.version.split()[0], "packages": sorted(packages)}))
`

const maxPythonAnswer = 8 << 20

// AskPython starts the interpreter to learn what it is and which packages it
// has. Errors: Failed, also for an answer that is none.
func AskPython(ctx context.Context, interpreter string, env []string) (Python, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, interpreter, "-c", askPython)
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is not meant for it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	answer := &bounded{most: maxPythonAnswer, full: cancel}
	cmd.Stdout = answer
	if err := cmd.Run(); err != nil {
		return Python{}, quant.Errorf(quant.Failed, "ask %s for its packages: %w", interpreter, err)
	}
	last := bytes.TrimSpace(answer.Bytes())
	last = last[bytes.LastIndexByte(last, '\n')+1:] // sitecustomize may have printed something
	var p Python
	if err := json.Unmarshal(last, &p); err != nil {
		return Python{}, quant.Errorf(quant.Failed, "ask %s for its packages: its answer is none: %w", interpreter, err)
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
