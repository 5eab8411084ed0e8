package metastoretest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"quant"
	"quant/internal/metastore"
)

// How many stores are open on one database, as those of so many processes, and how many
// goroutines use each of them.
const (
	handles   = 4
	perHandle = 4
)

// RunTogether checks what a backend does for several who use one database at once. open
// makes an empty database and returns what opens it, once for each user; what it opened
// is closed when its test ends.
func RunTogether(t *testing.T, open func(t *testing.T) (user func(t *testing.T) metastore.Store)) {
	t.Helper()
	for _, tt := range togetherTests() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			user := open(t)
			stores := make([]metastore.Store, handles)
			for i := range stores {
				stores[i] = user(t)
			}
			tt.run(t, stores)
		})
	}
}

// atOnce runs fn by all users at the same time, each with its number.
func atOnce(stores []metastore.Store, fn func(user int, s metastore.Store)) {
	var all sync.WaitGroup
	begin := make(chan struct{})
	for user := range handles * perHandle {
		all.Go(func() {
			<-begin
			fn(user, stores[user%len(stores)])
		})
	}
	close(begin)
	all.Wait()
}

type togetherTest struct {
	name string
	run  func(t *testing.T, stores []metastore.Store)
}

func togetherTests() []togetherTest {
	ctx := context.Background()
	noon := startedAt(3600)
	const users = handles * perHandle
	return []togetherTest{
		{"EveryPointAndNoteIsCountedOnce", func(t *testing.T, stores []metastore.Store) {
			createRun(t, stores[0], 1, nil)
			const batches, points = 5, 20
			atOnce(stores, func(user int, s metastore.Store) {
				for n := range batches {
					b := metastore.Batch{
						Notes:  []quant.Note{{RunID: RunID(1), Text: fmt.Sprintf("%d of %d", n, user), LoggedAt: noon}},
						Params: []quant.Param{{RunID: RunID(1), Name: "same", Value: "7"}, {RunID: RunID(1), Name: fmt.Sprint("of", user), Value: "1"}},
						Tags:   []quant.Tag{{RunID: RunID(1), Name: "last", Value: fmt.Sprint(user)}},
					}
					for i := range points {
						b.Metrics = append(b.Metrics, quant.MetricPoint{RunID: RunID(1), Name: "loss", Step: quant.AutoStep, Value: float64(user*1000 + n*points + i), LoggedAt: noon})
					}
					if err := s.Log(ctx, b); err != nil {
						t.Error(err)
					}
				}
			})
			const all = users * batches * points
			equal(t, one(stores[0].Metrics(ctx, RunID(1)))(t)[0].Points, int64(all))
			equal(t, one(stores[0].Metrics(ctx, RunID(1)))(t)[0].Max, float64((users-1)*1000+batches*points-1))
			for i, p := range one(stores[0].MetricPoints(ctx, RunID(1), "loss", 0))(t) {
				if p.Point != int64(i+1) || p.Step != int64(i) {
					t.Fatalf("point %d has the number %d and the step %d", i+1, p.Point, p.Step)
				}
			}
			for i, n := range one(stores[0].Notes(ctx, RunID(1)))(t) {
				equal(t, n.Note, int64(i+1))
			}
			equal(t, len(one(stores[0].Notes(ctx, RunID(1)))(t)), users*batches)
			equal(t, len(one(stores[0].Params(ctx, RunID(1)))(t)), users+1)
			equal(t, one(stores[0].Check(ctx))(t), nil)
		}},
		{"OfOtherValuesOfAParamOneIsWritten", func(t *testing.T, stores []metastore.Store) {
			createRun(t, stores[0], 1, nil)
			var written atomic.Int64
			atOnce(stores, func(user int, s metastore.Store) {
				err := s.Log(ctx, metastore.Batch{Params: []quant.Param{{RunID: RunID(1), Name: "seed", Value: fmt.Sprint(user)}}})
				if err == nil {
					written.Add(1)
				} else if !errors.Is(err, quant.Conflict) {
					t.Error(err)
				}
			})
			equal(t, written.Load(), int64(1))
		}},
		{"BatchesOfSeveralRunsCrosswiseAreAllStored", func(t *testing.T, stores []metastore.Store) {
			const runs = 6
			for n := range runs {
				createRun(t, stores[0], n, nil)
			}
			atOnce(stores, func(user int, s metastore.Store) {
				for round := range 5 {
					var b metastore.Batch
					for i := range runs {
						n := i
						if user%2 == 1 {
							n = runs - 1 - i
						}
						b.Tags = append(b.Tags, quant.Tag{RunID: RunID(n), Name: "round", Value: fmt.Sprint(round)})
						b.Metrics = append(b.Metrics, quant.MetricPoint{RunID: RunID(n), Name: "x", Step: quant.AutoStep, Value: 1, LoggedAt: noon})
					}
					if err := s.Log(ctx, b); err != nil {
						t.Error(err)
					}
				}
			})
			for n := range runs {
				equal(t, one(stores[1].Metrics(ctx, RunID(n)))(t)[0].Points, int64(users*5))
			}
		}},
		{"ARunEndsOnce", func(t *testing.T, stores []metastore.Store) {
			const runs = 10
			for n := range runs {
				createRun(t, stores[0], n, nil)
			}
			var ended atomic.Int64
			atOnce(stores, func(user int, s metastore.Store) {
				for i := range runs {
					n := (i + user) % runs
					end := successOf(n)
					end.IO = []quant.RunIO{{RunID: RunID(n), Direction: quant.Out, Kind: "file", Name: fmt.Sprint("by ", user)}}
					if err := s.FinishRun(ctx, end); err == nil {
						ended.Add(1)
					} else if !errors.Is(err, quant.Conflict) {
						t.Error(err)
					}
				}
			})
			equal(t, ended.Load(), int64(runs))
			for n := range runs {
				equal(t, len(one(stores[0].RunIO(ctx, RunID(n)))(t)), 1)
			}
		}},
		{"RunsThatAreClosedTogetherAreClosedByOne", func(t *testing.T, stores []metastore.Store) {
			const runs = 40
			ids := make([]string, runs)
			for n := range runs {
				createRun(t, stores[0], n, nil)
				ids[n] = RunID(n)
			}
			var mu sync.Mutex
			var closed []string
			atOnce(stores, func(user int, s metastore.Store) {
				mine := slices.Clone(ids)
				if user%2 == 1 {
					slices.Reverse(mine)
				}
				got, err := s.FinishRuns(ctx, mine, metastore.RunEnd{Status: quant.Fail, EndedAt: noon, ErrorText: "gone", Facts: quant.FactsNone})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				closed = append(closed, got...)
				mu.Unlock()
			})
			slices.Sort(closed)
			equal(t, closed, ids)
		}},
		{"ADeletedRunTakesNothingMore", func(t *testing.T, stores []metastore.Store) {
			createRun(t, stores[0], 1, nil)
			ok(t, stores[0].FinishRun(ctx, successOf(1)))
			var logged, marked atomic.Int64
			atOnce(stores, func(user int, s metastore.Store) {
				if user%2 == 0 {
					got, err := s.DeleteRuns(ctx, []quant.Deletion{{RunID: RunID(1), DeletedAt: noon}})
					if err != nil {
						t.Error(err)
					}
					marked.Add(int64(len(got)))
					before, err := s.Notes(ctx, RunID(1))
					after, e := s.Notes(ctx, RunID(1))
					if err != nil || e != nil || len(after) != len(before) {
						t.Errorf("a deleted run got a note: %d, then %d (%v, %v)", len(before), len(after), err, e)
					}
					return
				}
				err := s.Log(ctx, metastore.Batch{Notes: []quant.Note{{RunID: RunID(1), Text: "late", LoggedAt: noon}}})
				if err == nil {
					logged.Add(1)
				} else if !errors.Is(err, quant.Conflict) {
					t.Error(err)
				}
			})
			equal(t, marked.Load(), int64(1))
			equal(t, int64(len(one(stores[0].Notes(ctx, RunID(1)))(t))), logged.Load())
		}},
		{"SymbolsAreAddedOnceByWhoeverIsFirst", func(t *testing.T, stores []metastore.Store) {
			tickers := make([]string, 300)
			for i := range tickers {
				tickers[i] = fmt.Sprintf("S%03d", i)
			}
			var mu sync.Mutex
			var added []string
			atOnce(stores, func(user int, s metastore.Store) {
				mine := slices.Clone(tickers)
				if user%2 == 1 {
					slices.Reverse(mine)
				}
				got, err := s.EnsureSymbols(ctx, mine)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				added = append(added, got...)
				mu.Unlock()
			})
			slices.Sort(added)
			equal(t, added, tickers)
		}},
		{"ExperimentsHaveNumbersOfTheirOwn", func(t *testing.T, stores []metastore.Store) {
			atOnce(stores, func(user int, s metastore.Store) {
				for n := range 5 {
					id := fmt.Sprintf("e-%d-%d", user, n)
					if err := s.CreateExperiment(ctx, quant.Experiment{ExperimentID: id, Name: id, CreatedAt: noon}); err != nil {
						t.Error(err)
					}
				}
			})
			all := one(stores[0].ListClientExperiments(ctx))(t)
			for i, e := range all {
				equal(t, e.Number, int64(i+1))
			}
			equal(t, len(all), users*5)
		}},
		{"OneOfManyWhoStoreTheSameIsTheFirst", func(t *testing.T, stores []metastore.Store) {
			for what, create := range map[string]func(s metastore.Store) error{
				"run": func(s metastore.Store) error {
					r, p := newRun(7)
					return s.CreateRun(ctx, r, p)
				},
				"symbol": func(s metastore.Store) error { return s.CreateSymbol(ctx, quant.Symbol{Symbol: "AAPL"}) },
				"experiment": func(s metastore.Store) error {
					return s.CreateExperiment(ctx, quant.Experiment{ExperimentID: "e", Name: "e", CreatedAt: noon})
				},
				"model": func(s metastore.Store) error { return s.CreateModel(ctx, quant.Model{ModelID: "m", CreatedAt: noon}) },
			} {
				var made atomic.Int64
				atOnce(stores, func(_ int, s metastore.Store) {
					if err := create(s); err == nil {
						made.Add(1)
					} else if !errors.Is(err, quant.Conflict) {
						t.Errorf("%s: %v", what, err)
					}
				})
				if made.Load() != 1 {
					t.Errorf("%s: %d were the first", what, made.Load())
				}
			}
		}},
		{"ATransactionIsSeenWholeOrNotAtAll", func(t *testing.T, stores []metastore.Store) {
			createRun(t, stores[0], 1, nil)
			failed := errors.New("failed")
			atOnce(stores, func(user int, s metastore.Store) {
				if user%2 == 1 {
					for range 20 {
						if notes, err := s.Notes(ctx, RunID(1)); err != nil || len(notes)%2 != 0 {
							t.Errorf("half of a transaction is seen: %d notes (%v)", len(notes), err)
						}
					}
					return
				}
				for n := range 10 {
					err := s.Tx(ctx, func(ctx context.Context) error {
						for range 2 {
							if err := s.Log(ctx, metastore.Batch{Notes: []quant.Note{{RunID: RunID(1), Text: "one of two", LoggedAt: noon}}}); err != nil {
								return err
							}
						}
						if n%2 == 1 {
							return failed
						}
						return nil
					})
					if (n%2 == 1) != errors.Is(err, failed) {
						t.Error(err)
					}
				}
			})
			equal(t, len(one(stores[0].Notes(ctx, RunID(1)))(t)), users/2*5*2)
		}},
	}
}
