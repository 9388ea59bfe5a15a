package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/jumpget/jumpget/internal/origintest"
)

// TestPublicDoor asks the public door as curl would: the token alone is not
// enough, the address alone is not enough, both are.
func TestPublicDoor(t *testing.T) {
	w := newWorld(t, false)
	data := bytes.Repeat([]byte("0123456789"), 1000)
	w.origin.Add(origintest.File{Path: "/f.bin", Data: data, ETag: `"1"`})
	w.get("-o", w.file("f.bin"), w.origin.URL("/f.bin"))
	ids := w.get("ls", "--json")
	_, id, _ := strings.Cut(ids, `"id":"`)
	link := strings.TrimSpace(w.get("link", id[:26]))
	u, err := url.Parse(link)
	check(t, err)
	bare := *u
	bare.RawQuery = ""

	const here, elsewhere = "127.0.0.1", "127.0.0.2"
	for name, c := range map[string]struct {
		url, from, rng string
		status         int
		body           []byte
		told           string // Jumpget-Address
	}{
		"both":                            {url: link, from: here, status: 200, body: data},
		"both, a range":                   {url: link, from: here, rng: "bytes=3-12", status: 206, body: data[3:13]},
		"the token, from another address": {url: link, from: elsewhere, status: 404, told: elsewhere},
		"the address, without the token":  {url: bare.String(), from: here, status: 404},
		"the address, with a wrong token": {url: bare.String() + "?token=" + strings.Repeat("A", 43), from: here, status: 404},
		"neither":                         {url: bare.String(), from: elsewhere, status: 404},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := ask(t, c.url, c.from, c.rng)
			if resp.StatusCode != c.status || resp.Header.Get("Jumpget-Address") != c.told {
				t.Errorf("%s, address %q; want %d, %q", resp.Status, resp.Header.Get("Jumpget-Address"), c.status, c.told)
			}
			if c.body != nil && !bytes.Equal(body, c.body) {
				t.Errorf("%d bytes, want %d", len(body), len(c.body))
			}
		})
	}

	// Granted over ssh, the other address may have it too.
	w.get("allow", id[:26], elsewhere)
	if resp, _ := ask(t, link, elsewhere, ""); resp.StatusCode != http.StatusOK {
		t.Errorf("after the grant: %s", resp.Status)
	}
}

// ask GETs a URL from a local address.
func ask(t *testing.T, target, from, rng string) (*http.Response, []byte) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	tr := &http.Transport{DialContext: d.DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, target, nil)
	check(t, err)
	if rng != "" {
		req.Header.Set("Range", rng)
	}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	check(t, err)
	body, err := io.ReadAll(resp.Body)
	check(t, err)
	check(t, resp.Body.Close())
	return resp, body
}
