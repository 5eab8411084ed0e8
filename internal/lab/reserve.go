package lab

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"quant/internal/durable"
	"quant/internal/lab/place"
)

// reserveSize is what a command needs on the disk of the Meta DB to record itself
// and what it takes away.
const reserveSize = 512 << 10

// KeepReserve sets room aside, in a file beside the Meta DB, for commands that make
// room (SpendReserve). It does nothing where that is done already, or where the disk
// is short of room: then others need it now. That it cannot be made is no error:
// nothing else depends on it.
func (l *Lab) KeepReserve() {
	path := place.ReserveFile(l.MetaFile())
	// One that is too small is of a process that was killed while it made it.
	if info, err := os.Lstat(path); err == nil && (!info.Mode().IsRegular() || info.Size() >= reserveSize) || l.short() {
		return
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	if durable.Allocate(f, reserveSize) != nil {
		_ = os.Remove(path)
	}
}

// SpendReserve gives up what KeepReserve set aside if the disk is short of room. It
// is called before the lab is opened: on a full disk that fails already.
func (l *Lab) SpendReserve() {
	if l.short() {
		_ = os.Remove(place.ReserveFile(l.MetaFile())) // there may be none
	}
}

// short reports whether the disk has no more than a few reserves left.
func (l *Lab) short() bool {
	var disk unix.Statfs_t
	return unix.Statfs(filepath.Dir(l.MetaFile()), &disk) == nil && uint64(disk.Bavail)*uint64(disk.Bsize) < 4*reserveSize
}
