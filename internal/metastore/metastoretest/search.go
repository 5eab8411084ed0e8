package metastoretest

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/test/soak"
)

func searchTests() []test {
	ctx := context.Background()
	param := func(name string) metastore.Field { return metastore.Field{Of: metastore.ParamOf, Name: name} }
	find := func(t *testing.T, s metastore.Store, q metastore.Search) []string {
		t.Helper()
		q.Columns = []metastore.Field{{Name: "run_id"}}
		ids := []string{}
		ok(t, s.SearchRuns(ctx, q, func(cells []any) error {
			ids = append(ids, cells[0].(string))
			return nil
		}))
		return ids
	}
	where := func(e metastore.Expr) metastore.Search { return metastore.Search{Where: e} }
	return []test{
		{"WithoutAConditionAllThatMayChangeSomethingNewestFirst", func(t *testing.T, s metastore.Store) {
			for n := range 4 {
				createRun(t, s, n, nil)
			}
			equal(t, find(t, s, metastore.Search{}), []string{RunID(3), RunID(2), RunID(1), RunID(0)})
			equal(t, find(t, s, metastore.Search{Limit: 2, Except: RunID(3)}), []string{RunID(2), RunID(1)})
			equal(t, find(t, s, metastore.Search{Limit: 1, Order: []metastore.OrderKey{{Field: metastore.Field{Name: "started"}}}}), []string{RunID(0)})
		}},
		{"PagesOfASearchMakeItsWhole", func(t *testing.T, s metastore.Store) {
			r := soak.Random(t)
			e := NewEvaluator(t, s, r, 120)
			for range soak.Count(t, 40, 1000) {
				q := e.Question(r)
				q.Limit, q.After = 0, ""
				whole := find(t, s, q)
				q.Limit = 1 + r.IntN(40)
				paged := []string{}
				for {
					page := find(t, s, q)
					if paged = append(paged, page...); len(page) < q.Limit || len(paged) > len(whole) {
						break
					}
					q.After = page[len(page)-1]
				}
				if !slices.Equal(paged, whole) {
					t.Fatalf("%s\n got %d %q\nwant %d %q", Describe(q), len(paged), paged, len(whole), whole)
				}
			}
			none := func([]any) error { return nil }
			if err := s.SearchRuns(ctx, metastore.Search{After: RunID(9999)}, none); !errors.Is(err, quant.NotFound) {
				t.Errorf("after a run that does not exist: %v", err)
			}
		}},
		{"ANumberComparesWithAParamThatReadsAsOne", func(t *testing.T, s metastore.Store) {
			for n, v := range []string{"5", "5.0", "x", "10"} {
				createRun(t, s, n, nil)
				ok(t, s.Log(ctx, metastore.Batch{Params: []quant.Param{{RunID: RunID(n), Name: "k", Value: v}}}))
			}
			createRun(t, s, 4, nil)
			five := metastore.Compare{Field: param("k"), Op: metastore.Eq, Value: 5.0}
			equal(t, find(t, s, where(five)), []string{RunID(1), RunID(0)})
			equal(t, find(t, s, where(metastore.Compare{Field: param("k"), Op: metastore.Eq, Value: "5"})), []string{RunID(0)})
			// What is unknown is not found, nor is its opposite.
			equal(t, find(t, s, where(metastore.Not{Expr: five})), []string{RunID(3)})
			equal(t, find(t, s, where(metastore.IsNull{Field: param("k")})), []string{RunID(4)})
			equal(t, find(t, s, where(metastore.Or{metastore.Not{Expr: five}, metastore.IsNull{Field: param("k")}})), []string{RunID(4), RunID(3)})
			equal(t, find(t, s, metastore.Search{Order: []metastore.OrderKey{{Field: param("k"), Desc: true}}}),
				[]string{RunID(3), RunID(1), RunID(0), RunID(2), RunID(4)})
		}},
		{"LikeMindsTheCaseAndItsOwnSignsOnly", func(t *testing.T, s metastore.Store) {
			for n, v := range []string{"abc", "aBc", "a%c", "a*[b]?"} {
				createRun(t, s, n, nil)
				ok(t, s.Log(ctx, metastore.Batch{Params: []quant.Param{{RunID: RunID(n), Name: "k", Value: v}}}))
			}
			like := func(pattern string) metastore.Search {
				return where(metastore.Like{Field: param("k"), Pattern: pattern})
			}
			equal(t, find(t, s, like("a_c")), []string{RunID(2), RunID(1), RunID(0)})
			equal(t, find(t, s, like("ab%")), []string{RunID(0)})
			equal(t, find(t, s, like(`a\%c`)), []string{RunID(2)})
			equal(t, find(t, s, like("%*[b]?")), []string{RunID(3)})
		}},
		{"CellsHaveTheTypesOfTheirFields", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			end := successOf(1)
			end.DurationUS, end.ExitCode = pointer(int64(1_500_000)), pointer(int64(0))
			ok(t, s.FinishRun(ctx, end))
			q := metastore.Search{Columns: []metastore.Field{
				{Name: "kind"}, {Name: "started"}, {Name: "duration"}, {Name: "exit_code"}, {Name: "changes"}, {Name: "git_dirty"},
				{Of: metastore.MetricOf, Name: "none"},
			}}
			ok(t, s.SearchRuns(ctx, q, func(cells []any) error {
				equal(t, cells, []any{"config", startedAt(1), 1500 * time.Millisecond, int64(0), true, nil, nil})
				return nil
			}))
		}},
		{"WhatCannotBeIsInvalid", func(t *testing.T, s metastore.Store) {
			none := func([]any) error { return nil }
			for _, q := range []metastore.Search{
				{Limit: -1},
				{Columns: []metastore.Field{{Name: "none"}}},
				{Order: []metastore.OrderKey{{Field: metastore.Field{Name: "none"}}}},
				where(metastore.Compare{Field: metastore.Field{Name: "none"}, Op: metastore.Eq, Value: "x"}),
				where(metastore.Compare{Field: metastore.Field{Name: "kind"}, Op: "; DROP TABLE runs; --", Value: "x"}),
				where(metastore.Compare{Field: metastore.Field{Name: "kind"}, Op: metastore.Eq, Value: 5.0}),
				where(metastore.Compare{Field: metastore.Field{Name: "kind"}, Op: metastore.Eq}),
				where(metastore.Like{Field: metastore.Field{Name: "started"}, Pattern: "x"}),
				where(metastore.In{Field: metastore.Field{Name: "duration"}, Values: []any{"x"}}),
			} {
				if err := s.SearchRuns(ctx, q, none); !errors.Is(err, quant.Invalid) {
					t.Errorf("%+v: %v", q, err)
				}
			}
		}},
		{"AnswersAsAPlainEvaluator", func(t *testing.T, s metastore.Store) {
			r := soak.Random(t)
			e := NewEvaluator(t, s, r, 300)
			for range soak.Count(t, 500, 10_000) {
				q := e.Question(r)
				if got, want := find(t, s, q), e.Search(q); !slices.Equal(got, want) {
					t.Fatalf("%s\n got %d %q\nwant %d %q", Describe(q), len(got), got, len(want), want)
				}
			}
		}},
		{"NamesAreListedOnceAndInOrder", func(t *testing.T, s metastore.Store) {
			NewEvaluator(t, s, rand.New(rand.NewPCG(3, 4)), 200)
			for _, tt := range []struct {
				of     metastore.NameSource
				prefix string
				want   []string
			}{
				{metastore.KindNames, "", []string{"backtest", "config", "pipeline.run", "pipeline.show", "train"}},
				{metastore.KindNames, "pipeline.", []string{"pipeline.run", "pipeline.show"}},
				{metastore.ParamNames, "a", []string{"a", "a.b/c"}},
				{metastore.TagNames, "e", []string{"experiment"}},
				{metastore.MetricNames, "", []string{"last", "loss/x", "m"}},
				{metastore.RunNames, "x", []string{"x", "xylo"}},
				{metastore.RunNames, "%", nil},
			} {
				for _, limit := range []int{50, 1} {
					got := one(s.Names(ctx, tt.of, tt.prefix, limit))(t)
					if want := tt.want[:min(limit, len(tt.want))]; !slices.Equal(got, want) {
						t.Errorf("%d %q, at most %d: got %q, want %q", tt.of, tt.prefix, limit, got, want)
					}
				}
			}
		}},
		{"AnErrorOfTheReceiverEndsTheSearch", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			broken := errors.New("broken")
			if err := s.SearchRuns(ctx, metastore.Search{}, func([]any) error { return broken }); !errors.Is(err, broken) {
				t.Error(err)
			}
		}},
		{"ValuesAreBound", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			for _, evil := range []string{`'; DROP TABLE runs; --`, `" OR 1=1 --`, "x') OR ('1'='1", "\x00", "?1", "$a", ":b"} {
				f := metastore.Field{Of: metastore.TagOf, Name: evil}
				for _, e := range []metastore.Expr{
					metastore.Compare{Field: f, Op: metastore.Eq, Value: evil}, metastore.In{Field: f, Values: []any{evil, 1.0}},
					metastore.Like{Field: f, Pattern: evil}, metastore.Compare{Field: metastore.Field{Name: "kind"}, Op: metastore.Ge, Value: "zz" + evil},
				} {
					equal(t, find(t, s, metastore.Search{Where: e, Limit: 5, Order: []metastore.OrderKey{{Field: f}}}), []string{})
				}
				equal(t, len(one(s.Names(ctx, metastore.KindNames, evil, 5))(t)), 0)
			}
			equal(t, find(t, s, metastore.Search{}), []string{RunID(1)})
		}},
	}
}
