package server

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// letGo gives back to the system what of this program's own file is in memory: mostly
// what only its start needed. What is needed again comes back from the system's cache.
// Only mappings all of whose pages are the file's are touched, so that nothing is lost.
func letGo() {
	self, err := os.Executable()
	if err != nil {
		return
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer f.Close()
	var from, to uintptr
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		if fields := strings.Fields(line); len(fields) >= 6 && strings.Contains(fields[0], "-") {
			from, to = 0, 0
			if strings.HasPrefix(fields[1], "r") && !strings.Contains(fields[1], "w") && strings.HasSuffix(line, " "+self) {
				from, to = bounds(fields[0])
			}
			continue
		}
		if pages, ok := strings.CutPrefix(line, "Anonymous:"); ok && to > from && strings.TrimSpace(pages) == "0 kB" {
			advise(from, to)
		}
	}
}

// bounds reads FROM-TO in hexadecimal digits; 0, 0 for anything else.
func bounds(s string) (from, to uintptr) {
	a, b, _ := strings.Cut(s, "-")
	low, errLow := strconv.ParseUint(a, 16, 64)
	high, errHigh := strconv.ParseUint(b, 16, 64)
	if errLow != nil || errHigh != nil {
		return 0, 0
	}
	return uintptr(low), uintptr(high)
}

func advise(from, to uintptr) {
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED) // a system that does not, keeps them
}
