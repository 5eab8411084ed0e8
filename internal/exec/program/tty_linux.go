package program

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	getTermios = unix.TCGETS
	setTermios = unix.TCSETS
)

// rssUnit is the unit of ru_maxrss, in bytes.
const rssUnit = 1 << 10

// disposition is what a process does at a signal.
type disposition int

const (
	byDefault disposition = iota
	ignored
	caught
)

func dispositionOf(pid int, sig syscall.Signal) disposition {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return byDefault
	}
	has := func(name string) bool {
		_, rest, _ := strings.Cut(string(text), "\n"+name+":\t")
		line, _, _ := strings.Cut(rest, "\n")
		mask, err := strconv.ParseUint(line, 16, 64)
		return err == nil && mask&(1<<(sig-1)) != 0
	}
	switch {
	case has("SigIgn"):
		return ignored
	case has("SigCgt"):
		return caught
	}
	return byDefault
}

// stopped reports whether a process is stopped.
func stopped(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	after := bytes.TrimSpace(text[bytes.LastIndexByte(text, ')')+1:])
	return len(after) > 0 && (after[0] == 'T' || after[0] == 't')
}
