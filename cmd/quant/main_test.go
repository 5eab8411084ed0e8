package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"quant/internal/failpoint"
)

// TestMain makes this test binary a quant of its own: while tests run, the
// command `quant` on PATH is main, in a real process. Only here, in a test
// build, do failpoints have an effect: QUANT_TEST_FAILPOINT=NAME kills the
// process at that step, NAME:panic makes it panic, NAME:stop stops it
// (SIGSTOP), NAME#2 means the second time.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"quant": func() {
			armFailpoint(os.Getenv("QUANT_TEST_FAILPOINT"))
			main()
		},
	})
}

func armFailpoint(spec string) {
	if spec == "" {
		return
	}
	spec, action, _ := strings.Cut(spec, ":")
	name, nth, _ := strings.Cut(spec, "#")
	left := 1
	if nth != "" {
		left = int(nth[0] - '0')
	}
	failpoint.Set(func(hit string) {
		if hit != name {
			return
		}
		if left--; left != 0 {
			return
		}
		switch action {
		case "panic":
			panic("failpoint " + name)
		case "stop":
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		default:
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the kernel takes a moment
		}
	})
}

// TestScripts runs the acceptance tests: each file is a session of commands
// with what they must print and how they must exit.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("..", "..", "testdata", "script"),
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			return nil
		},
	})
}
