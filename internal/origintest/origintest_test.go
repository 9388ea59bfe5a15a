package origintest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jumpget/jumpget/internal/origintest"
	"github.com/jumpget/jumpget/internal/span"
)

func get(t *testing.T, url string, header ...string) (*http.Response, []byte, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	tr := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

func TestContentIsTheSameAtEveryOffset(t *testing.T) {
	const size = 1000
	whole := make([]byte, size)
	if n, err := origintest.Random(size, 7).ReadAt(whole, 0); n != size || err != nil {
		t.Fatal(n, err)
	}
	rapid.Check(t, func(t *rapid.T) {
		off := rapid.Int64Range(0, size-1).Draw(t, "off")
		p := make([]byte, rapid.IntRange(0, 100).Draw(t, "len"))
		n, _ := origintest.Random(size, 7).ReadAt(p, off)
		if want := min(int64(len(p)), size-off); int64(n) != want || !bytes.Equal(p[:n], whole[off:off+want]) {
			t.Fatalf("%d bytes at %d differ from the whole", n, off)
		}
	})
}

func TestSumIsThatOfTheServedBytes(t *testing.T) {
	f := origintest.File{Size: 300_001, Seed: 3}
	s := origintest.New(t, f)
	_, body, err := get(t, s.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	if got := hex.EncodeToString(sum[:]); got != f.SHA256() {
		t.Fatalf("served %s, announced %s", got, f.SHA256())
	}
}

func TestHugeFileCostsNothing(t *testing.T) {
	s := origintest.New(t, origintest.File{Size: 5 << 30})
	resp, body, err := get(t, s.URL(""), "Range", "bytes=5368709110-")
	if err != nil || resp.StatusCode != 206 || len(body) != 10 {
		t.Fatal(resp.StatusCode, len(body), err)
	}
	if got := resp.Header.Get("Content-Range"); got != "bytes 5368709110-5368709119/5368709120" {
		t.Fatal(got)
	}
}

func TestRangeAnswers(t *testing.T) {
	s := origintest.New(t, origintest.File{Data: []byte("0123456789"), ETag: `"v1"`},
		origintest.File{Path: "/plain", Data: []byte("0123456789"), NoRanges: true})
	tests := []struct {
		path, rng, ifRange string
		status             int
		body               string
	}{
		{"", "bytes=2-4", "", 206, "234"},
		{"", "bytes=8-", "", 206, "89"},
		{"", "bytes=8-99", "", 206, "89"},
		{"", "bytes=-3", "", 206, "789"},
		{"", "bytes=10-", "", 416, ""},
		{"", "bytes=0-1,4-5", "", 200, "0123456789"},
		{"", "bytes=2-4", `"v1"`, 206, "234"},
		{"", "bytes=2-4", `"v2"`, 200, "0123456789"},
		{"", "bytes=2-4", `W/"v1"`, 200, "0123456789"},
		{"/plain", "bytes=2-4", "", 200, "0123456789"},
		{"/other", "", "", 404, "Not Found\n"},
	}
	for _, tc := range tests {
		resp, body, err := get(t, s.URL(tc.path), "Range", tc.rng, "If-Range", tc.ifRange)
		if err != nil || resp.StatusCode != tc.status || string(body) != tc.body {
			t.Errorf("%s %s %s: got %d %q %v", tc.path, tc.rng, tc.ifRange, resp.StatusCode, body, err)
		}
	}
}

func TestFaults(t *testing.T) {
	tests := []struct {
		name   string
		fault  origintest.Fault
		status int
		got    int // bytes
		err    error
	}{
		{"close before the length", origintest.Close(4), 200, 4, io.ErrUnexpectedEOF},
		{"chunked", origintest.NoLength(), 200, 10, nil},
		{"chunked, closed early", func(r *origintest.Reply) { r.NoLength = true; r.CloseAfter = 4 }, 200, 4, io.ErrUnexpectedEOF},
		{"HTTP/1.0", origintest.HTTP10(), 200, 10, nil},
		{"HTTP/1.0, closed early", func(r *origintest.Reply) { r.HTTP10 = true; r.CloseAfter = 4 }, 200, 4, nil},
		{"status", origintest.Status(503, "Retry-After", "1"), 503, 20, nil},
		{"only the second answer", origintest.From(2, origintest.Status(503)), 200, 10, nil},
		{"length too long", origintest.Length(11), 200, 10, io.ErrUnexpectedEOF},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s := origintest.New(t, origintest.File{Data: []byte("0123456789"), Faults: []origintest.Fault{tc.fault}})
			resp, body, err := get(t, s.URL(""))
			if resp.StatusCode != tc.status || len(body) != tc.got || !errors.Is(err, tc.err) {
				t.Fatalf("got %d, %d bytes, %v", resp.StatusCode, len(body), err)
			}
		})
	}
}

func TestReset(t *testing.T) {
	s := origintest.New(t, origintest.File{Size: 1 << 20, Faults: []origintest.Fault{origintest.Reset(1000)}})
	if _, _, err := get(t, s.URL("")); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("want a reset, got %v", err)
	}
}

func TestVersionChanges(t *testing.T) {
	next := &origintest.File{Data: []byte("second"), ETag: `"v2"`}
	s := origintest.New(t,
		origintest.File{Path: "/request", Data: []byte("first"), Then: next, ThenAt: 2},
		origintest.File{Path: "/byte", Data: []byte("first"), Then: next, ThenAtByte: 3})
	for _, path := range []string{"/request", "/byte"} {
		_, first, _ := get(t, s.URL(path))
		_, second, err := get(t, s.URL(path))
		if !strings.HasPrefix("first", string(first)) || string(second) != "second" || err != nil {
			t.Errorf("%s: got %q, then %q, %v", path, first, second, err)
		}
	}
}

func TestConditions(t *testing.T) {
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := origintest.New(t, origintest.File{Data: []byte("x"), ETag: `W/"v1"`, LastModified: when})
	for _, tc := range []struct {
		name, value string
		status      int
	}{
		{"If-None-Match", `"v1"`, 304},
		{"If-None-Match", `"v2"`, 200},
		{"If-Modified-Since", when.Format(http.TimeFormat), 304},
		{"If-Modified-Since", when.Add(-time.Second).Format(http.TimeFormat), 200},
	} {
		if resp, _, err := get(t, s.URL(""), tc.name, tc.value); err != nil || resp.StatusCode != tc.status {
			t.Errorf("%s %s: got %d %v", tc.name, tc.value, resp.StatusCode, err)
		}
	}
}

func TestLoginCookieGzip(t *testing.T) {
	s := origintest.New(t, origintest.File{Data: []byte("x"), User: "u", Password: "p"},
		origintest.File{Path: "/cookie", Data: []byte("x"), Cookie: "a=b"},
		origintest.File{Path: "/gzip", Data: []byte("x"), Gzip: true})
	for _, tc := range []struct {
		path, name, value string
		status            int
		encoding          string
	}{
		{"", "X", "", 401, ""},
		{"", "Authorization", "Basic dTpw", 200, ""},
		{"/cookie", "X", "", 403, ""},
		{"/cookie", "Cookie", "a=b", 200, ""},
		{"/gzip", "Accept-Encoding", "identity", 200, ""},
		{"/gzip", "Accept-Encoding", "gzip", 200, "gzip"},
	} {
		resp, _, err := get(t, s.URL(tc.path), tc.name, tc.value)
		if err != nil || resp.StatusCode != tc.status || resp.Header.Get("Content-Encoding") != tc.encoding {
			t.Errorf("%s %s: got %d %v", tc.path, tc.value, resp.StatusCode, err)
		}
	}
}

func TestHops(t *testing.T) {
	s := origintest.New(t, origintest.Hops("/a", 3, "/file.bin")...)
	s.Add(origintest.File{Data: []byte("x")})
	resp, err := http.Get(s.URL("/a"))
	if err != nil || resp.StatusCode != 200 || s.Count() != 4 {
		t.Fatal(resp, err, s.Count())
	}
	_ = resp.Body.Close()
}

func TestLogAndStall(t *testing.T) {
	s := origintest.New(t, origintest.File{Size: 100, Faults: []origintest.Fault{origintest.Stall(40)}})
	resp, err := http.Get(s.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 40)); err != nil {
		t.Fatal(err)
	}
	read := make(chan error)
	go func() {
		_, err := resp.Body.Read(make([]byte, 1))
		read <- err
	}()
	select {
	case err := <-read:
		t.Fatalf("the stalled answer went on: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	s.Close()
	if err := <-read; err == nil {
		t.Fatal("the closed server still sends")
	}
	log := s.Requests()
	if len(log) != 1 || log[0].Sent != (span.Span{End: 40}) || s.Sent() != 40 || s.MaxParallel() != 1 {
		t.Fatalf("log %+v, sent %d, parallel %d", log, s.Sent(), s.MaxParallel())
	}
}
