package factstore

import (
	"errors"
	"math"
	"testing"
)

func TestTheEngineGetsAShareOfWhatThereIs(t *testing.T) {
	t.Parallel()
	of := func(n uint64) func() (uint64, error) { return func() (uint64, error) { return n, nil } }
	none := func() (uint64, error) { return 0, errors.New("not known here") }
	for _, c := range []struct {
		sources []func() (uint64, error)
		want    int64
	}{
		{[]func() (uint64, error){none, of(64 << 30)}, mostMemory},
		{[]func() (uint64, error){of(3 << 30), of(64 << 30)}, 768 << 20}, // a control group of 3 GiB
		{[]func() (uint64, error){of(math.MaxUint64), of(3 << 30)}, 768 << 20},
		{[]func() (uint64, error){of(512 << 20), of(64 << 30)}, leastMemory},
		{[]func() (uint64, error){none, none}, leastMemory},
	} {
		if got := shareOf(c.sources...); got != c.want {
			t.Errorf("%d, want %d", got, c.want)
		}
	}
	if m := DefaultMemory(); m < leastMemory || m > mostMemory {
		t.Errorf("here: %d", m)
	}
}
