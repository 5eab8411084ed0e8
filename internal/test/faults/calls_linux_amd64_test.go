package faults

import "golang.org/x/sys/unix"

// watched are the system calls at which a fault can be put.
var watched = map[int]call{
	unix.SYS_READ:            {name: "read", fd: true},
	unix.SYS_PREAD64:         {name: "pread", fd: true},
	unix.SYS_WRITE:           {name: "write", fd: true},
	unix.SYS_PWRITE64:        {name: "pwrite", fd: true},
	unix.SYS_WRITEV:          {name: "writev", fd: true},
	unix.SYS_PWRITEV:         {name: "pwritev", fd: true},
	unix.SYS_FSYNC:           {name: "fsync", fd: true},
	unix.SYS_FDATASYNC:       {name: "fdatasync", fd: true},
	unix.SYS_FTRUNCATE:       {name: "ftruncate", fd: true},
	unix.SYS_FALLOCATE:       {name: "fallocate", fd: true},
	unix.SYS_COPY_FILE_RANGE: {name: "copy_file_range", out: 2},
	unix.SYS_OPEN:            {name: "open", path: 0, at: -1},
	unix.SYS_OPENAT:          {name: "open", path: 1},
	unix.SYS_RENAME:          {name: "rename", path: 0, at: -1},
	unix.SYS_RENAMEAT:        {name: "rename", path: 1},
	unix.SYS_RENAMEAT2:       {name: "rename", path: 1},
	unix.SYS_UNLINK:          {name: "unlink", path: 0, at: -1},
	unix.SYS_UNLINKAT:        {name: "unlink", path: 1},
	unix.SYS_MKDIR:           {name: "mkdir", path: 0, at: -1},
	unix.SYS_MKDIRAT:         {name: "mkdir", path: 1},
	unix.SYS_LINK:            {name: "link", path: 1, at: -1},
	unix.SYS_LINKAT:          {name: "link", path: 3, at: 2},
}
