package crash_test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"quant/internal/crash"
	"quant/internal/test/dying"
	"quant/internal/test/labtest"
)

func TestMain(m *testing.M) {
	args := os.Args[1:]
	if len(args) > 0 && args[0] == crash.SuccessorArg {
		s, err := crash.Succeed(args)
		fmt.Printf("%q %q %q %v\n", s.RunID, s.What, s.Args, err)
		fmt.Fprintln(os.Stderr, "the successor speaks")
		os.Exit(7)
	}
	if how := os.Getenv("QUANT_TEST_CRASH"); how != "" {
		crash.Arm([]string{"ingest", "x.csv"}, "")
		crash.Arm([]string{"ingest", "x.csv"}, "the-run")
		if how == "disarmed panic" {
			crash.Disarm()
		}
		dying.Now(strings.TrimPrefix(how, "disarmed "))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestACrashEndsInOneLineAndStartsTheProgramAnew(t *testing.T) {
	if labtest.RaceDetector {
		t.Skip("with the race detector a crash is as Go makes it")
	}
	t.Parallel()
	for how, want := range map[string]string{
		"abort":        "a library aborted",
		"fault":        "a library touched memory that is not its own",
		"far thread":   "a library touched memory that is not its own",
		"many threads": "a library touched memory that is not its own",
		"terminate":    "a library aborted: the engine is out of its depth",
		"panic":        "panic: boom",
		"concurrency":  "fatal error: concurrent map",
		"stack":        "stack overflow",
		"no thread":    "a thread could not be started: Resource temporarily unavailable",
		"memory":       "fatal error: |a thread could not be started", // whichever wants some first
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "QUANT_TEST_CRASH="+how)
			var out, said strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &said
			err := cmd.Run()
			if cmd.ProcessState.ExitCode() != 7 {
				t.Fatalf("%v\n%s\n%s", err, out.String(), said.String())
			}
			lines := strings.Split(strings.TrimSpace(said.String()), "\n")
			if len(lines) != 3 || !strings.HasPrefix(lines[0], "quant: ") || !slices.ContainsFunc(strings.Split(want, "|"), func(one string) bool { return strings.Contains(lines[0], one) }) || !strings.HasPrefix(lines[1], "  hint: ") || lines[2] != "the successor speaks" {
				t.Errorf("said: %s", said.String())
			}
			if !strings.HasPrefix(out.String(), `"the-run" "`+strings.TrimPrefix(lines[0], "quant: ")) || !strings.HasSuffix(out.String(), `["ingest" "x.csv"] <nil>`+"\n") {
				t.Errorf("told: %s", out.String())
			}
		})
	}
}

func TestWithoutBeingArmedACrashIsAsGoMakesIt(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "QUANT_TEST_CRASH=disarmed panic")
	said, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(said), "goroutine ") {
		t.Errorf("%v: %s", err, said)
	}
}
