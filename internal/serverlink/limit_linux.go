package serverlink

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// limitUnanswered sets the limit on a socket of TCP. Keepalives alone do not see a
// network that is cut while something is on its way: they wait until it has arrived.
func limitUnanswered(network, _ string, conn syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var failed error
	err := conn.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(Unanswered.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return failed
}
