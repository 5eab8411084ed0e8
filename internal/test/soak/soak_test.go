package soak

import "testing"

func TestACountLiesBetweenFewAndMany(t *testing.T) {
	for asked, want := range map[string]int{"": 8, "0": 8, "0.01": 8, "0.2": 20, "1": 100} {
		t.Setenv("QUANT_SOAK", asked)
		if got := Count(t, 8, 100); got != want {
			t.Errorf("QUANT_SOAK=%s: %d, want %d", asked, got, want)
		}
		if Full(t) != (asked == "1") {
			t.Errorf("QUANT_SOAK=%s is full: %v", asked, Full(t))
		}
	}
}

func TestChanceIsFixedUnlessEverythingIsAskedFor(t *testing.T) {
	t.Setenv("QUANT_SEED", "")
	t.Setenv("QUANT_SOAK", "0.2")
	first := Random(t).Uint64()
	if Random(t).Uint64() != first {
		t.Error("two seeds without QUANT_SOAK=1")
	}
	t.Setenv("QUANT_SOAK", "1")
	if a, b := Random(t).Uint64(), Random(t).Uint64(); a == b || a == first {
		t.Error("one seed with QUANT_SOAK=1")
	}
	t.Setenv("QUANT_SEED", "1")
	if Random(t).Uint64() != first {
		t.Error("QUANT_SEED does not repeat")
	}
}
