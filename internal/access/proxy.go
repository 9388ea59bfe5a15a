package access

import (
	"net/http"
	"net/netip"
	"strings"
)

// maxHops is how far back X-Forwarded-For is read. No honest chain of trusted
// proxies is longer, and a request can't make us work for nothing.
const maxHops = 32

// Proxies are the networks whose X-Forwarded-For is believed. The zero value
// trusts nobody.
type Proxies struct{ trusted []netip.Prefix }

// NewProxies trusts the given networks.
func NewProxies(trusted []netip.Prefix) Proxies {
	p := Proxies{}
	for _, t := range trusted {
		if t.IsValid() {
			p.trusted = append(p.trusted, t.Masked())
		}
	}
	return p
}

// Any reports whether any proxy is trusted.
func (p Proxies) Any() bool { return len(p.trusted) > 0 }

// Trusts reports whether addr is that of a trusted proxy.
func (p Proxies) Trusts(addr netip.Addr) bool {
	addr = canonical(addr)
	for _, t := range p.trusted {
		if t.Contains(addr) {
			return true
		}
	}
	return false
}

// ClientAddr returns the address a request comes from, unmapped and without a
// zone. remoteAddr is the peer's "host:port" as net/http gives it; the address is
// invalid if it can't be read, and then nothing may be allowed.
//
// X-Forwarded-For is read only if the peer is a trusted proxy, from the right
// (what that proxy wrote) up to the first hop that is no trusted proxy; what
// stands further left came from the client and proves nothing. If the header is
// missing, malformed up to there, or names trusted proxies alone, the peer's own
// address stands. The header Forwarded is ignored: a proxy that does not know it
// passes on whatever a client wrote.
func (p Proxies) ClientAddr(remoteAddr string, header http.Header) netip.Addr {
	peer := peerAddr(remoteAddr)
	if !peer.IsValid() || !p.Trusts(peer) {
		return peer
	}
	// Several header lines count as one list (RFC 9110, section 5.3).
	hops := strings.Split(strings.Join(header.Values("X-Forwarded-For"), ","), ",")
	for n := 0; n < maxHops && n < len(hops); n++ {
		hop, ok := hopAddr(hops[len(hops)-1-n])
		if !ok {
			return peer
		}
		if !p.Trusts(hop) {
			return hop
		}
	}
	return peer
}

// peerAddr reads "host:port", or an address alone.
func peerAddr(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return canonical(ap.Addr())
	}
	a, _ := netip.ParseAddr(s)
	return canonical(a)
}

// hopAddr reads one hop. Some proxies add a port, and then brackets around IPv6.
func hopAddr(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	if inner, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(inner, "]") {
		s = inner[:len(inner)-1]
		if !strings.Contains(s, ":") {
			return netip.Addr{}, false // only IPv6 stands in brackets
		}
	}
	a := peerAddr(s)
	return a, a.IsValid() && !a.IsUnspecified()
}
