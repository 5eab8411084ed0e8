package program

import (
	"os"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"quant/internal/process"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == RelayArg {
		os.Exit(RelayMain(os.Args[2:], os.Environ()))
	}
	os.Exit(m.Run())
}

// Not parallel: other tests have children.
func TestALeaderThatCannotExecuteTheProgramLeavesNoChild(t *testing.T) {
	path := script(t, t.TempDir(), "p", "\x7fELF", 0o755)
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer slave.Close()
	if _, err := (Command{Path: path, Argv: []string{"p"}, In: slave, Out: slave, Err: slave, Relay: os.Args[0]}).Run(); err == nil {
		t.Fatal("it ran")
	}
	for _, p := range process.All() {
		if p.Parent == os.Getpid() {
			t.Errorf("left: %+v", p)
		}
	}
}

func TestALeaderThatDoesNotAnswerIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(pair[1]) }()
	l := &leader{socket: pair[0]}
	done := make(chan struct{})
	go func() { l.handOver(nil); l.close(); close(done) }()
	select {
	case <-done:
	case <-time.After(leaderPatience + 10*time.Second):
		t.Error("it is waited for")
	}
}

func TestARelayIsToldWhatItReads(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{""}, {"0"}, {"-1"}, {"9"}, {"x"}} {
		if status := RelayMain(args, nil); status != 2 {
			t.Errorf("%q: %d", args, status)
		}
	}
}
