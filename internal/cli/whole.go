package cli

import (
	"strconv"

	"quant"
)

// whole is a flag of a whole number that has no default to show: what stands
// without it is said in its usage.
type whole struct {
	value *int
	given bool
}

// newWhole is a flag whose value is standard where it is not given.
func newWhole(value *int, standard int) *whole {
	*value = standard
	return &whole{value: value}
}

func (w *whole) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil {
		return quant.Errorf(quant.Usage, "%q is no whole number", text)
	}
	*w.value, w.given = n, true
	return nil
}

func (w *whole) String() string {
	if w == nil || !w.given {
		return ""
	}
	return strconv.Itoa(*w.value)
}

func (*whole) Type() string { return "int" }
