// Package server is the lab behind HTTP: it listens, guards, measures and ends;
// what is answered is said by its faces, each a package below it: mlflow (the API
// of MLflow's clients), api (quant's own) and pages.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/session"
)

// Options say what is served, where, and to whom.
type Options struct {
	Session *session.Session // the run that serving is recorded as
	Addr    string           // HOST:PORT; no HOST: every address of this machine; port 0: any
	// TrustedHosts are names under which the server is reached, beside those of
	// this machine's loopback and the host of Addr.
	TrustedHosts []string
	// Auth demands a token from everybody, as is demanded at any address but
	// loopback.
	Auth bool
	// TLSCert and TLSKey are PEM files; both or none.
	TLSCert, TLSKey string
	// AccessLog takes a line for each request; nil: none is written.
	AccessLog io.Writer
	// Ready is told the address once requests are answered.
	Ready func(url string)
	// Now means the wait for those requests that are answered is over; nil: never.
	Now <-chan struct{}
	// ClientLease is how long a client of MLflow may be silent before its run is
	// closed; 0: tracking.DefaultLease.
	ClientLease time.Duration
	// Sweep closes what clients left open, and is called now and then; nil: it closes
	// the runs of clients that are silent for longer than ClientLease.
	Sweep func(ctx context.Context) error
	// Clock is nil for time.Now.
	Clock func() time.Time
}

// The bounds of what one client can take.
const (
	maxHeader   = 64 << 10
	maxBody     = 32 << 20 // of what is read into memory; a stream has none
	maxConns    = 1000
	headerTime  = 10 * time.Second
	bodyTime    = 2 * time.Minute  // for all of a body that is no stream
	stallTime   = 30 * time.Second // between two pieces of a body or an answer
	idleTime    = 2 * time.Minute  // between two requests
	closingTime = 5 * time.Second  // for the requests that are answered when serving ends
)

// Serve answers requests until ctx ends, then lets those that it is answering
// finish for a moment; streams of events it ends at once. Errors: Invalid for an
// address or a certificate that is none, Conflict when the address is taken,
// Refused when nobody could be let in, or may not listen there; Store when the Meta DB
// was removed or replaced.
func Serve(ctx context.Context, o Options) error {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	certificate, err := loadCertificate(o.TLSCert, o.TLSKey)
	if err != nil {
		return err
	}
	if err := trusted(o.TrustedHosts); err != nil {
		return err
	}
	place, err := resolve(ctx, o.Addr)
	if err != nil {
		return err
	}
	defer o.Session.ShareFacts()()
	h := newHandler(o, place)
	if err := h.admission.ready(ctx); err != nil {
		return err
	}
	l, err := listen(ctx, o, place)
	if err != nil {
		return err
	}
	url := "http://" + l.Addr().String()
	l = &limited{Listener: l, room: make(chan struct{}, maxConns)}
	if certificate != nil {
		url = "https://" + l.Addr().String()
		l = tls.NewListener(l, certificate)
	}
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		ErrorLog: log.New(h.access, "", 0),
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	keeping, stop := context.WithCancel(ctx)
	defer stop()
	kept := make(chan struct{})
	go func() { defer close(kept); keep(keeping, h) }()
	defer func() {
		stop()
		<-kept
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = h.admission.flush(closing) // when a token was used last is worth no error
	}()
	recorded := o.Session != nil && o.Session.Run != nil
	// Before the address is given: nobody is to use it without having been warned.
	if recorded && certificate == nil && !place.loopback() {
		o.Session.Say().Warn("what is sent to %s can be read on its way: give --tls-cert and --tls-key, or put a proxy with TLS before it", url)
	}
	if o.Ready != nil {
		o.Ready(url)
	}
	if recorded {
		// After the first answer, which does not wait for it.
		err := o.Session.Registry.Log(context.WithoutCancel(ctx), o.Session.RunID(), metastore.Batch{Tags: []quant.Tag{{Name: URLTag, Value: url}}})
		if err != nil {
			o.Session.Say().Warn("that this run serves %s is not recorded: %v", url, err)
		}
	}
	gone := make(chan error, 1)
	go func() { gone <- h.lab.watch(keeping) }()
	var lost error
	select {
	case err := <-ended:
		return quant.Errorf(quant.Failed, "serve on %s: %w", o.Addr, err)
	case lost = <-gone:
	case <-ctx.Done():
	}
	h.streams.end()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closingTime)
	defer cancel()
	if o.Now != nil {
		go func() {
			select {
			case <-o.Now:
				cancel()
			case <-closing.Done():
			}
		}()
	}
	switch err := srv.Shutdown(closing); {
	case closing.Err() != nil: // who is still asking has been waited for
		_ = srv.Close()
	case err != nil && !errors.Is(err, net.ErrClosed):
		return quant.Errorf(quant.Failed, "end serving: %w", err)
	}
	return lost
}

// Handler answers what Serve answers on loopback.
func Handler(o Options) http.Handler {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	return newHandler(o, address{ip: netip.AddrFrom4([4]byte{127, 0, 0, 1})})
}
