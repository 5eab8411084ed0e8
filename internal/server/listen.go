package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"quant"
	"quant/internal/metastore"
)

// address is where a server listens.
type address struct {
	host string     // as it was given; "" for none
	ip   netip.Addr // the unspecified one for every address
	port uint16
}

// loopback tells whether only this machine reaches the address.
func (a address) loopback() bool { return a.ip.Unmap().IsLoopback() }

func (a address) String() string { return netip.AddrPortFrom(a.ip, a.port).String() }

// resolve reads HOST:PORT. A name is one of this machine's addresses, and of several
// the first of IPv4.
func resolve(ctx context.Context, addr string) (address, error) {
	wrong := func(format string, args ...any) error {
		return quant.Errorf(quant.Usage, "--addr %q: "+format, append([]any{addr}, args...)...).
			WithHint("write HOST:PORT, such as 127.0.0.1:5000; port 0 is any that is free")
	}
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		if e, ok := errors.AsType[*net.AddrError](err); ok {
			return address{}, wrong("%s", e.Err)
		}
		return address{}, wrong("%w", err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return address{}, wrong("%q is no port from 0 to 65535", text)
	}
	a := address{host: strings.ToLower(host), port: uint16(port)}
	switch {
	case host == "":
		a.ip = netip.IPv6Unspecified()
		return a, nil
	case a.host == "localhost":
		a.ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		return a, nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		a.ip = ip
		return a, nil
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(found) == 0 {
		if ctx.Err() != nil {
			return address{}, context.Cause(ctx)
		}
		return address{}, wrong("there is no host of this name")
	}
	a.ip = found[0].Unmap()
	for _, ip := range found {
		if ip = ip.Unmap(); ip.Is4() {
			a.ip = ip
			break
		}
	}
	return a, nil
}

// listen takes the address.
func listen(ctx context.Context, o Options, a address) (net.Listener, error) {
	network := "tcp"
	if a.ip.Is4() {
		network = "tcp4"
	}
	var config net.ListenConfig
	where := a.String()
	if a.ip == netip.IPv6Unspecified() {
		where = net.JoinHostPort("", strconv.Itoa(int(a.port))) // also where there is no IPv6
	}
	l, err := config.Listen(ctx, network, where)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		err := quant.Errorf(quant.Conflict, "the address %s is taken%s", a, holder(ctx, o, a))
		return nil, err.WithHint("choose another with --addr; port 0 is any that is free")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, quant.Errorf(quant.Invalid, "%s is no address of this machine", a.ip).
			WithHint("--addr 127.0.0.1:%d listens for this machine alone, --addr 0.0.0.0:%[1]d at all of its addresses", a.port)
	case errors.Is(err, syscall.EACCES):
		return nil, quant.Errorf(quant.Refused, "the system does not let this program listen on port %d", a.port).
			WithHint("choose a port above 1023 with --addr")
	}
	return nil, quant.Errorf(quant.Failed, "listen on %s: %w", a, err).WithHint("choose another address with --addr")
}

// Kind is the kind of the runs that serving is recorded as, and URLTag the tag that
// says where one of them is reached.
const (
	Kind   = "serve"
	URLTag = "server.url"
)

// holder says which server of this lab has an address, "" where none is known to.
func holder(ctx context.Context, o Options, a address) string {
	if o.Session == nil || o.Session.Registry == nil {
		return ""
	}
	running, err := o.Session.Meta.ListRuns(ctx, metastore.RunFilter{All: true, Kind: Kind, Status: quant.Running, Brief: true, Limit: 100})
	if err != nil {
		return "" // the address is taken all the same
	}
	for _, run := range running {
		tags, err := o.Session.Meta.Tags(ctx, run.RunID)
		if err != nil {
			continue
		}
		for _, t := range tags {
			if _, at, _ := strings.Cut(t.Value, "://"); t.Name == URLTag && run.RunID != o.Session.RunID() && overlaps(at, a) {
				return " by quant run " + run.RunID + " of this lab (pid " + strconv.FormatInt(run.Process.PID, 10) + ")"
			}
		}
	}
	return ""
}

// overlaps tells whether two cannot listen at both addresses.
func overlaps(at string, a address) bool {
	other, err := netip.ParseAddrPort(at)
	return err == nil && other.Port() == a.port &&
		(other.Addr() == a.ip || other.Addr().IsUnspecified() || a.ip.IsUnspecified())
}

// loadCertificate reads the certificate of TLS, nil for none.
func loadCertificate(certFile, keyFile string) (*tls.Config, error) {
	if certFile == "" && keyFile == "" {
		return nil, nil
	}
	if certFile == "" || keyFile == "" {
		return nil, quant.Errorf(quant.Usage, "the certificate (--tls-cert) and the private key (--tls-key) are given together or not at all").
			WithHint("the first is the certificate with its chain, the second its private key, both PEM files")
	}
	var pem [2][]byte
	for i, file := range []string{certFile, keyFile} {
		b, err := os.ReadFile(file)
		if err != nil {
			// Not the path: that of a key is recorded as a secret, and masked.
			if path, ok := errors.AsType[*fs.PathError](err); ok {
				err = path.Err
			}
			return nil, quant.Errorf(quant.Invalid, "read the %s: %w", []string{"certificate (--tls-cert)", "private key (--tls-key)"}[i], err).
				WithHint("check the path and that you may read the file")
		}
		pem[i] = b
	}
	pair, err := tls.X509KeyPair(pem[0], pem[1])
	switch {
	case err != nil && strings.Contains(err.Error(), "does not match"):
		return nil, quant.Errorf(quant.Invalid, "the certificate (--tls-cert) and the private key (--tls-key) do not belong together: %w", err).
			WithHint("give the key that the certificate was made for")
	case err != nil:
		return nil, quant.Errorf(quant.Invalid, "the certificate (--tls-cert) and the private key (--tls-key) cannot be used: %w", err).
			WithHint("the first is the certificate with its chain, the second its private key, both PEM files")
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}, nil
}

// limited accepts no more connections than it has room for; others wait in the
// queue of the system.
type limited struct {
	net.Listener
	room chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	l.room <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.room
		return nil, err
	}
	return &counted{Conn: c, leave: sync.OnceFunc(func() { <-l.room })}, nil
}

type counted struct {
	net.Conn
	leave func()
}

func (c *counted) Close() error {
	err := c.Conn.Close()
	c.leave()
	return err
}
