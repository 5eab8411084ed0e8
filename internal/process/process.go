// Package process tells what the system shows of the processes on this machine. It
// keeps nothing: each answer is of its moment, and the process may have ended by the
// time it is read. Of another user's process a system may tell less.
package process

import "time"

// Process is a process as it was at one moment.
type Process struct {
	PID    int
	Parent int    // its pid
	Name   string // of its program, as the kernel shortens it
	// Start is when it started, as the kernel keeps it: opaque, and untouched by the
	// wall clock. With PID it names a process for ever.
	Start   string
	Ended   bool // nobody has asked yet how it ended
	Stopped bool // by a signal, until another lets it go on
}

// Disposition is what a process does at a signal.
type Disposition int

// A process is ByDefault where it cannot be told.
const (
	ByDefault Disposition = iota
	Ignored
	Caught
)

// ParentOf returns the pid of the parent of a living process, 0 if it is not known.
func ParentOf(pid int) int {
	p, err := Of(pid)
	if err != nil || p.Ended {
		return 0
	}
	return p.Parent
}

// StartOf returns Process.Start. exists is false when there is no such process; one
// that has ended does not exist. start is "" where it is not told.
func StartOf(pid int) (start string, exists bool) {
	p, err := Of(pid)
	if err != nil {
		return "", !isGone(err)
	}
	if p.Ended {
		return "", false
	}
	return p.Start, true
}

// Usage is what a process has used since it started.
type Usage struct {
	Start     string        // as Process.Start
	Processor time.Duration // of all its threads, user and system, and of its children that have ended and were waited for
	Resident  int64         // bytes of memory that it holds now; what several processes share counts in each
	// Read and Written are bytes that went to and from disks, 0 where that is not told.
	Read, Written int64
}
