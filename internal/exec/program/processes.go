package program

import (
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a process that the program started, or one of those did.
type Process struct {
	PID  int
	Name string // of its program, as the kernel shortens it

	parent int
	start  string // with PID it names a process for ever
	gone   bool   // it has ended, and nobody has asked how
}

// started are the processes below one, at this moment.
func started(pid int) []Process {
	all := processes()
	family := []int{pid}
	var list []Process
	for i := 0; i < len(family); i++ {
		for _, p := range all {
			if p.parent == family[i] && !p.gone && !slices.Contains(family, p.PID) {
				family, list = append(family, p.PID), append(list, p)
			}
		}
	}
	return list
}

// dying is how long processes may take to follow a program into its end before
// they count as left.
const dying = 300 * time.Millisecond

// left are the processes of the program that still run: those that were known
// below it and those that carry its mark. wait: those about to end are waited for.
func (s *session) left(wait bool) []Process {
	for deadline := time.Now().Add(dying); ; time.Sleep(dying / 10) {
		var list []Process
		for _, p := range processes() {
			if p.gone || p.PID == os.Getpid() || p.parent == os.Getpid() {
				continue
			}
			known := slices.ContainsFunc(s.family, func(o Process) bool { return o.PID == p.PID && o.start == p.start })
			if known || s.Mark != "" && hasVariable(p.PID, s.Mark) {
				list = append(list, p)
			}
		}
		if !wait || len(list) == 0 || time.Now().After(deadline) {
			return list
		}
	}
}

// shellWaits reports whether a shell would notice that we stop, and let us go on:
// one that controls jobs and has put us in a group of our own. Without one, who
// stops would stay so for ever. ofGroup: that all of our group stops, not we alone.
func shellWaits(ofGroup bool) bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false // nobody sits there
	}
	tty.Close()
	own, session, pid := syscall.Getpgrp(), sessionOf(0), os.Getppid()
	for range 64 {
		group, err := syscall.Getpgid(pid)
		if err != nil || sessionOf(pid) != session {
			return false
		}
		if group != own {
			return controlsJobs(pid)
		}
		parent := parentOf(pid)
		if !ofGroup || parent <= 0 {
			return false
		}
		pid = parent
	}
	return false
}

func sessionOf(pid int) int {
	id, err := unix.Getsid(pid)
	if err != nil {
		return -1
	}
	return id
}
