package httpd

import (
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/jumpget/jumpget/internal/relay"
	"github.com/jumpget/jumpget/internal/wire"
)

// opensStream reports whether a request asks for the local API as a session's
// holder does, in a way that nobody can overhear.
func (p *Public) opensStream(r *http.Request) bool {
	if p.cfg.API == nil || r.Method+" "+r.URL.Path != wire.RouteStream || r.ContentLength != 0 || !r.ProtoAtLeast(1, 1) {
		return false
	}
	if r.TLS == nil && !p.proxied(r) {
		return false
	}
	return hasToken(r.Header.Values("Connection"), "upgrade") && hasToken(r.Header.Values("Upgrade"), wire.UpgradeProtocol)
}

// proxied reports whether a request in plaintext comes from a trusted proxy that
// speaks TLS with its clients.
func (p *Public) proxied(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && !p.cfg.Plain && p.cfg.Proxies.Trusts(peer.Addr().Unmap())
}

// hasToken looks for a word in a header that is a list of them.
func hasToken(values []string, word string) bool {
	for v := range strings.SplitSeq(strings.Join(values, ","), ",") {
		if strings.EqualFold(strings.TrimSpace(v), word) {
			return true
		}
	}
	return false
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + wire.UpgradeProtocol + "\r\n\r\n"

// stream makes the rest of a connection a stream to the local API.
func (p *Public) stream(w http.ResponseWriter, r *http.Request, s *relay.Session, addr netip.Addr) {
	p.conns.trust(r.RemoteAddr)
	conn, ahead, err := http.NewResponseController(w).Hijack()
	if err != nil {
		refuse(w) // it can't be had from this server, so there was nothing to refuse
		return
	}
	err = conn.SetDeadline(time.Time{})
	if err == nil {
		_, err = conn.Write([]byte(switching))
	}
	if err != nil {
		_ = conn.Close() // it has gone already
		return
	}
	st := SessionStream{Conn: conn, Session: s, Addr: func() netip.Addr { return addr }}
	if err := p.cfg.API.serveSession(st, ahead.Reader); err != nil {
		p.cfg.Log.DebugContext(r.Context(), "a session's stream ended", "session", s.ID(), "err", err)
	}
}
