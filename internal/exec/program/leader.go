package program

import (
	"errors"

	"golang.org/x/sys/unix"
)

// A leader is a process of quant that leads the session of a program which has a
// terminal of its own, as the shell does that starts a program plainly. Were the
// program its session's leader, its end would hang up (SIGHUP) what it left in the
// background. When the program has ended, the leader takes the foreground, as a
// shell does, and keeps the session and the terminal until nobody writes to it any
// more. It ends when we are gone, and the kernel then hangs the program up, as at
// the end of a terminal.
type leader struct {
	socket int // SOCK_SEQPACKET; closing it ends the leader unless it was told that the program has ended
}

// carried is something that processes still write to, and where that goes.
type carried struct {
	from, to int // to: -1 drops it
}

// retry calls until no signal interrupts.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
