package origin

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// routes sends requests straight to the origin or by way of the operator's
// proxy. There are two transports, so that the guard's exemption can never be
// used for a connection that does not go to the proxy.
type routes struct {
	proxy   func(*http.Request) (*url.URL, error)
	guard   Guard
	direct  *http.Transport // every dial is guarded
	proxied *http.Transport // every dial goes to a proxy that the operator has set
}

func newRoutes(cfg Config) *routes {
	guarded := &net.Dialer{Timeout: cfg.DialTimeout, ControlContext: cfg.Guard.control}
	direct := newTransport(cfg, guarded)
	proxied := newTransport(cfg, &net.Dialer{Timeout: cfg.DialTimeout})
	proxied.Proxy = cfg.Proxy
	return &routes{proxy: cfg.Proxy, guard: cfg.Guard, direct: direct, proxied: proxied}
}

func newTransport(cfg Config, d *net.Dialer) *http.Transport {
	// HTTP/2 would put all ranges on one TCP connection, and the point of
	// several ranges is several connections.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext:            d.DialContext,
		Protocols:              &protocols,
		TLSClientConfig:        &tls.Config{RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    cfg.DialTimeout,
		ResponseHeaderTimeout:  cfg.HeaderTimeout,
		MaxResponseHeaderBytes: 256 << 10,
		MaxIdleConnsPerHost:    cfg.MaxConns,
		MaxIdleConns:           64,
		IdleConnTimeout:        30 * time.Second,
		DisableCompression:     true,
	}
}

func (r *routes) closeIdle() {
	r.direct.CloseIdleConnections()
	r.proxied.CloseIdleConnections()
}

// RoundTrip implements http.RoundTripper.
func (r *routes) RoundTrip(req *http.Request) (*http.Response, error) {
	p, err := r.proxy(req)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return r.direct.RoundTrip(req)
	}
	// The proxy resolves names, so only plain addresses can be looked at here;
	// where names lead is for the proxy's operator to rule.
	if addr, err := netip.ParseAddr(req.URL.Hostname()); err == nil {
		if err := r.guard.Check(addr); err != nil {
			return nil, err
		}
	}
	return r.proxied.RoundTrip(req)
}
