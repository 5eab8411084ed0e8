package metastoretest

import (
	"context"
	"errors"
	"testing"

	"quant"
	"quant/internal/metastore"
)

func txTests() []test {
	ctx := context.Background()
	boom := errors.New("boom")
	add := func(ctx context.Context, s metastore.Store, ticker string) error {
		return s.CreateSymbol(ctx, quant.Symbol{Symbol: ticker})
	}
	holds := func(t *testing.T, s metastore.Store, want ...string) {
		t.Helper()
		got := []string{}
		for _, sym := range one(s.ListSymbols(ctx, metastore.SymbolFilter{}))(t) {
			got = append(got, sym.Symbol)
		}
		equal(t, got, append([]string{}, want...))
	}
	return []test{
		{"NilCommits", func(t *testing.T, s metastore.Store) {
			ok(t, s.Tx(ctx, func(ctx context.Context) error {
				return errors.Join(add(ctx, s, "A"), add(ctx, s, "B"))
			}))
			holds(t, s, "A", "B")
		}},
		{"AnErrorRollsBackAndComesOut", func(t *testing.T, s metastore.Store) {
			err := s.Tx(ctx, func(ctx context.Context) error {
				ok(t, add(ctx, s, "A"))
				return boom
			})
			if err != boom { //nolint:errorlint // the caller's own error, untouched
				t.Fatalf("got %v", err)
			}
			holds(t, s)
		}},
		{"APanicRollsBackAndGoesOn", func(t *testing.T, s metastore.Store) {
			func() {
				defer func() {
					if recover() != "oh" {
						t.Error("the panic was lost")
					}
				}()
				_ = s.Tx(ctx, func(ctx context.Context) error {
					ok(t, add(ctx, s, "A"))
					panic("oh")
				})
			}()
			ok(t, add(ctx, s, "B")) // nothing is left locked
			holds(t, s, "B")
		}},
		{"ItSeesItsOwnWritesAndOthersDoNot", func(t *testing.T, s metastore.Store) {
			ok(t, s.Tx(ctx, func(inside context.Context) error {
				ok(t, add(inside, s, "A"))
				_, err := s.GetSymbol(inside, "A")
				ok(t, err)
				holds(t, s)
				return nil
			}))
			holds(t, s, "A")
		}},
		{"AnInnerOneJoins", func(t *testing.T, s metastore.Store) {
			err := s.Tx(ctx, func(ctx context.Context) error {
				ok(t, add(ctx, s, "A"))
				ok(t, s.Tx(ctx, func(ctx context.Context) error {
					_, err := s.GetSymbol(ctx, "A")
					ok(t, err)
					return add(ctx, s, "B")
				}))
				return boom
			})
			if !errors.Is(err, boom) {
				t.Fatal(err)
			}
			holds(t, s)
		}},
		{"AFailedInnerOneDoomsTheOuter", func(t *testing.T, s metastore.Store) {
			err := s.Tx(ctx, func(ctx context.Context) error {
				ok(t, add(ctx, s, "A"))
				_ = s.Tx(ctx, func(context.Context) error { return boom })
				refused(t, add(ctx, s, "B"), quant.Failed)
				_, err := s.GetSymbol(ctx, "A")
				refused(t, err, quant.Failed)
				refused(t, s.Tx(ctx, func(context.Context) error { return nil }), quant.Failed)
				return nil
			})
			refused(t, err, quant.Failed)
			if !errors.Is(err, boom) {
				t.Fatalf("the cause is lost: %v", err)
			}
			holds(t, s)
		}},
		{"AnInnerPanicThatIsRecoveredDoomsTheOuter", func(t *testing.T, s metastore.Store) {
			err := s.Tx(ctx, func(ctx context.Context) error {
				ok(t, add(ctx, s, "A"))
				func() {
					defer func() { _ = recover() }()
					_ = s.Tx(ctx, func(context.Context) error { panic("oh") })
				}()
				return nil
			})
			refused(t, err, quant.Failed)
			holds(t, s)
		}},
		{"ARefusedMethodLeavesTheRestToCommit", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			ok(t, s.Tx(ctx, func(ctx context.Context) error {
				ok(t, add(ctx, s, "A"))
				refused(t, add(ctx, s, "A"), quant.Conflict)
				// What the method had done before it was refused is undone.
				end := successOf(1)
				io := quant.RunIO{RunID: RunID(1), Direction: quant.In, Kind: quant.IOFile, Name: "a"}
				end.IO = []quant.RunIO{io, io}
				refused(t, s.FinishRun(ctx, end), quant.Invalid)
				r, p := newRun(2)
				p.Argv = quant.JSON(`[`)
				refused(t, s.CreateRun(ctx, r, p), quant.Invalid)
				return add(ctx, s, "B")
			}))
			holds(t, s, "A", "B")
			equal(t, one(s.GetRun(ctx, RunID(1)))(t).Status, quant.Running)
			_, err := s.GetRun(ctx, RunID(2))
			refused(t, err, quant.NotFound)
		}},
		{"AKeptContextIsRefusedAfterwards", func(t *testing.T, s metastore.Store) {
			var kept context.Context
			ok(t, s.Tx(ctx, func(ctx context.Context) error { kept = ctx; return nil }))
			refused(t, add(kept, s, "A"), quant.Failed)
			_, err := s.GetSymbol(kept, "A")
			refused(t, err, quant.Failed)
			holds(t, s)
		}},
		{"ACancelledContextRollsBack", func(t *testing.T, s metastore.Store) {
			cancellable, cancel := context.WithCancel(ctx)
			err := s.Tx(cancellable, func(ctx context.Context) error {
				ok(t, add(ctx, s, "A"))
				cancel()
				return nil
			})
			refused(t, err, quant.Failed)
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("the cause is lost: %v", err)
			}
			holds(t, s)
			ok(t, add(ctx, s, "B"))
		}},
		{"ACancelledContextStopsAMethod", func(t *testing.T, s metastore.Store) {
			cancelled, cancel := context.WithCancel(ctx)
			cancel()
			err := add(cancelled, s, "A")
			refused(t, err, quant.Failed)
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("the cause is lost: %v", err)
			}
			holds(t, s)
		}},
	}
}
