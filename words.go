package quant

import (
	"fmt"
	"strings"
	"time"
)

// Count is a number of things in words, for messages: 1 fault, 2 faults.
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Bytes is a number of bytes in words, in three digits: 1.25 MiB.
func Bytes(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), 0
	for v >= 1024 && unit < 6 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.3g %ciB", v, " KMGTPE"[unit])
}

// Micros is a number of microseconds in words; "" for nil, which is not known.
func Micros(us *int64) string {
	if us == nil {
		return ""
	}
	d := time.Duration(*us) * time.Microsecond
	if d < time.Second {
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// Clip cuts a text to so many letters, of which the last three are dots.
func Clip(s string, letters int) string {
	if len(s) <= letters {
		return s
	}
	if r := []rune(s); len(r) > letters {
		return string(r[:max(letters-3, 0)]) + "..."
	}
	return s
}

// FirstLine is a text up to its first line feed.
func FirstLine(s string) string {
	first, _, _ := strings.Cut(s, "\n")
	return first
}

// ShortID is how lists and messages name a run: the last 8 digits of its id, since
// the head of a version 7 id is a clock.
func ShortID(id string) string { return id[max(0, len(id)-8):] }
