package parallel

import "context"

// Both does two things that know nothing of each other at the same time, as Blocks does
// blocks: it returns the cause of ctx when that ends, and what has not begun is left out
// then.
func Both(ctx context.Context, one, other func()) error {
	return Blocks(ctx, 2, 1, func() func(lo, _ int) {
		return func(lo, _ int) {
			if lo == 0 {
				one()
			} else {
				other()
			}
		}
	})
}
