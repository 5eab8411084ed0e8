package labtest

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"quant/internal/app"
	"quant/internal/config"
	"quant/internal/failpoint"
	"quant/internal/test/dying"
)

// Main makes a test binary a quant of its own: while its tests run, the command
// `quant` on PATH is app.Main, in a real process. It does not return. Only here,
// in a test build, do failpoints have an effect: QUANT_TEST_FAILPOINT=NAME kills
// the process at that step, NAME:panic makes it panic, NAME:stop stops it
// (SIGSTOP), NAME:die HOW ends it in that way of package dying, NAME:hang makes that goroutine wait for ever and creates the file
// QUANT_TEST_REACHED, NAME#2 means the second time. QUANT_TEST_PATIENCE=NAME=1s
// bounds a wait that has a name in package failpoint. QUANT_TEST_CLOCK=1h sets the clock
// of the process ahead by so much. QUANT_TEST_JOB_FAILPOINT is
// QUANT_TEST_FAILPOINT for the processes that workers start.
func Main(m *testing.M) {
	testscript.Main(cleaning{m}, map[string]func(){
		"quant": func() {
			armFailpoint(os.Getenv("QUANT_TEST_FAILPOINT"))
			if os.Getenv(config.JobRun) != "" {
				armFailpoint(os.Getenv("QUANT_TEST_JOB_FAILPOINT"))
			}
			setPatience(os.Getenv("QUANT_TEST_PATIENCE"))
			setClock(os.Getenv("QUANT_TEST_CLOCK"))
			os.Exit(app.Main(os.Args[1:]))
		},
	})
}

func armFailpoint(spec string) {
	if spec == "" {
		return
	}
	spec, action, _ := strings.Cut(spec, ":")
	action, how, _ := strings.Cut(action, " ")
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
		case "die":
			dying.Now(how)
		case "panic":
			panic("failpoint " + name)
		case "stop":
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
			time.Sleep(50 * time.Millisecond) // what it was sent meanwhile reaches it first
		case "hang":
			_ = os.WriteFile(os.Getenv("QUANT_TEST_REACHED"), nil, 0o600)
			select {}
		default:
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the kernel takes a moment
		}
	})
}

func setPatience(spec string) {
	name, value, given := strings.Cut(spec, "=")
	if !given {
		return
	}
	d, err := time.ParseDuration(value)
	if err != nil {
		panic(err)
	}
	failpoint.SetPatience(func(asked string, standard time.Duration) time.Duration {
		if asked == name {
			return d
		}
		return standard
	})
}

func setClock(spec string) {
	if spec == "" {
		return
	}
	ahead, err := time.ParseDuration(spec)
	if err != nil {
		panic(err)
	}
	failpoint.SetClock(func() time.Time { return time.Now().Add(ahead) })
}

// NoRaceSleep keeps a process that the race detector watches from sleeping for
// a second at its end.
const NoRaceSleep = "GORACE=atexit_sleep_ms=0"
