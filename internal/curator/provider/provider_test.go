package provider_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quant/internal/curator/provider"
)

// script is a provider that gives what it was told, in order, and counts.
type script struct {
	answers []any // a Series or an error
	asked   []provider.Query
}

func (*script) Name() string { return "script" }

func (s *script) Daily(_ context.Context, q provider.Query) (provider.Series, error) {
	a := s.answers[min(len(s.asked), len(s.answers)-1)]
	s.asked = append(s.asked, q)
	if err, ok := a.(error); ok {
		return provider.Series{}, err
	}
	return a.(provider.Series), nil
}

// fakeClock passes time when it is slept on.
type fakeClock struct {
	t     time.Time
	slept []time.Duration
}

func (c *fakeClock) clock() provider.Clock {
	return provider.Clock{Now: func() time.Time { return c.t }, Sleep: func(ctx context.Context, d time.Duration) error {
		c.slept = append(c.slept, d)
		c.t = c.t.Add(d)
		return ctx.Err()
	}}
}

var (
	busy   = provider.Failed(provider.Temporary, "busy")
	lost   = provider.Failed(provider.Lost, "lost")
	answer = provider.Series{Raw: []byte("raw"), Rows: []provider.Row{{Date: "2024-01-02"}}}
)

func TestWhatMaySucceedLaterIsTriedAgainAfterGrowingPauses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answers []any
		retries int
		asked   int
		slept   string
		err     error
	}{
		"at once":           {[]any{answer}, 3, 1, "[]", nil},
		"third time":        {[]any{busy, busy, answer}, 3, 3, "[750ms 1.5s]", nil},
		"never":             {[]any{busy}, 4, 5, "[750ms 1.5s 2.25s 2.25s]", busy},
		"no retries":        {[]any{busy}, 0, 1, "[]", busy},
		"lost":              {[]any{lost}, 3, 1, "[]", lost},
		"says when":         {[]any{&provider.Failure{Kind: provider.Temporary, After: 40 * time.Second}, answer}, 3, 2, "[40s]", nil},
		"says when, sooner": {[]any{&provider.Failure{Kind: provider.Temporary, After: time.Millisecond}, answer}, 3, 2, "[750ms]", nil},
		"context ended":     {[]any{context.Canceled}, 3, 1, "[]", context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			next, clock := &script{answers: c.answers}, &fakeClock{}
			p := provider.Retrying(next, provider.Backoff{Retries: c.retries, Longest: 3 * time.Second, Random: func() float64 { return 0.5 }, Clock: clock.clock()})
			_, err := p.Daily(t.Context(), provider.Query{})
			if !errors.Is(err, c.err) || len(next.asked) != c.asked || fmt.Sprint(clock.slept) != c.slept {
				t.Errorf("%v, asked %d times, slept %v", err, len(next.asked), clock.slept)
			}
		})
	}
	tooLong := &provider.Failure{Kind: provider.Temporary, Msg: "tomorrow", After: time.Hour}
	next, clock := &script{answers: []any{tooLong}}, &fakeClock{}
	if _, err := provider.Retrying(next, provider.Backoff{Retries: 3, Clock: clock.clock()}).Daily(t.Context(), provider.Query{}); !errors.Is(err, tooLong) || clock.slept != nil {
		t.Errorf("waited %v for a provider that wants an hour: %v", clock.slept, err)
	}
}

func TestAPauseEndsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	next := &script{answers: []any{busy}}
	if _, err := provider.Retrying(next, provider.Backoff{Retries: 3, First: time.Hour}).Daily(ctx, provider.Query{}); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}

func TestNoMinuteHasMoreRequestsThanAllowed(t *testing.T) {
	t.Parallel()
	next, clock := &script{answers: []any{answer}}, &fakeClock{}
	var at []time.Time
	p := provider.Limited(next, 5, clock.clock())
	for i := range 23 {
		if _, err := p.Daily(t.Context(), provider.Query{}); err != nil {
			t.Fatal(err)
		}
		at = append(at, clock.t)
		clock.t = clock.t.Add(time.Duration(i%4) * 3 * time.Second)
	}
	for i := 5; i < len(at); i++ {
		if at[i].Sub(at[i-5]) < time.Minute {
			t.Errorf("requests %d to %d within %v", i-5, i, at[i].Sub(at[i-5]))
		}
	}
	if at[4] != (time.Time{}).Add(18*time.Second) {
		t.Errorf("the first five had to wait: %v", at[4])
	}
	free := &fakeClock{}
	unlimited := provider.Limited(next, 0, free.clock())
	for range 100 {
		_, _ = unlimited.Daily(t.Context(), provider.Query{})
	}
	if free.slept != nil {
		t.Error("waited without a limit")
	}
}

func TestNothingThatLeavesAProviderHoldsTheKey(t *testing.T) {
	t.Parallel()
	const key = "s3cret/key+"
	spelled := "s3cret%2Fkey%2B"
	for _, said := range []any{
		&provider.Failure{Kind: provider.Denied, Msg: "your key " + key, Hint: "https://x?apikey=" + spelled, After: time.Second},
		fmt.Errorf("Get \"https://x?apikey=%s\": refused", spelled),
		provider.Series{Raw: []byte("key " + key), Rows: answer.Rows},
	} {
		s, err := provider.Redacted(&script{answers: []any{said}}, key, "").Daily(t.Context(), provider.Query{})
		text := fmt.Sprintf("%s %+v", s.Raw, err)
		f, ok := errors.AsType[*provider.Failure](err)
		if ok {
			text += f.Hint
		}
		if strings.Contains(text, key) || strings.Contains(text, spelled) || !strings.Contains(text, "***") || (err != nil) != ok {
			t.Errorf("%s", text)
		}
		if was, isFailure := said.(*provider.Failure); isFailure && (f.Kind != was.Kind || f.After != was.After) {
			t.Errorf("%+v", f)
		}
	}
}

func TestAnAnswerIsAskedForOnceADay(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	now := time.Date(2026, 1, 15, 23, 0, 0, 0, time.UTC)
	next := &script{answers: []any{answer}}
	cache := provider.Cache{Dir: dir, Scope: "here", Now: func() time.Time { return now }, Parse: func(_ provider.Query, raw []byte) (provider.Series, error) {
		if string(raw) != "raw" {
			return provider.Series{}, lost
		}
		return provider.Series{Raw: raw, Rows: answer.Rows}, nil
	}}
	p := provider.Cached(next, cache)
	ask := func(q provider.Query, cached bool, asked int) {
		t.Helper()
		s, err := p.Daily(t.Context(), q)
		if err != nil || s.Cached != cached || len(s.Rows) != 1 || len(next.asked) != asked {
			t.Errorf("%+v: cached %v, %d rows, asked %d times, %v", q, s.Cached, len(s.Rows), len(next.asked), err)
		}
	}
	a := provider.Query{Symbol: "../a/B.B"}
	ask(a, false, 1)
	ask(a, true, 1)
	ask(provider.Query{Symbol: a.Symbol, Full: true}, false, 2)
	ask(provider.Query{Symbol: "../A/B.B"}, false, 3)
	ask(provider.Query{Symbol: a.Symbol, Fresh: true}, false, 4)
	ask(a, true, 4)
	cache.Scope = "there"
	p = provider.Cached(next, cache)
	ask(a, false, 5)
	files, _ := filepath.Glob(filepath.Join(dir, "2026-01-15", "*"))
	if len(files) != 4 {
		t.Errorf("%v", files)
	}
	for _, f := range files {
		if err := os.WriteFile(f, []byte("ra"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ask(a, false, 6) // what cannot be read is asked for again
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	now = now.Add(time.Hour)
	ask(a, false, 7)
	if left, _ := os.ReadDir(dir); len(left) != 1 || left[0].Name() != "2026-01-16" {
		t.Errorf("%v", left)
	}
	next.answers = []any{busy}
	if _, err := p.Daily(t.Context(), provider.Query{Symbol: "X"}); !errors.Is(err, busy) {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "2026-01-16")); len(left) != 1 {
		t.Errorf("a failure was kept: %v", left)
	}
}

func TestACacheThatCannotBeWrittenIsNoFailure(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := provider.Cached(&script{answers: []any{answer}}, provider.Cache{Dir: file})
	if s, err := p.Daily(t.Context(), provider.Query{Symbol: "A"}); err != nil || len(s.Rows) != 1 {
		t.Errorf("%v", err)
	}
}
