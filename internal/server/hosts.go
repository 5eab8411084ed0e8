package server

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"quant"
)

// hosts are the names under which a server is reached. A page of elsewhere whose
// name was turned to this machine's address (DNS rebinding) comes under another.
type hosts struct {
	names []string // lower case, without a port
	ip    netip.Addr
}

func hostsOf(place address, trusted []string) hosts {
	h := hosts{names: []string{"localhost"}, ip: place.ip.Unmap()}
	if place.host != "" {
		h.names = append(h.names, place.host)
	}
	for _, name := range trusted {
		h.names = append(h.names, hostName(name))
	}
	return h
}

// trusted refuses names that no request can have in its Host header, which would
// otherwise let in nobody without a word.
func trusted(names []string) error {
	for _, name := range names {
		bare := hostName(name)
		if _, err := netip.ParseAddr(bare); err != nil && (bare == "" || strings.Contains(name, "/") || strings.ContainsFunc(bare, func(c rune) bool {
			return c != '-' && c != '.' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z')
		})) {
			return quant.Errorf(quant.Usage, "--trusted-host %q is no name of a host", name).
				WithHint("write the name alone, such as lab.example.com; one that is not ASCII in its xn-- form")
		}
	}
	return nil
}

// hostName is a host without its port, as names are compared.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// check refuses a request that names another host.
func (h hosts) check(r *http.Request) (status int, err error) {
	name := hostName(r.Host)
	if ip, err := netip.ParseAddr(name); err == nil {
		ip = ip.Unmap().WithZone("")
		// Where every address is listened at, none is another's: only a name can be
		// turned to where it did not lead before.
		if ip.IsLoopback() || ip == h.ip || h.ip.IsUnspecified() {
			return 0, nil
		}
	}
	if slices.Contains(h.names, name) {
		return 0, nil
	}
	return http.StatusForbidden, quant.Errorf(quant.Refused, "this server is not called %q", r.Host).
		WithHint("if it is, start it with --trusted-host %s", name)
}
