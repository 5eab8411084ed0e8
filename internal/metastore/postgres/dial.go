package postgres

import (
	"net"
	"time"
)

// unanswered is how long what was sent may stay without an answer of the other
// machine's TCP before the connection counts as broken.
const unanswered = 10 * time.Second

// dialer opens connections that notice a cut network: a silent one is asked after
// 4 s, and is broken after three more questions of 2 s each that nobody answers. The
// server is told the same (see parse), since each side only looks at its own.
func dialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 4 * time.Second, Interval: 2 * time.Second, Count: 3},
		Control:         limitUnanswered,
	}
}
