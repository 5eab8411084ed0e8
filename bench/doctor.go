package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// doctorBound and doctorPeak are what `quant doctor` may take of a lab of a million
// runs, doctorGrowth how much more that is than a tenth of them take.
const (
	doctorBound  = 20 * time.Second
	doctorPeak   = 256 << 20
	doctorGrowth = 11
)

// doctorOfManyRuns times `quant doctor` as whole processes, on the labs of the
// searches, whose files are read once before, as a lab in use has been.
func doctorOfManyRuns(ctx context.Context, b *bench) ([]figure, error) {
	var figures []figure
	var took []time.Duration
	for _, n := range []int{manyRuns / 10, manyRuns} {
		dir := filepath.Join(b.dir, fmt.Sprintf("doctor-%d", n))
		if err := makeLab(ctx, b, dir, n, time.Now()); err != nil {
			return nil, fmt.Errorf("make a lab of %d runs: %w", n, err)
		}
		var peak int64
		times, err := inTurn(2, func() (time.Duration, error) {
			u, err := process(ctx, dir, b.quant, "doctor")
			peak = max(peak, u.peak)
			return u.wall, err
		})
		if err != nil {
			return nil, err
		}
		fastest := times[0][0]
		took = append(took, fastest)
		figures = append(figures,
			figure{fmt.Sprintf("`quant doctor` of %d runs, whole process", n), fmt.Sprintf("%.1f s", fastest.Seconds()), n < manyRuns || fastest < doctorBound},
			figure{"its peak memory", fmt.Sprintf("%d MiB", peak>>20), peak < doctorPeak})
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	growth := ratio(took[1], took[0])
	return append(figures, figure{"ten times as many runs", fmt.Sprintf("%.1f times as long", growth), growth < doctorGrowth}), nil
}
