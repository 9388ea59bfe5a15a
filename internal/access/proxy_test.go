package access

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func proxies(nets ...string) Proxies {
	var p []netip.Prefix
	for _, n := range nets {
		p = append(p, netip.MustParsePrefix(n))
	}
	return NewProxies(p)
}

func TestClientAddr(t *testing.T) {
	tests := []struct {
		name   string
		remote string
		xff    []string
		want   string // "" is no address
	}{
		{"no proxy", "198.51.100.7:1", nil, "198.51.100.7"},
		{"spoofed by an untrusted peer", "198.51.100.7:1", []string{"203.0.113.9"}, "198.51.100.7"},
		{"trusted peer", "10.0.0.1:1", []string{"203.0.113.9"}, "203.0.113.9"},
		{"trusted peer, mapped", "[::ffff:10.0.0.1]:1", []string{"203.0.113.9"}, "203.0.113.9"},
		{"trusted peer with a zone", "[fe80::2%eth0]:1", []string{"203.0.113.9"}, "203.0.113.9"},
		{"spoofed to the left", "10.0.0.1:1", []string{"192.0.2.66, 203.0.113.9"}, "203.0.113.9"},
		{"spoofed in a line of its own", "10.0.0.1:1", []string{"192.0.2.66", "203.0.113.9"}, "203.0.113.9"},
		{"two proxies", "10.0.0.1:1", []string{"192.0.2.66, 203.0.113.9, 10.0.0.2"}, "203.0.113.9"},
		{"trusted ones alone", "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.1"},
		{"missing", "10.0.0.1:1", nil, "10.0.0.1"},
		{"empty", "10.0.0.1:1", []string{""}, "10.0.0.1"},
		{"malformed", "10.0.0.1:1", []string{"unknown"}, "10.0.0.1"},
		{"malformed behind a proxy", "10.0.0.1:1", []string{"203.0.113.9, _hidden, 10.0.0.2"}, "10.0.0.1"},
		{"malformed to the left does no harm", "10.0.0.1:1", []string{"garbage, 203.0.113.9"}, "203.0.113.9"},
		{"empty last hop", "10.0.0.1:1", []string{"203.0.113.9,"}, "10.0.0.1"},
		{"with a port", "10.0.0.1:1", []string{"203.0.113.9:4711"}, "203.0.113.9"},
		{"IPv6", "10.0.0.1:1", []string{"2001:db8::1"}, "2001:db8::1"},
		{"IPv6 in brackets", "10.0.0.1:1", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"IPv6 with a port", "10.0.0.1:1", []string{"[2001:db8::1]:4711"}, "2001:db8::1"},
		{"mapped", "10.0.0.1:1", []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
		{"a zone", "10.0.0.1:1", []string{"fe80:1::1%eth0"}, "fe80:1::1"},
		{"IPv4 in brackets", "10.0.0.1:1", []string{"[203.0.113.9]"}, "10.0.0.1"},
		{"the unspecified address", "10.0.0.1:1", []string{"0.0.0.0"}, "10.0.0.1"},
		{"endless", "10.0.0.1:1", []string{"203.0.113.9," + strings.Repeat("10.0.0.2,", 1000) + "10.0.0.2"}, "10.0.0.1"},
		{"no remote address", "", []string{"203.0.113.9"}, ""},
		{"a Unix socket", "@", []string{"203.0.113.9"}, ""},
		{"without a port", "198.51.100.7", nil, "198.51.100.7"},
	}
	p := proxies("10.0.0.0/8", "fe80::/64")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want, _ := netip.ParseAddr(tt.want)
			h := http.Header{"X-Forwarded-For": tt.xff, "Forwarded": {"for=192.0.2.99"}, "X-Real-Ip": {"192.0.2.98"}}
			if got := p.ClientAddr(tt.remote, h); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestNobodyIsTrustedByDefault(t *testing.T) {
	var none Proxies
	h := http.Header{"X-Forwarded-For": {"203.0.113.9"}}
	if got := none.ClientAddr("127.0.0.1:1", h); got != netip.MustParseAddr("127.0.0.1") || none.Any() {
		t.Errorf("got %v", got)
	}
	if !proxies("10.0.0.0/8").Any() {
		t.Error("a proxy is not trusted")
	}
	if NewProxies([]netip.Prefix{{}}).Any() {
		t.Error("an invalid network is trusted")
	}
}

// Whatever the header says, the result is the peer's address or the rightmost
// one that no trusted proxy has, in one canonical form; and what stands further
// left never matters.
func FuzzClientAddr(f *testing.F) {
	for _, s := range []string{"", "203.0.113.9", "a, b", "10.0.0.1,10.0.0.2", "[::1]:80", "::ffff:1.2.3.4%x", ",,,", "1.2.3.4,\t[2001:db8::1]", "999.1.1.1"} {
		f.Add("10.0.0.1:1", s)
		f.Add("198.51.100.7:1", s)
	}
	p := proxies("10.0.0.0/8", "2001:db8::/32")
	f.Fuzz(func(t *testing.T, remote, xff string) {
		peer := p.ClientAddr(remote, nil)
		got := p.ClientAddr(remote, http.Header{"X-Forwarded-For": {xff}})
		if got.Is4In6() || got.Zone() != "" {
			t.Errorf("%q is not canonical", got)
		}
		if got != peer && (!p.Trusts(peer) || p.Trusts(got)) {
			t.Errorf("%v is believed of %v", got, peer)
		}
		spoofed := p.ClientAddr(remote, http.Header{"X-Forwarded-For": {"192.0.2.66", xff}})
		if got != peer && spoofed != got {
			t.Errorf("a hop to the left changes %v into %v", got, spoofed)
		}
	})
}
