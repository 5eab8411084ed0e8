// Package faults proves that nothing is lost, and nothing said that is not so,
// where a kill or a failing disk meets a command at any of its system calls. It
// counts the calls that touch a lab, disturbs one of them, goes on as a person
// would, and judges what is then there with SQL and digests alone.
package faults

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"quant/internal/test/labtest"
)

func TestMain(m *testing.M) {
	becomeWatched()
	labtest.Main(m)
}

// place is one system call on a file of the lab.
type place struct{ call, file string }

func (p place) String() string { return p.call + " " + p.file }

func (p place) reads() bool { return p.call == "read" || p.call == "pread" }

// fault is what befalls the nth call: the process is killed there, a torn write
// after half of it; or the call fails with errno, and with stays every later one
// that changes something, too. The zero value is none.
type fault struct {
	n           int
	errno       syscall.Errno
	torn, stays bool
}

func (f fault) kind() string {
	switch {
	case f.errno != 0 && f.stays:
		return unix.ErrnoName(f.errno) + " from then on"
	case f.errno != 0:
		return unix.ErrnoName(f.errno)
	case f.torn:
		return "kill in a write"
	default:
		return "kill"
	}
}

func (f fault) String() string { return fmt.Sprintf("%s at %d", f.kind(), f.n) }

// at reports whether the fault befalls a call, the count-th.
func (f fault) at(count int, p place) bool {
	if count == f.n {
		return f.n > 0
	}
	return f.stays && f.n > 0 && count > f.n && !p.reads() && (f.errno != unix.EMFILE || p.call == "open")
}

// errnos are what a call may fail with on a disk that is broken, full or
// read-only, in a process that has too many files, or that a signal disturbs.
var errnos = map[string][]syscall.Errno{
	"read":      {unix.EIO, unix.EAGAIN},
	"pread":     {unix.EIO, unix.EAGAIN},
	"write":     {unix.EIO, unix.ENOSPC, unix.EDQUOT},
	"pwrite":    {unix.EIO, unix.ENOSPC, unix.EDQUOT},
	"fsync":     {unix.EIO, unix.ENOSPC, unix.EDQUOT},
	"fdatasync": {unix.EIO, unix.ENOSPC, unix.EDQUOT},
	"ftruncate": {unix.EIO, unix.EROFS},
	"fallocate": {unix.EIO, unix.ENOSPC, unix.EINTR},
	"open":      {unix.EIO, unix.ENOSPC, unix.EMFILE, unix.EROFS, unix.EINTR},
	"rename":    {unix.EIO, unix.ENOSPC, unix.EROFS},
	"unlink":    {unix.EIO, unix.EROFS},
	"mkdir":     {unix.EIO, unix.ENOSPC, unix.EROFS},
	"link":      {unix.EIO, unix.ENOSPC},
}

// faultsAt are the faults that may befall a call, the nth.
func faultsAt(n int, p place) []fault {
	var all []fault
	if !p.reads() {
		all = append(all, fault{n: n})
		if p.call == "write" || p.call == "pwrite" {
			all = append(all, fault{n: n, torn: true})
		}
	}
	list, known := errnos[p.call]
	if !known {
		list = errnos["write"]
	}
	for _, errno := range list {
		all = append(all, fault{n: n, errno: errno})
		if errno != unix.EAGAIN && errno != unix.EINTR && !p.reads() {
			all = append(all, fault{n: n, errno: errno, stays: true})
		}
	}
	return all
}

// chosen are so many faults of all that can befall a command, of different calls
// and kinds before the same once more. Reads, of which there are many, get a
// fifth of them at most.
func chosen(places []place, count int, random *rand.Rand) []fault {
	byKind := map[string][]fault{}
	var reads []fault
	for i, p := range places {
		for _, f := range faultsAt(i+1, p) {
			if p.reads() {
				reads = append(reads, f)
			} else {
				key := p.call + " " + f.kind()
				byKind[key] = append(byKind[key], f)
			}
		}
	}
	shuffle := func(list []fault) {
		random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	var kinds []string
	for kind := range byKind {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	var kept []fault
	for _, kind := range kinds {
		shuffle(byKind[kind])
	}
	random.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	for round, any := 0, true; any; round++ {
		any = false
		for _, kind := range kinds {
			if round < len(byKind[kind]) {
				kept, any = append(kept, byKind[kind][round]), true
			}
		}
	}
	shuffle(reads)
	few := min(len(reads), count/5)
	kept = kept[:min(len(kept), count-few)]
	return append(kept, reads[:few]...)
}

// tally is how often what was done.
type tally map[string]map[string]int

func (t tally) add(row, column string) {
	if t[row] == nil {
		t[row] = map[string]int{}
	}
	t[row][column]++
}

// table is the tally, a line a row, with sums.
func (t tally) table() string {
	columns, sums := map[string]bool{}, map[string]int{}
	for _, row := range t {
		for c := range row {
			columns[c] = true
		}
	}
	names := make([]string, 0, len(columns))
	for c := range columns {
		names = append(names, c)
	}
	slices.Sort(names)
	var b strings.Builder
	fmt.Fprintf(&b, "| | %s | sum |\n|---|%s--:|\n", strings.Join(names, " | "), strings.Repeat("--:|", len(names)))
	rows := make([]string, 0, len(t))
	for r := range t {
		rows = append(rows, r)
	}
	slices.Sort(rows)
	line := func(name string, cells map[string]int) {
		sum := 0
		fmt.Fprintf(&b, "| %s", name)
		for _, c := range names {
			fmt.Fprintf(&b, " | %d", cells[c])
			sum += cells[c]
		}
		fmt.Fprintf(&b, " | %d |\n", sum)
	}
	for _, r := range rows {
		line(r, t[r])
		for c, n := range t[r] {
			sums[c] += n
		}
	}
	line("all", sums)
	return b.String()
}
