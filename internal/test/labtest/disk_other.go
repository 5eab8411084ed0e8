//go:build !linux

package labtest

import "errors"

// MountTiny is not to be had here.
func MountTiny(string, int) error { return errors.ErrUnsupported }

// Unmount takes away what MountTiny mounted.
func Unmount(string) error { return nil }
