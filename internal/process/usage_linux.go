package process

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// tick is the unit in which the kernel tells processor time: USER_HZ, which is 100 on
// every architecture that Go runs on.
const tick = time.Second / 100

// The fields of /proc/PID/stat that tell what a process used.
const (
	utime  = 11
	cutime = 13
)

// UsageOf returns what a living process has used. Errors: as of Of.
func UsageOf(pid int) (Usage, error) {
	_, fields, err := stat(pid)
	if err != nil {
		return Usage{}, err
	}
	u := Usage{Start: string(fields[starttime])}
	for i := utime; i < cutime+2; i++ { // user, system, and both of ended children
		n, err := strconv.ParseInt(string(fields[i]), 10, 64)
		if err != nil {
			return Usage{}, err
		}
		u.Processor += time.Duration(n) * tick
	}
	pages, err := strconv.ParseInt(string(fields[rss]), 10, 64)
	u.Resident = pages * int64(os.Getpagesize())
	if text, unread := os.ReadFile(file(pid, "io")); unread == nil {
		u.Read, u.Written = number(text, "\nread_bytes: "), number(text, "\nwrite_bytes: ")
	}
	return u, err
}

func number(text []byte, name string) int64 {
	_, rest, _ := bytes.Cut(text, []byte(name))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	n, _ := strconv.ParseInt(string(line), 10, 64)
	return n
}
