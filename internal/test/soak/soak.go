// Package soak is how much a test tries. A test that scales asks for its count
// here, and nobody else reads QUANT_SOAK: it is unset for the few that a person
// waits for, 1 for the many, and a share between them (0.1) for what CI has time
// for. Package ci finds the tests that scale by their calls of this package.
package soak

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Count is how often t tries something: few, or that share of many which
// QUANT_SOAK asks for, and never less than few. It logs which.
func Count(t testing.TB, few, many int) int {
	t.Helper()
	n := max(few, int(share(t)*float64(many)))
	t.Logf("count %d; QUANT_SOAK=1: %d", n, many)
	return n
}

// Full reports whether QUANT_SOAK asks for everything.
func Full(t testing.TB) bool {
	t.Helper()
	return share(t) == 1
}

// Seed is what the chance of t starts from, and is logged: always the same, but
// another one each time under QUANT_SOAK=1. QUANT_SEED repeats one that failed.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := uint64(1)
	if given := os.Getenv("QUANT_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("QUANT_SEED=%s is no seed: %v", given, err)
		}
	} else if Full(t) {
		seed = rand.Uint64()
	}
	t.Logf("QUANT_SEED=%d", seed)
	return seed
}

// Random is a source of chance that starts from Seed. It is not for several
// goroutines at once.
func Random(t testing.TB) *rand.Rand {
	t.Helper()
	return rand.New(rand.NewPCG(Seed(t), 1))
}

func share(t testing.TB) float64 {
	t.Helper()
	asked := os.Getenv("QUANT_SOAK")
	if asked == "" {
		return 0
	}
	s, err := strconv.ParseFloat(asked, 64)
	if err != nil || s < 0 || s > 1 {
		t.Fatalf("QUANT_SOAK=%s is no share between 0 and 1", asked)
	}
	return s
}
