package program

import "golang.org/x/sys/unix"

const (
	getTermios = unix.TIOCGETA
	setTermios = unix.TIOCSETA
)

// rssUnit is the unit of ru_maxrss, in bytes.
const rssUnit = 1
