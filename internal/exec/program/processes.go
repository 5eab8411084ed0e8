package program

import (
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"quant/internal/process"
)

// started are the processes below one, at this moment.
func started(pid int) (list []process.Process) {
	family, _ := process.Family(pid, maxProcesses)
	for _, pid := range family[1:] {
		if p, err := process.Of(pid); err == nil && !p.Ended {
			list = append(list, p)
		}
	}
	return list
}

// dying is how long processes may take to follow a program into its end before
// they count as left.
const dying = 300 * time.Millisecond

// left are the processes of the program that still run: those that were known
// below it and those that carry its mark. wait: those about to end are waited for.
func (s *session) left(wait bool) []process.Process {
	for deadline := time.Now().Add(dying); ; time.Sleep(dying / 10) {
		var list []process.Process
		for _, p := range process.All() {
			if p.Ended || p.PID == os.Getpid() || p.Parent == os.Getpid() {
				continue
			}
			known := slices.ContainsFunc(s.family, func(o process.Process) bool { return o.PID == p.PID && o.Start == p.Start })
			if known || s.Mark != "" && isMarked(p.PID, s.Mark) {
				list = append(list, p)
			}
		}
		if !wait || len(list) == 0 || time.Now().After(deadline) {
			return list
		}
	}
}

// isMarked reports whether a process was started with a NAME=VALUE. Where that
// cannot be read, processes are known by who started them.
func isMarked(pid int, pair string) bool {
	env, err := process.Environ(pid)
	return err == nil && slices.Contains(env, pair)
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
			// Such a shell is not stopped itself by the key that stops jobs. Where that is
			// not told, who puts its children in groups of their own is taken for one.
			return !process.Readable || process.DispositionOf(pid, syscall.SIGTSTP) != process.ByDefault
		}
		parent := process.ParentOf(pid)
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

// stopped reports whether a process is stopped.
func stopped(pid int) bool {
	p, err := process.Of(pid)
	return err == nil && p.Stopped
}
