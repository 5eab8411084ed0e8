package process

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io/fs"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Readable tells that Environ, Folder and DispositionOf answer here for every process
// of this user.
const Readable = false

func isGone(err error) bool { return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EIO) }

// Of returns a process. Errors: those of the system; ESRCH or EIO: there is none.
func Of(pid int) (Process, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return Process{}, err
	}
	return shown(info), nil
}

// The states of sys/proc.h.
const (
	sstop = 4
	szomb = 5
)

func shown(p *unix.KinfoProc) Process {
	t := p.Proc.P_starttime
	return Process{
		PID: int(p.Proc.P_pid), Parent: int(p.Eproc.Ppid), Name: unix.ByteSliceToString(p.Proc.P_comm[:]),
		Start: strconv.FormatInt(t.Sec, 10) + "." + strconv.FormatInt(int64(t.Usec), 10),
		Ended: p.Proc.P_stat == szomb, Stopped: p.Proc.P_stat == sstop,
	}
}

// All returns every process that can be seen.
func All() []Process {
	all, err := unix.SysctlKinfoProcSlice("kern.proc.all")
	if err != nil {
		return nil
	}
	list := make([]Process, len(all))
	for i := range all {
		list[i] = shown(&all[i])
	}
	return list
}

// Family returns a process and those below it that still run, at most so many, and
// what it cost to learn that, in files read.
func Family(root, most int) (pids []int, reads int) {
	pids = []int{root}
	all := All()
	children := map[int][]int{}
	for _, p := range all {
		if !p.Ended {
			children[p.Parent] = append(children[p.Parent], p.PID)
		}
	}
	for at := 0; at < len(pids); at++ {
		for _, pid := range children[pids[at]] {
			if len(pids) < most {
				pids = append(pids, pid)
			}
		}
	}
	return pids, 1 + len(all)/20
}

// Image tells what a living process executes from what it executed before, by how
// that was started.
func Image(pid int) (id uint64, ok bool) {
	raw, err := unix.SysctlRaw("kern.procargs2", pid)
	if err != nil || len(raw) < 4 {
		return 0, false
	}
	sum := fnv.New64a()
	_, _ = sum.Write(raw)
	return sum.Sum64(), true
}

// Executable returns the file that a process executes, without symbolic links.
func Executable(pid int) (string, error) {
	file, _, _, err := command(pid)
	if resolved, err := filepath.EvalSymlinks(file); err == nil {
		file = resolved
	}
	return file, err
}

// Args returns the arguments that a process was started with, its name included.
func Args(pid int) ([]string, error) {
	_, args, _, err := command(pid)
	return args, err
}

// Environ returns the NAME=VALUEs that a process was started with, where the system
// tells them.
func Environ(pid int) ([]string, error) {
	_, _, env, err := command(pid)
	return env, err
}

// command is what a process was started as: the number of arguments, the file, NULs,
// the arguments, the environment.
func command(pid int) (file string, args, env []string, err error) {
	raw, err := unix.SysctlRaw("kern.procargs2", pid)
	if err != nil {
		return "", nil, nil, err
	}
	if len(raw) < 4 {
		return "", nil, nil, fs.ErrInvalid
	}
	count := int(binary.NativeEndian.Uint32(raw))
	name, rest, _ := bytes.Cut(raw[4:], []byte{0})
	rest = bytes.TrimLeft(rest, "\x00")
	for len(rest) > 0 {
		text, after, _ := bytes.Cut(rest, []byte{0})
		rest = after
		switch {
		case len(args) < count:
			args = append(args, string(text))
		case len(text) == 0:
			return string(name), args, env, nil
		default:
			env = append(env, string(text))
		}
	}
	return string(name), args, env, nil
}

// Folder is not told here.
func Folder(int) string { return "" }

// DispositionOf is not told here.
func DispositionOf(int, syscall.Signal) Disposition { return ByDefault }

// Resident is the memory that this process holds, in bytes; 0 where it is not told.
func Resident() int64 { return 0 }
