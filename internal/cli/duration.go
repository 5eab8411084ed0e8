package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// duration is a flag value: Go's durations plus d for days of 24 hours.
type duration struct{ d *time.Duration }

func newDuration(d *time.Duration, fallback time.Duration) duration {
	*d = fallback
	return duration{d}
}

// Set reads "500ms", "2m", "7d", "1d12h". Negative ones are refused.
func (v duration) Set(s string) error {
	d, err := parseDuration(s)
	if err == nil {
		*v.d = d
	}
	return err
}

func (v duration) String() string {
	if v.d == nil {
		return ""
	}
	return v.d.String()
}

func (v duration) Type() string { return "duration" }

func parseDuration(s string) (time.Duration, error) {
	days, rest, found := strings.Cut(s, "d")
	var d time.Duration
	if found {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || !(n >= 0 && n <= 36500) { // also not NaN
			return 0, fmt.Errorf("%q is no duration; write one like 500ms, 2m, 12h or 7d", s)
		}
		d = time.Duration(n * float64(24*time.Hour))
		if rest == "" {
			return d, nil
		}
	} else {
		rest = s
	}
	part, err := time.ParseDuration(rest)
	if err != nil || part < 0 {
		return 0, fmt.Errorf("%q is no duration; write one like 500ms, 2m, 12h or 7d", s)
	}
	return d + part, nil
}
