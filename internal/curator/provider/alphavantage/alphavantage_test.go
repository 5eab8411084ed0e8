package alphavantage_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/curator/provider"
	"quant/internal/curator/provider/alphavantage"
	play "quant/internal/curator/provider/alphavantage/alphavantagetest"
)

const lastDay = quant.Date(20468) // 2026-01-15

func client(t *testing.T, o alphavantage.Options) *alphavantage.Client {
	t.Helper()
	if o.Key == "" {
		o.Key = play.Key
	}
	c, err := alphavantage.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAnAnswerIsReadAsItIsSpelled(t *testing.T) {
	t.Parallel()
	server := play.New(t)
	server.PlayDays("BRK.B", play.Weekdays(lastDay, 300, 0.5))
	c := client(t, alphavantage.Options{BaseURL: server.URL})
	for _, q := range []struct {
		full bool
		want int
	}{{true, 300}, {false, 100}} {
		s, err := c.Daily(t.Context(), provider.Query{Symbol: "BRK.B", Full: q.full})
		if err != nil || len(s.Rows) != q.want {
			t.Fatalf("%d rows, %v", len(s.Rows), err)
		}
		first := s.Rows[0]
		if first.Date != lastDay.String() || first.Volume != "1020468" || first.AdjustedClose >= first.Close {
			t.Errorf("%+v", first)
		}
	}
	if got := strings.Join(server.Asked(), ","); got != "BRK.B full,BRK.B compact" {
		t.Errorf("asked %s", got)
	}
}

func TestEveryOtherAnswerIsAFailureThatSaysWhatToExpect(t *testing.T) {
	t.Parallel()
	whole := play.Body("A", "full", play.Weekdays(lastDay, 10, 1))
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		kind   provider.Kind
		after  time.Duration
		says   string
	}{
		"empty":             {play.Text(play.Empty), provider.Lost, 0, "no day for A"},
		"no days":           {play.Text(play.Body("A", "full", nil)), provider.Lost, 0, "no day for A"},
		"note":              {play.Text(play.Note), provider.Temporary, 20 * time.Second, "too many requests"},
		"information":       {play.Text(play.Information), provider.Denied, 0, "used up"},
		"premium":           {play.Text(play.Premium), provider.Denied, 0, "plan"},
		"invalid symbol":    {play.Text(play.InvalidSymbol), provider.Lost, 0, "no such symbol A"},
		"invalid key":       {play.Text(play.InvalidKey), provider.Denied, 0, "key is not accepted"},
		"another notice":    {play.Text(`{"Information": "we moved"}`), provider.Lost, 0, "we moved"},
		"another symbol":    {play.Text(play.Body("B", "full", play.Weekdays(lastDay, 10, 1))), provider.Lost, 0, `of symbol "B"`},
		"malformed":         {play.Text(strings.Replace(whole, `"2. high":`, `"2. high"`, 1)), provider.Lost, 0, "not the JSON"},
		"not json":          {play.Text("<html>busy</html>"), provider.Lost, 0, "not the JSON"},
		"a number":          {play.Text(strings.Replace(whole, `"6. volume": "1020468"`, `"6. volume": 1020468`, 1)), provider.Lost, 0, "not the JSON"},
		"lacks a member":    {play.Text(strings.Replace(whole, "5. adjusted close", "5. volume", 1)), provider.Lost, 0, "5. adjusted close"},
		"two values":        {play.Text(whole + "{}"), provider.Lost, 0, "more than one"},
		"truncated":         {play.Text(whole[:len(whole)/2]), provider.Temporary, 0, "ends before"},
		"nothing":           {play.Text(""), provider.Temporary, 0, "ends before"},
		"429":               {play.Status(429, "7"), provider.Temporary, 7 * time.Second, "429"},
		"429 until":         {play.Status(429, "Thu, 15 Jan 2026 09:30:30 GMT"), provider.Temporary, 30 * time.Second, "429"},
		"429 without after": {play.Status(429, "soon"), provider.Temporary, 0, "429"},
		"500":               {play.Status(500, ""), provider.Temporary, 0, "500"},
		"503":               {play.Status(503, "3"), provider.Temporary, 3 * time.Second, "503"},
		"403":               {play.Status(403, ""), provider.Denied, 0, "403"},
		"404":               {play.Status(404, ""), provider.Denied, 0, "404"},
		"cut":               {play.Cut(whole), provider.Temporary, 0, "cut"},
		"cut at once":       {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, provider.Temporary, 0, "cut"},
		"slow":              {play.Hang, provider.Temporary, 0, "within 300ms"},
		"too large":         {play.Text(strings.Repeat(" ", 5000) + whole), provider.Lost, 0, "larger than 4000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := play.New(t)
			server.Play("A", c.answer)
			timeout := 10 * time.Second
			if name == "slow" {
				timeout = 300 * time.Millisecond
			}
			now := func() time.Time { return time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC) }
			a := client(t, alphavantage.Options{BaseURL: server.URL, Timeout: timeout, MaxBytes: 4000, Now: now})
			_, err := a.Daily(t.Context(), provider.Query{Symbol: "A"})
			f, ok := errors.AsType[*provider.Failure](err)
			if !ok || f.Kind != c.kind || f.After != c.after || !strings.Contains(f.Msg, c.says) {
				t.Errorf("%+v (%v)", f, err)
			}
			if f != nil && strings.Contains(f.Msg+f.Hint, play.Key) && name != "information" { // Redacted masks what the provider says
				t.Errorf("says the key: %v", f)
			}
		})
	}
}

func TestARedirectToAnotherHostIsNotFollowed(t *testing.T) {
	t.Parallel()
	stolen := false
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen = true }))
	defer thief.Close()
	server := play.New(t)
	server.Play("A", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, thief.URL+"/?"+r.URL.RawQuery, http.StatusFound)
	})
	_, err := client(t, alphavantage.Options{BaseURL: server.URL}).Daily(t.Context(), provider.Query{Symbol: "A"})
	f, ok := errors.AsType[*provider.Failure](err)
	if !ok || f.Kind != provider.Denied || stolen || strings.Contains(f.Msg, play.Key) {
		t.Errorf("%v, stolen %v", err, stolen)
	}
}

func TestTheEndOfTheContextEndsARequest(t *testing.T) {
	t.Parallel()
	server := play.New(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := quant.Signalled{Number: 2, Name: "SIGINT"}
	server.Play("A", func(w http.ResponseWriter, r *http.Request) {
		cancel(stop)
		play.Hang(w, r)
	})
	_, err := client(t, alphavantage.Options{BaseURL: server.URL}).Daily(ctx, provider.Query{Symbol: "A"})
	if !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}

func TestNoRequestIsMadeWithAnOptionThatCannotBeRight(t *testing.T) {
	t.Parallel()
	for _, o := range []alphavantage.Options{
		{}, {Key: " "}, {Key: "k", BaseURL: "ftp://x"}, {Key: "k", BaseURL: "http://example.com/query"}, {Key: "k", BaseURL: "https://u:hidden@example.com"},
		{Key: "k", BaseURL: "://hidden"}, {Key: "k", BaseURL: "query"},
	} {
		if _, err := alphavantage.New(o); quant.CodeOf(err) != quant.Usage || strings.Contains(err.Error(), "hidden") || quant.HintOf(err) == "" {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// FuzzParse: any bytes are an answer with rows, or a Failure; an answer with
// rows has one for each day that a plain search finds.
func FuzzParse(f *testing.F) {
	f.Add([]byte(play.Body("A", "full", play.Weekdays(lastDay, 3, 1))))
	for _, s := range []string{play.Note, play.Information, play.Premium, play.InvalidSymbol, play.InvalidKey, play.Empty, "", "null", "[]", `{"Meta Data":{},"Meta Data":{}}`, `{"Time Series (Daily)":{"2020-01-01":{}}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := alphavantage.Parse(provider.Query{Symbol: "A"}, body)
		if err != nil {
			if _, ok := errors.AsType[*provider.Failure](err); !ok || s.Rows != nil {
				t.Fatalf("%T %v, %d rows", err, err, len(s.Rows))
			}
			return
		}
		if len(s.Rows) == 0 {
			t.Fatal("no rows, and no failure")
		}
	})
}
