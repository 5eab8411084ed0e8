package feature

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"strings"

	"quant"
	"quant/internal/calendar"
)

// The state of a symbol's recursions after its last bar stands behind the sums of its
// slice, so that one more day takes that day's bar. It is of the bars whose digest the
// inputs of the slice are; its own digest, of these inputs and of it, shows that it was
// stored with them.

// stateMark begins the state in fact_inputs.sums.
const stateMark = "recursions "

// splitSums divides what fact_inputs.sums holds into the sums and the state.
func splitSums(text string) (sums, state string) {
	if at := strings.LastIndex("\n"+text, "\n"+stateMark); at >= 0 {
		return text[:at], text[at:]
	}
	return text, ""
}

// stateText spells a state, which was computed from inputs. The session of the last bar
// is its day: what index it has is the calendar's.
func stateText(s recursion, inputs string, cal *calendar.Calendar) string {
	last := ""
	if s.n > 0 {
		last = cal.At(s.last.i).String()
	}
	text := fmt.Sprintf("%s%d %s", stateMark, s.n, last)
	for _, x := range s.numbers() {
		text += fmt.Sprintf(" %016x", math.Float64bits(*x))
	}
	return text + " " + stateDigest(text, inputs)
}

func stateDigest(text, inputs string) string {
	digest := sha256.Sum256([]byte(inputs + " " + text))
	return hex.EncodeToString(digest[:])
}

// parseState reads what stateText wrote. Not ok: it is nothing of the kind, or was not
// stored with these inputs.
func parseState(text, inputs string, cal *calendar.Calendar) (s recursion, ok bool) {
	at := strings.LastIndexByte(text, ' ')
	if at < 0 || text[at+1:] != stateDigest(text[:at], inputs) {
		return s, false
	}
	fields := strings.Fields(strings.TrimPrefix(text[:at], stateMark))
	numbers := s.numbers()
	if len(fields) < len(numbers)+1 {
		return s, false
	}
	if _, err := fmt.Sscan(fields[0], &s.n); err != nil {
		return s, false
	}
	if s.n > 0 {
		day, err := quant.ParseDate(fields[1])
		if err != nil {
			return s, false
		}
		if s.last.i, ok = cal.Index(day); !ok {
			return s, false
		}
	}
	for k, field := range fields[len(fields)-len(numbers):] {
		var bits uint64
		if _, err := fmt.Sscanf(field, "%x", &bits); err != nil {
			return s, false
		}
		*numbers[k] = math.Float64frombits(bits)
	}
	return s, true
}

// numbers are the numbers of a state, in the order of its text.
func (s *recursion) numbers() []*float64 {
	return []*float64{&s.last.high, &s.last.low, &s.last.close, &s.gain, &s.loss, &s.tr, &s.fast, &s.slow, &s.signal}
}
