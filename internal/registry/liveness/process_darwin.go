package liveness

import (
	"time"

	"golang.org/x/sys/unix"
)

// SinceBoot is a clock that nobody sets and that goes on while the machine sleeps.
func SinceBoot() time.Duration { return clock(unix.CLOCK_MONOTONIC) }

func machineID() string { return sysctl("kern.uuid") }

func bootID() string { return sysctl("kern.bootsessionuuid") }

func sysctl(name string) string {
	s, err := unix.Sysctl(name)
	if err != nil {
		return ""
	}
	return s
}
