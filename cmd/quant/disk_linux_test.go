package main

import (
	"fmt"
	"syscall"
)

// mountTiny mounts a file system of so many MiB.
func mountTiny(dir string, mib int) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0700", mib))
}

func unmount(dir string) error { return syscall.Unmount(dir, syscall.MNT_DETACH) }
