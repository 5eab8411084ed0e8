// Package alphavantagetest plays Alpha Vantage on a local server: the members,
// the spellings and the notices of its answers are those of the real one.
package alphavantagetest

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"quant"
)

// Key is the key that the server accepts.
const Key = "K3YOFTHETESTS"

// The notices that come with status 200. Information says the key, as the real
// one does.
const (
	Note = `{
    "Note": "Thank you for using Alpha Vantage! Our standard API call frequency is 5 calls per minute and 500 calls per day. Please visit https://www.alphavantage.co/premium/ if you would like to target a higher API call frequency."
}`
	Information = `{
    "Information": "We have detected your API key as ` + Key + ` and our standard API rate limit is 25 requests per day. Please subscribe to any of the premium plans at https://www.alphavantage.co/premium/ to instantly remove all daily rate limits."
}`
	Premium = `{
    "Information": "Thank you for using Alpha Vantage! This is a premium endpoint. You may subscribe to any of the premium plans at https://www.alphavantage.co/premium/ to instantly unlock all premium endpoints"
}`
	InvalidSymbol = `{
    "Error Message": "Invalid API call. Please retry or visit the documentation (https://www.alphavantage.co/documentation/) for TIME_SERIES_DAILY_ADJUSTED."
}`
	InvalidKey = `{
    "Error Message": "the parameter apikey is invalid or missing. Please claim your free API key on (https://www.alphavantage.co/support/#api-key). It should take less than 20 seconds."
}`
	Empty = `{}`
)

// Day is one bar; prices are written with four decimals.
type Day struct {
	Date             quant.Date
	Close, Adjusted  float64
	Dividend, Factor float64 // Factor: of a split; 0 is 1
}

// Weekdays makes n bars that end on a day, without weekends, whose adjusted
// close is scale times the close.
func Weekdays(last quant.Date, n int, scale float64) []Day {
	days := make([]Day, n)
	for i, d := n-1, last; i >= 0; d-- {
		if w := d.Time().Weekday(); w == time.Saturday || w == time.Sunday {
			continue
		}
		price := math.Round((80+30*math.Sin(float64(d)/40))*1e4) / 1e4
		days[i] = Day{Date: d, Close: price, Adjusted: price * scale}
		i--
	}
	return days
}

// Body is an answer with these days, which are oldest first; it has them newest
// first. A compact one has the last hundred.
func Body(symbol, size string, days []Day) string {
	if size == "compact" {
		days = days[max(0, len(days)-100):]
	}
	var b strings.Builder
	label, last := "Full size", ""
	if size == "compact" {
		label = "Compact"
	}
	if len(days) > 0 {
		last = days[len(days)-1].Date.String()
	}
	fmt.Fprintf(&b, `{
    "Meta Data": {
        "1. Information": "Daily Time Series with Splits and Dividend Events",
        "2. Symbol": %q,
        "3. Last Refreshed": %q,
        "4. Output Size": %q,
        "5. Time Zone": "US/Eastern"
    },
    "Time Series (Daily)": {`, symbol, last, label)
	for i := len(days) - 1; i >= 0; i-- {
		d := days[i]
		if d.Factor == 0 {
			d.Factor = 1
		}
		fmt.Fprintf(&b, `
        %q: {
            "1. open": "%.4f",
            "2. high": "%.4f",
            "3. low": "%.4f",
            "4. close": "%.4f",
            "5. adjusted close": "%.4f",
            "6. volume": "%d",
            "7. dividend amount": "%.4f",
            "8. split coefficient": "%.1f"
        }`, d.Date, d.Close*1.001, d.Close*1.02, d.Close*0.98, d.Close, d.Adjusted, 1000000+int64(d.Date), d.Dividend, d.Factor)
		if i > 0 {
			b.WriteByte(',')
		}
	}
	b.WriteString("\n    }\n}")
	return b.String()
}

// Server answers as Alpha Vantage.
type Server struct {
	URL string

	mu      sync.Mutex
	answers map[string]http.HandlerFunc
	asked   []string // symbol and size, in order
}

// New starts a server that ends with the test.
func New(tb testing.TB) *Server {
	s := &Server{answers: map[string]http.HandlerFunc{}}
	server := httptest.NewServer(s)
	tb.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	s.URL = server.URL + "/query"
	return s
}

// Play has every request for a symbol answered so.
func (s *Server) Play(symbol string, answer http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[symbol] = answer
}

// PlayDays has a symbol answered with these days.
func (s *Server) PlayDays(symbol string, days []Day) {
	s.Play(symbol, func(w http.ResponseWriter, r *http.Request) {
		Text(Body(symbol, r.URL.Query().Get("outputsize"), days))(w, r)
	})
}

// Asked returns the requests so far, as symbol and size.
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.asked...)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	s.mu.Lock()
	s.asked = append(s.asked, q.Get("symbol")+" "+q.Get("outputsize"))
	answer := s.answers[q.Get("symbol")]
	s.mu.Unlock()
	switch {
	case q.Get("apikey") != Key:
		Text(InvalidKey)(w, r)
	case q.Get("function") != "TIME_SERIES_DAILY_ADJUSTED" || answer == nil:
		Text(InvalidSymbol)(w, r)
	default:
		answer(w, r)
	}
}

// Text answers with a body and status 200.
func Text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(body))
	}
}

// Status answers with a status, and a Retry-After unless that is empty.
func Status(code int, retryAfter string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(code)
	}
}

// Cut begins an answer and closes the connection.
func Cut(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write([]byte(body[:len(body)/2]))
		panic(http.ErrAbortHandler)
	}
}

// Hang begins an answer and sends nothing more until the client goes away.
func Hang(w http.ResponseWriter, r *http.Request) {
	_, _ = w.Write([]byte("{"))
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

// Then answers each request with the next of the answers, and the last one for
// ever.
func Then(answers ...http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	i := 0
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		answer := answers[min(i, len(answers)-1)]
		i++
		mu.Unlock()
		answer(w, r)
	}
}
