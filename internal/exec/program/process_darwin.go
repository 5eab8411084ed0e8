package program

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// family are a process and what it has started, as far as that still runs, at most
// so many, and what it cost to learn that, in files read.
func family(root, most int) (list []int, cost int) {
	list = []int{root}
	all, err := unix.SysctlKinfoProcSlice("kern.proc.all")
	if err != nil {
		return list, 1
	}
	children := map[int][]int{}
	for _, p := range all {
		parent := int(p.Eproc.Ppid)
		children[parent] = append(children[parent], int(p.Proc.P_pid))
	}
	for at := 0; at < len(list); at++ {
		for _, pid := range children[list[at]] {
			if len(list) < most {
				list = append(list, pid)
			}
		}
	}
	return list, 1 + len(all)/20
}

// imageOf tells what a process executes from what it executed before, by how it
// was started.
func imageOf(pid int) (uint64, bool) {
	raw, err := unix.SysctlRaw("kern.procargs2", pid)
	if err != nil || len(raw) < 4 {
		return 0, false
	}
	sum := fnv.New64a()
	_, _ = sum.Write(raw)
	return sum.Sum64(), true
}

// startedAs is what a process was started as. The folder that it was started in is
// not told.
func startedAs(pid int) (p process, ok bool) {
	raw, err := unix.SysctlRaw("kern.procargs2", pid)
	if err != nil || len(raw) < 4 {
		return p, false
	}
	// The number of arguments, the file, NULs, the arguments, the environment.
	count := int(binary.NativeEndian.Uint32(raw))
	file, rest, _ := bytes.Cut(raw[4:], []byte{0})
	rest = bytes.TrimLeft(rest, "\x00")
	p.file = string(file)
	if resolved, err := filepath.EvalSymlinks(p.file); err == nil {
		p.file = resolved
	}
	for len(rest) > 0 {
		text, after, _ := bytes.Cut(rest, []byte{0})
		rest = after
		switch {
		case len(p.args) < count:
			p.args = append(p.args, string(text))
		case len(text) == 0:
			return p, true
		default:
			p.env = append(p.env, string(text))
		}
	}
	return p, true
}
