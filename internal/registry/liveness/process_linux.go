package liveness

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// SinceBoot is a clock that nobody sets and that goes on while the machine sleeps.
func SinceBoot() time.Duration { return clock(unix.CLOCK_BOOTTIME) }

func machineID() string { return firstLine("/etc/machine-id") }

func bootID() string { return firstLine("/proc/sys/kernel/random/boot_id") }

func firstLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line)
}
