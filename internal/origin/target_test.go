package origin

import (
	"errors"
	"strings"
	"testing"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origintest"
)

func secretRequest(url string) *job.Request {
	return &job.Request{
		URL: url, Username: "ann", Password: "s3cret",
		Header: []job.Field{{Name: "Cookie", Value: "sid=s3cret"}, {Name: "x-api-key", Value: "s3cret"}, {Name: "User-Agent", Value: "mine/1"}},
	}
}

// sentSecrets returns how many of the three secrets each request carried.
func sentSecrets(s *origintest.Server) []int {
	var out []int
	for _, r := range s.Requests() {
		n := 0
		for _, name := range []string{"Authorization", "Cookie", "X-Api-Key"} {
			if r.Header.Get(name) != "" {
				n++
			}
		}
		out = append(out, n)
	}
	return out
}

// Threat: credentials leaking on a redirect.
func TestCredentialsStayWithTheirOrigin(t *testing.T) {
	file := origintest.File{Size: 10}
	other := origintest.New(t, file)
	s := origintest.New(t, origintest.Hops("/same", 2, "/file.bin")...)
	s.Add(file, origintest.File{Path: "/away", Redirect: other.URL("")}, origintest.File{Path: "/round", Redirect: other.URL("/back")})
	other.Add(origintest.File{Path: "/back", Redirect: s.URL("")})
	fetch := func(path string) {
		t.Helper()
		if _, err := fetcher(t).Fetch(t.Context(), secretRequest(s.URL(path)), nil, sink(t)); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ path, here, there string }{
		{"/same", "3 3 3", ""},
		{"/away", "3", "0"},
		{"/round", "3 0", "0"},
	}
	for _, tc := range tests {
		before, beforeOther := s.Count(), other.Count()
		fetch(tc.path)
		if got := join(sentSecrets(s)[before:]); got != tc.here {
			t.Errorf("%s: secrets sent to the origin: %s, want %s", tc.path, got, tc.here)
		}
		if got := join(sentSecrets(other)[beforeOther:]); got != tc.there {
			t.Errorf("%s: secrets sent to another: %s, want %s", tc.path, got, tc.there)
		}
	}
	for _, r := range other.Requests() {
		if r.Header.Get("Referer") != "" || r.Header.Get("User-Agent") != "mine/1" {
			t.Errorf("to another origin: %v", r.Header)
		}
	}
}

func join(n []int) string {
	var s []string
	for _, i := range n {
		s = append(s, string(rune('0'+i)))
	}
	return strings.Join(s, " ")
}

func TestHTTPToHTTPSIsAnotherOrigin(t *testing.T) {
	tls := origintest.NewTLS(t, origintest.File{Size: 10})
	s := origintest.New(t, origintest.File{Path: "/a", Redirect: tls.URL("")})
	f := fetcher(t, func(c *Config) { c.RootCAs = tls.Roots() })
	if _, err := f.Fetch(t.Context(), secretRequest(s.URL("/a")), nil, sink(t)); err != nil {
		t.Fatal(err)
	}
	if got := join(sentSecrets(tls)); got != "0" {
		t.Errorf("secrets sent: %s", got)
	}
}

func TestLogins(t *testing.T) {
	file := origintest.File{Size: 10, User: "ann", Password: "p:w"}
	s := origintest.New(t, file, origintest.File{Path: "/cookie", Size: 10, Cookie: "a=b"})
	_, port, _ := strings.Cut(s.Addr(), ":")
	for name, req := range map[string]job.Request{
		"fields":   {URL: s.URL(""), Username: "ann", Password: "p:w"},
		"userinfo": {URL: "http://ann:p%3Aw@127.0.0.1:" + port + "/file.bin"},
		"header":   {URL: s.URL(""), Header: []job.Field{{Name: "Authorization", Value: "Basic YW5uOnA6dw=="}}},
		"cookie":   {URL: s.URL("/cookie"), Header: []job.Field{{Name: "Cookie", Value: "a=b"}}},
	} {
		m := sink(t)
		if _, err := fetcher(t).Fetch(t.Context(), &req, nil, m); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(m.metas[0].FinalURL, "ann") {
			t.Errorf("%s: FinalURL %s", name, m.metas[0].FinalURL)
		}
	}
}

func TestCookiesOfTheOriginAreKept(t *testing.T) {
	s := origintest.New(t, origintest.File{Path: "/gate", Redirect: "/file.bin", Header: map[string][]string{"Set-Cookie": {"seen=yes"}}},
		origintest.File{Size: 10, Cookie: "seen=yes"})
	if _, err := get(t, fetcher(t), sink(t), s.URL("/gate")); err != nil {
		t.Fatal(err)
	}
}

func TestHeadersThatTheFetchOwns(t *testing.T) {
	file := origintest.File{Size: 10, Gzip: true}
	s := origintest.New(t, file)
	m := sink(t)
	req := &job.Request{URL: s.URL(""), Header: []job.Field{{Name: "accept-encoding", Value: "gzip"}, {Name: "Range", Value: "bytes=3-4"}, {Name: "If-None-Match", Value: "*"}}}
	res, err := fetcher(t).Fetch(t.Context(), req, nil, m)
	check(t, res, err, m, file)
	_, err = fetcher(t).Fetch(t.Context(), &job.Request{URL: s.URL(""), Header: []job.Field{{Name: "host", Value: "x"}}}, nil, m)
	wantCode(t, err, job.CodeBadRequest)
}

// faults.md: redirect loop.
func TestRedirectLimits(t *testing.T) {
	file := origintest.File{Size: 10}
	s := origintest.New(t, append(origintest.Hops("/ten", 10, "/file.bin"), origintest.Hops("/eleven", 11, "/file.bin")...)...)
	s.Add(file, origintest.File{Path: "/loop", Redirect: "/loop"}, origintest.File{Path: "/nowhere", Faults: faults(origintest.Status(302))})
	mustGet(t, fetcher(t), s.URL("/ten"), file)
	for _, path := range []string{"/eleven", "/loop", "/nowhere"} {
		before := s.Count()
		_, err := get(t, fetcher(t), sink(t), s.URL(path))
		wantCode(t, err, job.CodeOriginProto)
		if n := s.Count() - before; n > 11 {
			t.Errorf("%s: %d requests", path, n)
		}
	}
}

func TestErrorsTellNoSecrets(t *testing.T) {
	s := origintest.New(t, origintest.File{Path: "/404", Faults: faults(origintest.Status(404))},
		origintest.File{Path: "/loop", Redirect: "/loop?sig=s3cret"})
	gone := origintest.New(t)
	gone.Close()
	for _, url := range []string{s.URL("/404"), s.URL("/loop"), gone.URL("/x"), "http://nowhere.invalid/"} {
		_, err := fetcher(t).Fetch(t.Context(), secretRequest(url+"?sig=s3cret"), nil, sink(t))
		var e *job.Error
		if !errors.As(err, &e) || strings.Contains(e.Message+e.Hint, "s3cret") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestMirrors(t *testing.T) {
	file := origintest.File{Size: mib, Seed: 5, ETag: `"v1"`}
	bad := origintest.New(t)
	cut := origintest.New(t, origintest.File{Size: mib, Seed: 9, Faults: faults(origintest.Close(1000))})
	good := origintest.New(t, file)
	m := sink(t)
	req := secretRequest(bad.URL(""))
	req.Mirrors = []string{cut.URL(""), good.URL("")}
	res, err := fetcher(t).Fetch(t.Context(), req, nil, m)
	check(t, res, err, m, file)
	if got := join(sentSecrets(good)); got != "0" {
		t.Errorf("secrets sent to a mirror: %s", got)
	}
	_, err = fetcher(t).Fetch(t.Context(), &job.Request{URL: bad.URL(""), Mirrors: []string{cut.URL("")}}, nil, sink(t))
	if e := wantCode(t, err, job.CodeOriginStatus); e.Status != 404 {
		t.Errorf("want the error of the URL itself, got %v", e)
	}
}
