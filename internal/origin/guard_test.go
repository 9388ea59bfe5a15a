package origin

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origintest"
)

func TestGuard(t *testing.T) {
	const own = "93.184.216.34"
	tests := map[bool][]string{
		true: {
			"1.1.1.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "8.8.8.8", "168.63.129.17",
			"2606:4700::1111", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
		},
		false: {
			"0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.9.9.9", "168.63.129.16",
			"169.254.1.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1",
			"192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255",
			"240.0.0.1", "255.255.255.255", own,
			"::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::ffff:" + own,
			"64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "64:ff9b:1:fffe::10.0.0.1", "100::1",
			"2001::1", "2001:0:7f00:1::", "2001:2::1", "2001:10::1", "2001:db8::1", "3fff::1", "2002:7f00:1::", "2002:808:808::",
			"fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "4000::1",
		},
	}
	ours := func() []netip.Addr { return []netip.Addr{netip.MustParseAddr(own)} }
	for want, list := range tests {
		for _, s := range list {
			err := Guard{}.check(netip.MustParseAddr(s), ours)
			if (err == nil) != want {
				t.Errorf("%s: got %v, want allowed %v", s, err, want)
			}
			if err != nil {
				e := wantCode(t, err, job.CodeOriginDenied)
				if !strings.Contains(e.Hint, "serve --allow-private-origins") {
					t.Errorf("hint: %q", e.Hint)
				}
			}
			if err := (Guard{All: true}).check(netip.MustParseAddr(s), ours); err != nil {
				t.Errorf("%s with all allowed: %v", s, err)
			}
		}
	}
}

func TestGuardAllowAndDeny(t *testing.T) {
	g := Guard{Allow: prefixes("10.0.0.0/8", "fd00::/8"), Deny: prefixes("10.9.0.0/16", "1.1.1.1/32")}
	for s, want := range map[string]bool{
		"10.1.1.1": true, "::ffff:10.1.1.1": true, "10.9.1.1": false, "::ffff:10.9.1.1": false,
		"192.168.0.1": false, "fd00::1": true, "1.1.1.1": false, "8.8.8.8": true, "64:ff9b::10.1.1.1": false,
	} {
		if err := g.Check(netip.MustParseAddr(s)); (err == nil) != want {
			t.Errorf("%s: got %v, want allowed %v", s, err, want)
		}
	}
	if (Guard{All: true, Deny: prefixes("1.1.1.1/32")}).Check(netip.MustParseAddr("1.1.1.1")) == nil {
		t.Error("All overrides Deny")
	}
}

func TestOwnAddressesAreKnown(t *testing.T) {
	found := false
	for _, a := range interfaceAddrs() {
		found = found || a == netip.MustParseAddr("127.0.0.1")
	}
	if !found {
		t.Errorf("loopback is not among %v", interfaceAddrs())
	}
}

// faults.md: private or metadata address; SSRF by name, notation and redirect.
func TestPrivateAddressesAreRefused(t *testing.T) {
	s := origintest.New(t, origintest.File{Size: 10})
	_, port, _ := strings.Cut(s.Addr(), ":")
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"} {
		_, err := get(t, fetcher(t, func(c *Config) { c.Guard = Guard{} }), sink(t), "http://"+host+":"+port+"/file.bin")
		wantCode(t, err, job.CodeOriginDenied)
	}
	if s.Count() != 0 {
		t.Errorf("%d requests got through", s.Count())
	}
}

func TestRedirectsToPrivateAddressesAreRefused(t *testing.T) {
	target := origintest.New(t, origintest.File{Size: 10})
	_, port, _ := strings.Cut(target.Addr(), ":")
	only := Guard{Allow: prefixes("127.0.0.1/32")}
	for _, to := range []string{
		"http://169.254.169.254/latest/meta-data/", "http://[::1]:" + port + "/file.bin", "http://127.0.0.2:" + port + "/file.bin",
		"http://0.0.0.0:" + port + "/file.bin", "http://[::ffff:169.254.169.254]/", "http://100.100.100.200/",
		"file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "data:,x",
	} {
		s := origintest.New(t, origintest.Hops("/a", 2, to)...)
		_, err := get(t, fetcher(t, func(c *Config) { c.Guard = only }), sink(t), s.URL("/a"))
		wantCode(t, err, job.CodeOriginDenied)
	}
	if target.Count() != 0 {
		t.Errorf("%d requests got through", target.Count())
	}
}

// proxy is a forward proxy that answers by itself.
func proxy(t *testing.T, answer string) (*url.URL, *[]string) {
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.String())
		_, _ = w.Write([]byte(answer))
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u, &asked
}

func TestProxyIsExemptFromTheGuard(t *testing.T) {
	u, asked := proxy(t, "by proxy")
	f := fetcher(t, func(c *Config) { c.Guard, c.Proxy = Guard{}, http.ProxyURL(u) })
	m := sink(t)
	if _, err := get(t, f, m, "http://origin.invalid/f"); err != nil || string(m.data) != "by proxy" {
		t.Fatal(string(m.data), err)
	}
	if len(*asked) != 1 || (*asked)[0] != "http://origin.invalid/f" {
		t.Fatal(*asked)
	}
}

func TestProxyIsNoWayAroundTheGuard(t *testing.T) {
	u, asked := proxy(t, "secret")
	some := func(r *http.Request) (*url.URL, error) {
		if r.URL.Host == u.Host { // as with NO_PROXY
			return nil, nil
		}
		return u, nil
	}
	f := fetcher(t, func(c *Config) { c.Guard, c.Proxy = Guard{}, some })
	for _, target := range []string{"http://169.254.169.254/", "http://[::1]/", u.String() + "/"} {
		_, err := get(t, f, sink(t), target)
		wantCode(t, err, job.CodeOriginDenied)
	}
	if len(*asked) != 0 {
		t.Fatal(*asked)
	}
}
