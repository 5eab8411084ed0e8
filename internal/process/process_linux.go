package process

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Readable tells that Environ, Folder and DispositionOf answer here for every process
// of this user.
const Readable = true

func file(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

// Of returns a process. Errors: those of reading it; fs.ErrNotExist or ESRCH: there
// is none.
func Of(pid int) (Process, error) {
	name, fields, err := stat(pid)
	if err != nil {
		return Process{}, err
	}
	parent, err := strconv.Atoi(string(fields[ppid]))
	state := fields[state][0]
	return Process{
		PID: pid, Parent: parent, Name: name, Start: string(fields[starttime]),
		Ended: state == 'Z' || state == 'X', Stopped: state == 'T' || state == 't',
	}, err
}

// The fields of /proc/PID/stat behind the name, which is its second: each is three
// less than its number in proc(5).
const (
	state      = 0
	ppid       = 1
	starttime  = 19
	rss        = 21
	startstack = 25
)

// stat splits /proc/PID/stat. The name stands in parentheses and may hold anything.
func stat(pid int) (name string, fields [][]byte, err error) {
	path := file(pid, "stat")
	text, err := os.ReadFile(path)
	if err != nil {
		return "", nil, err
	}
	open, shut := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open >= 0 && shut > open {
		fields = bytes.Fields(text[shut+1:])
	}
	if len(fields) <= startstack {
		return "", nil, &fs.PathError{Op: "read", Path: path, Err: fs.ErrInvalid}
	}
	return string(text[open+1 : shut]), fields, nil
}

// All returns every process that can be seen.
func All() []Process {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var list []Process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, err := Of(pid); err == nil {
			list = append(list, p)
		}
	}
	return list
}

// maxThreads is how many threads of a process are asked for their children.
const maxThreads = 64

// Family returns a process and those below it that still run, at most so many, and
// how many files were read to learn that. It costs little where they are few.
func Family(root, most int) (pids []int, reads int) {
	pids = []int{root}
	for at := 0; at < len(pids); at++ {
		tasks := file(pids[at], "task")
		dir, err := os.Open(tasks)
		if err != nil {
			continue
		}
		threads, _ := dir.Readdirnames(maxThreads)
		dir.Close()
		reads += len(threads)
		for _, thread := range threads {
			text, err := os.ReadFile(tasks + "/" + thread + "/children")
			if err != nil {
				continue
			}
			for child := range strings.FieldsSeq(string(text)) {
				if pid, err := strconv.Atoi(child); err == nil && len(pids) < most {
					pids = append(pids, pid)
				}
			}
		}
	}
	return pids, reads
}

// Image tells what a living process executes from what it executed before: the
// number is another one. It is made of the place of its stack, which the kernel
// chooses anew, and of its start.
func Image(pid int) (id uint64, ok bool) {
	_, fields, err := stat(pid)
	if err != nil || fields[state][0] == 'Z' || fields[state][0] == 'X' {
		return 0, false
	}
	started, err := strconv.ParseUint(string(fields[starttime]), 10, 64)
	stack, errStack := strconv.ParseUint(string(fields[startstack]), 10, 64)
	return stack ^ started<<48 ^ 1, err == nil && errStack == nil
}

// Executable returns the file that a process executes, without symbolic links.
func Executable(pid int) (string, error) { return os.Readlink(file(pid, "exe")) }

// Args returns the arguments that a process was started with, its name included.
func Args(pid int) ([]string, error) { return texts(file(pid, "cmdline")) }

// Environ returns the NAME=VALUEs that a process was started with.
func Environ(pid int) ([]string, error) { return texts(file(pid, "environ")) }

// texts reads texts that end in NUL each.
func texts(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if err != nil || len(b) == 0 {
		return nil, err
	}
	return strings.Split(string(bytes.TrimSuffix(b, []byte{0})), "\x00"), nil
}

// Folder returns the folder that a process is in, "" if it is not told.
func Folder(pid int) string {
	dir, err := os.Readlink(file(pid, "cwd"))
	if err != nil || !filepath.IsAbs(dir) {
		return ""
	}
	return dir
}

// DispositionOf returns what a process does at a signal.
func DispositionOf(pid int, sig syscall.Signal) Disposition {
	text, err := os.ReadFile(file(pid, "status"))
	if err != nil {
		return ByDefault
	}
	has := func(name string) bool {
		_, rest, _ := strings.Cut(string(text), "\n"+name+":\t")
		line, _, _ := strings.Cut(rest, "\n")
		mask, err := strconv.ParseUint(line, 16, 64)
		return err == nil && mask&(1<<(sig-1)) != 0
	}
	switch {
	case has("SigIgn"):
		return Ignored
	case has("SigCgt"):
		return Caught
	}
	return ByDefault
}

// Resident is the memory that this process holds, in bytes; 0 where it is not told.
func Resident() int64 {
	_, fields, err := stat(os.Getpid())
	if err != nil {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[rss]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
