//go:build !linux

package server

// letGo does nothing here.
func letGo() {}
