// Package tried is about tests that need what a machine may lack. It links nothing of the
// product.
package tried

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Cannot ends a test that this machine cannot run, and says why: as left out, or, where
// QUANT_TEST_EVERYTHING is set, as CI does, as failed. What was not tried is no pass
// there.
func Cannot(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("QUANT_TEST_EVERYTHING") != "" {
		t.Fatalf("not tried: "+format, args...)
	}
	t.Skipf("not tried: "+format, args...)
}

var (
	mu        sync.Mutex
	installed = map[string]func() (string, error){}
)

// Python is an interpreter that has the packages of a requirements file: the one that the
// variable names, or, where QUANT_TEST_EVERYTHING is set, one made from PyPI, once for
// all tests of a package. It stays in the folder of temporary files.
func Python(t testing.TB, variable, requirements string) string {
	t.Helper()
	if named := os.Getenv(variable); named != "" {
		return named
	}
	if os.Getenv("QUANT_TEST_EVERYTHING") == "" {
		Cannot(t, "%s is installed from PyPI only where QUANT_TEST_EVERYTHING is set; or name a Python that has it with %s", requirements, variable)
	}
	mu.Lock()
	make := installed[requirements]
	if make == nil {
		make = sync.OnceValues(func() (string, error) { return install(requirements) })
		installed[requirements] = make
	}
	mu.Unlock()
	program, err := make()
	if err != nil {
		Cannot(t, "no Python with %s: %v", requirements, err)
	}
	return program
}

func install(requirements string) (string, error) {
	dir, err := os.MkdirTemp("", "quant-python-")
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "bin", "python")
	for _, args := range [][]string{
		{"python3", "-m", "venv", "--clear", dir},
		{program, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "-r", requirements},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w: %.2000s", strings.Join(args[:3], " "), err, out)
		}
	}
	return program, nil
}
