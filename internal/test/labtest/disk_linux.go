package labtest

import (
	"fmt"
	"syscall"
)

// MountTiny mounts a file system of so many MiB, or says why it cannot be.
func MountTiny(dir string, mib int) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0700", mib))
}

// Unmount takes away what MountTiny mounted.
func Unmount(dir string) error { return syscall.Unmount(dir, syscall.MNT_DETACH) }
