// Package alphavantage asks Alpha Vantage for daily bars: the function
// TIME_SERIES_DAILY_ADJUSTED, as JSON. Open, high, low, close and volume are
// raw, as traded; the adjusted close accounts for splits and dividends; all
// prices have four decimals. See https://www.alphavantage.co/documentation/.
package alphavantage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"quant"
	"quant/internal/curator/provider"
)

// Name is the provider's name.
const Name = "alphavantage"

// DefaultURL is where Alpha Vantage answers.
const DefaultURL = "https://www.alphavantage.co/query"

// PerMinute is how many requests a minute the free plan allows; it also allows
// 25 a day, which the provider itself keeps count of.
const PerMinute = 5

// CompactSessions is how many sessions, the latest, a compact answer has.
const CompactSessions = 100

// Decimals is how many decimals the prices of an answer have.
const Decimals = 4

// Options say how to ask. Only Key is required.
type Options struct {
	BaseURL   string           // "": DefaultURL
	Key       string           // secret
	Timeout   time.Duration    // of one request, its body included; 0: 30s
	MaxBytes  int64            // of one answer; 0: 32 MiB, some ten times the longest one
	Now       func() time.Time // reads a Retry-After that is a date; nil: time.Now
	Transport http.RoundTripper
}

// Client is the provider. It retries nothing and keeps nothing.
type Client struct {
	base *url.URL
	o    Options
	http *http.Client
}

// New checks the options: quant.Usage for a missing key, or for a base URL that
// cannot be one or would send the key over a network without encryption.
func New(o Options) (*Client, error) {
	if o.BaseURL == "" {
		o.BaseURL = DefaultURL
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 32 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if strings.TrimSpace(o.Key) == "" {
		return nil, quant.Errorf(quant.Usage, "no key for Alpha Vantage").
			WithHint("set ALPHA_VANTAGE_API_KEY in the environment or in .env; a free key: https://www.alphavantage.co/support/#api-key")
	}
	base, err := url.Parse(o.BaseURL)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" || base.User != nil || base.Fragment != "" {
		// Not the error, which repeats what may hold a password.
		return nil, quant.Errorf(quant.Usage, "the base url is not one of a provider").WithHint("such as --base-url %s", DefaultURL)
	}
	if base.Scheme == "http" && !loopback(base.Hostname()) {
		return nil, quant.Errorf(quant.Usage, "the base url http://%s would send the key unencrypted", base.Host).WithHint("use https")
	}
	c := &Client{base: base, o: o}
	c.http = &http.Client{Transport: o.Transport, Timeout: o.Timeout, CheckRedirect: c.redirect}
	return c, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// errRedirect: the answer leads elsewhere.
var errRedirect = errors.New("redirect to another host")

// redirect follows within the same scheme and host only: the key is in the URL.
func (c *Client) redirect(req *http.Request, via []*http.Request) error {
	if req.URL.Scheme != c.base.Scheme || req.URL.Host != c.base.Host || len(via) > 3 {
		return errRedirect
	}
	return nil
}

// Name implements provider.Provider.
func (c *Client) Name() string { return Name }

// Scope names where the answers come from, without secrets.
func (c *Client) Scope() string { return c.base.Scheme + "://" + c.base.Host + c.base.Path }

// Daily implements provider.Provider with one request.
func (c *Client) Daily(ctx context.Context, q provider.Query) (provider.Series, error) {
	body, err := c.ask(ctx, q)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return provider.Series{}, err
	}
	return Parse(q, body)
}

func (c *Client) ask(ctx context.Context, q provider.Query) ([]byte, error) {
	address := *c.base
	query := address.Query()
	query.Set("function", "TIME_SERIES_DAILY_ADJUSTED")
	query.Set("symbol", q.Symbol)
	query.Set("outputsize", q.Size())
	query.Set("datatype", "json")
	query.Set("apikey", c.o.Key)
	address.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, provider.Failed(provider.Denied, "the request cannot be made")
	}
	req.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.connection(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, c.status(resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, c.o.MaxBytes+1))
	if err != nil {
		return nil, c.connection(err)
	}
	if int64(len(body)) > c.o.MaxBytes {
		return nil, provider.Failed(provider.Lost, "the answer is larger than %d bytes", c.o.MaxBytes)
	}
	return body, nil
}

// connection is the failure of a request that had no whole answer. The error of
// net/http holds the URL, and with it the key: only its cause is shown.
func (c *Client) connection(err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, errRedirect):
		return &provider.Failure{Kind: provider.Denied, Msg: "the provider sends the request to another host, which is not followed", Hint: "check --base-url"}
	case errors.As(err, &timeout) && timeout.Timeout():
		return provider.Failed(provider.Temporary, "no whole answer within %v", c.o.Timeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return provider.Failed(provider.Temporary, "the connection was cut before the answer was whole")
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return &provider.Failure{Kind: provider.Temporary, Msg: "the connection failed: " + err.Error(), Hint: "check the network and --base-url"}
}

// status is the failure that a status other than 200 means.
func (c *Client) status(resp *http.Response) error {
	f := &provider.Failure{Msg: fmt.Sprintf("answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))}
	switch code := resp.StatusCode; {
	case code == http.StatusTooManyRequests || code >= 500:
		f.Kind, f.After = provider.Temporary, c.retryAfter(resp.Header.Get("Retry-After"))
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		f.Kind, f.Hint = provider.Denied, keyHint
	default:
		f.Kind, f.Hint = provider.Denied, "check --base-url"
	}
	return f
}

// retryAfter reads the header, seconds or a date; 0 for anything else.
func (c *Client) retryAfter(header string) time.Duration {
	if seconds, err := strconv.ParseUint(strings.TrimSpace(header), 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, at.Sub(c.o.Now()))
	}
	return 0
}
