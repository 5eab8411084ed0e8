package program

import "golang.org/x/sys/unix"

const (
	getTermios = unix.TCGETS
	setTermios = unix.TCSETS
)

// rssUnit is the unit of ru_maxrss, in bytes.
const rssUnit = 1 << 10
