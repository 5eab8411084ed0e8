package exec

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"quant/internal/test/labtest"
)

// What all processes of a program use is recorded beside what it says itself.
func TestWhatAProgramUsesIsSampled(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	python, err := exec.LookPath("python3")
	if err != nil {
		labtest.CannotTry(t, "there is no python3 here")
	}
	script := `
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "held = bytearray(150 << 20)\nprint(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
child.stdout.readline()
time.sleep(1.5)
child.kill(); child.wait()
time.sleep(0.3)`
	l.Must("exec", "--sample", "100ms", "--", python, "-c", script)
	value := func(name, of string) string {
		return strings.TrimSpace(l.MetaRows("SELECT " + of + " FROM run_metrics WHERE name = '" + name + "'"))
	}
	for what, holds := range map[string]string{
		"at least five samples":                value("system.memory_bytes", "points >= 5"),
		"the child's memory":                   value("system.memory_bytes", "max > 150 * 1024 * 1024 AND min < max / 2"),
		"both processes, and one at the end":   value("system.processes", "max >= 2 AND last = 1"),
		"a core at work, and never more cores": value("system.cpu_cores", "max > 0.1 AND max < 8 AND min >= 0"),
		"bytes of disks that only grow":        value("system.write_bytes", "last = max"),
	} {
		if holds != "1" {
			t.Errorf("%s: %q\n%s", what, holds, l.MetaRows("SELECT name, points, min, max, last FROM run_metrics"))
		}
	}
	// Runs are compared by the most that they used.
	l.Must("exec", "--sample", "100ms", "--", "sleep", "0.3")
	first := strings.TrimSpace(l.MetaRows("SELECT run_id FROM runs WHERE kind = 'exec' ORDER BY run_id LIMIT 1"))
	most := strings.TrimSpace(l.MetaRows("SELECT CAST(max AS INTEGER) FROM run_metrics WHERE name = 'system.processes' AND run_id = '" + first + "'"))
	if got := l.Must("runs", "compare", first, "last:exec", "--all", "--output", "csv").Stdout; !strings.Contains(got, ","+first+","+most+",0\n") {
		t.Errorf("the most was %s:\n%s", most, got)
	}
	for _, every := range []string{"0s", "1ms", "2h", "-1s", "x"} {
		if r := l.Run("exec", "--sample", every, "--", "true"); r.Code != 125 || !strings.Contains(r.Stderr, "--sample") {
			t.Errorf("--sample %s: exit status %d: %s", every, r.Code, r.Stderr)
		}
	}
}

// The accelerators are asked through the driver's library; here a stand-in plays it.
func TestAcceleratorsAreSampledThroughTheirLibrary(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	cc, err := exec.LookPath("cc")
	if err != nil {
		labtest.CannotTry(t, "there is no C compiler here")
	}
	l.Write("lib/empty", nil)
	if out, err := exec.Command(cc, "-shared", "-fPIC", "-o", l.Path("lib", "libnvidia-ml.so.1"), "testdata/nvml.c").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l.Env = append(l.Env, "LD_LIBRARY_PATH="+l.Path("lib"))
	l.Must("exec", "--sample", "50ms", "--", "sleep", "0.5")
	got := l.MetaRows("SELECT name || '|' || last FROM run_metrics WHERE name LIKE 'system.gpu%' ORDER BY name")
	same(t, got, []string{"system.gpu.0.memory_bytes|3221225472.0", "system.gpu.0.program_memory_bytes|2690646016.0", "system.gpu.0.utilization|0.42"})
	var about struct {
		Accelerators []map[string]any `json:"accelerators"`
	}
	labtest.Must(t, json.Unmarshal([]byte(l.MetaRows("SELECT environment_json FROM run_programs")), &about))
	if len(about.Accelerators) != 1 {
		t.Fatalf("%+v", about)
	}
	for name, want := range map[string]any{"name": "NVIDIA Stand-in", "driver": "580.00.1", "memory_bytes": float64(140 << 30), "index": float64(0), "uuid": "GPU-0"} {
		if about.Accelerators[0][name] != want {
			t.Errorf("%s: %v, want %v", name, about.Accelerators[0][name], want)
		}
	}
}
