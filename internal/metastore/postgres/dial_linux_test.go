package postgres

import (
	"net"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestConnectionsNoticeACutNetwork(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	config, err := parse(Options{URL: "postgres://ann@" + l.Addr().String() + "/team"})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := config.DialFunc(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, option := range []struct{ name, want int }{
		{unix.TCP_KEEPIDLE, 4}, {unix.TCP_KEEPINTVL, 2}, {unix.TCP_KEEPCNT, 3}, {unix.TCP_USER_TIMEOUT, 10000},
	} {
		var got int
		var failed error
		if err := raw.Control(func(fd uintptr) { got, failed = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, option.name) }); err != nil || failed != nil {
			t.Fatal(err, failed)
		}
		if got != option.want {
			t.Errorf("option %d is %d, want %d", option.name, got, option.want)
		}
	}
	// A socket of this machine has no such options, and is opened all the same.
	path := filepath.Join(t.TempDir(), "s")
	local, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	if conn, err := config.DialFunc(t.Context(), "unix", path); err != nil {
		t.Error(err)
	} else {
		conn.Close()
	}
}
