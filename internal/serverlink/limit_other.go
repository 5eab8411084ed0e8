//go:build !linux

package serverlink

import "syscall"

// limitUnanswered sets nothing: only Linux has the limit.
func limitUnanswered(string, string, syscall.RawConn) error { return nil }
