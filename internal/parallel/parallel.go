// Package parallel spreads work over all cores so that what comes out does not
// depend on how many there are: the work is cut into the same parts everywhere,
// and each part writes what is its own.
package parallel

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// Blocks cuts [0, n) into blocks of the given size, the last one shorter, and has
// each of them done once, on all cores, in any order. worker is called once for
// each goroutine and returns what does a block there: what it holds is that
// goroutine's alone. It returns the cause of ctx when that ends, and the blocks
// that have not begun are left out then. A panic in a block is one of the caller.
func Blocks(ctx context.Context, n, size int, worker func() func(lo, hi int)) error {
	var taken atomic.Int64
	var failed atomic.Pointer[string]
	goroutines := min(runtime.GOMAXPROCS(0), (n+size-1)/size)
	work := func() {
		defer func() {
			if p := recover(); p != nil {
				text := fmt.Sprintf("%v\n%s", p, debug.Stack())
				failed.CompareAndSwap(nil, &text)
			}
		}()
		do := worker()
		for ctx.Err() == nil && failed.Load() == nil {
			hi := int(taken.Add(int64(size)))
			lo := hi - size
			if lo >= n {
				return
			}
			do(lo, min(hi, n))
		}
	}
	var wg sync.WaitGroup
	for range goroutines - 1 {
		wg.Go(work)
	}
	if goroutines > 0 {
		work()
	}
	wg.Wait()
	if text := failed.Load(); text != nil {
		panic(*text)
	}
	return context.Cause(ctx)
}
