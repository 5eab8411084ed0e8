package objectstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"quant"
)

// errAgain asks for another try at once.
var errAgain = errors.New("again")

// errStalled is the cause of a request that stood still.
var errStalled = errors.New("nothing came or went")

// The pauses between two tries, which grow.
const (
	firstPause = 200 * time.Millisecond
	lastPause  = 5 * time.Second
)

type request func(ctx context.Context, c *minio.Core, moved func()) error

// try asks for something until it is served, or the patience ends.
func (b *Bucket) try(ctx context.Context, doing, key string, ask request) error {
	return b.ask(ctx, doing, key, b.o.Patience, ask)
}

// once asks for something one time.
func (b *Bucket) once(ctx context.Context, doing, key string, ask request) error {
	return b.ask(ctx, doing, key, 0, ask)
}

func (b *Bucket) ask(ctx context.Context, doing, key string, patience time.Duration, ask request) error {
	c, err := b.open(ctx)
	if err != nil {
		return err
	}
	begun, pause := time.Now(), firstPause
	for tries := 1; ; tries++ {
		err := b.attempt(ctx, c, ask)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errAgain):
			continue
		case !passes(err) || time.Since(begun)+pause > patience:
			return b.failure(doing, key, err, tries, time.Since(begun))
		}
		if minio.ToErrorResponse(err).Code == "ExpiredToken" {
			b.keys.forget()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause/2 + rand.N(pause/2+1)):
		}
		pause = min(2*pause, lastPause)
	}
}

// attempt is one try, which ends when nothing moves any more.
func (b *Bucket) attempt(ctx context.Context, c *minio.Core, ask request) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(b.o.Stall, func() { cancel(errStalled) })
	defer idle.Stop()
	err := ask(ctx, c, func() { idle.Reset(b.o.Stall) })
	if err != nil && errors.Is(context.Cause(ctx), errStalled) {
		return fmt.Errorf("%w for %v", errStalled, b.o.Stall)
	}
	return err
}

// is reports whether a store answered with a status.
func is(err error, status int) bool {
	r, answered := errors.AsType[minio.ErrorResponse](err)
	return answered && r.StatusCode == status
}

func notImplemented(err error) bool {
	r, answered := errors.AsType[minio.ErrorResponse](err)
	return answered && (r.StatusCode == http.StatusNotImplemented || r.Code == "NotImplemented")
}

// passes reports whether what went wrong may be gone soon.
func passes(err error) bool {
	if r, answered := errors.AsType[minio.ErrorResponse](err); answered {
		switch r.Code {
		case "RequestTimeout", "SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException", "RequestThrottled", "RequestLimitExceeded", "ExpiredToken", "InternalError":
			return true
		}
		return r.StatusCode >= 500 && r.StatusCode != http.StatusNotImplemented || r.StatusCode == http.StatusTooManyRequests || r.StatusCode == http.StatusRequestTimeout || r.StatusCode == http.StatusConflict
	}
	if e, is := errors.AsType[*net.DNSError](err); is {
		return e.Temporary() && !e.IsNotFound
	}
	if _, is := errors.AsType[*tls.CertificateVerificationError](err); is {
		return false
	}
	if _, is := errors.AsType[x509.UnknownAuthorityError](err); is {
		return false
	}
	if _, is := errors.AsType[tls.RecordHeaderError](err); is || strings.Contains(err.Error(), "HTTP response to HTTPS client") {
		return false
	}
	if _, is := errors.AsType[*os.PathError](err); is {
		return false
	}
	return true
}

// failure is the error of what the store did not do.
func (b *Bucket) failure(doing, key string, err error, tries int, took time.Duration) error {
	object := b.URL(key)
	r, answered := errors.AsType[minio.ErrorResponse](err)
	if answered && r.StatusCode == http.StatusNotFound && r.Code != minio.NoSuchBucket {
		return quant.Errorf(quant.NotFound, "there is no object %s in %s", object, b.o.At.Store())
	}
	said, hint := "", "check the network and the store; nothing is lost, and the command can be run again"
	switch {
	case answered:
		said = fmt.Sprintf("%d %s", r.StatusCode, r.Code)
		if r.Message != "" {
			said += ": " + quant.Clip(strings.Join(strings.Fields(r.Message), " "), 200)
		}
		switch {
		case r.Code == minio.NoSuchBucket:
			hint = "make the bucket, or check its name, the endpoint and the region"
		case r.StatusCode == http.StatusForbidden || r.StatusCode == http.StatusUnauthorized:
			hint = "check the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE), what they may do with this prefix, and the region"
		case r.StatusCode == http.StatusMovedPermanently || r.Code == "AuthorizationHeaderMalformed":
			hint = "name the region of the bucket: `?region=` in the URL, or AWS_REGION"
		}
	default:
		if e, is := errors.AsType[*url.Error](err); is {
			err = e.Err
		}
		said = quant.FirstLine(err.Error())
		if _, is := errors.AsType[*tls.CertificateVerificationError](err); is {
			hint = "name the certificate of its authority with AWS_CA_BUNDLE"
		}
	}
	if tries > 1 {
		said += fmt.Sprintf(" (%d tries in %s)", tries, took.Round(100*time.Millisecond))
	}
	return &quant.Error{Code: quant.Store, Err: err, Msg: fmt.Sprintf("%s %s in %s: %s", doing, object, b.o.At.Store(), said), Hint: hint}
}
