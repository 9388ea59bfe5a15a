package origin

import (
	"context"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"

	"github.com/jumpget/jumpget/internal/job"
)

// maxRedirects is how many redirects one request may follow.
const maxRedirects = 10

// target is one URL to fetch from, with what is sent along.
type target struct {
	url    *url.URL // without user and password
	name   string   // the URL for people: without credentials and query
	header http.Header
	client *http.Client // has the target's own cookies
}

// negotiated are the headers that the fetch sets by itself, or that belong to
// one connection. They are left out when a user gives them, as happens when a
// command is copied from a browser.
var negotiated = []string{
	"Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since",
	"Accept-Encoding", "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Content-Length", "Expect",
}

// harmless are the user's headers that tell nothing about the user and that
// go along to another host.
var harmless = []string{"User-Agent", "Accept", "Accept-Language"}

// targets returns the request's URL and then its mirrors.
func (f *Fetcher) targets(req *job.Request) ([]*target, error) {
	main, err := req.Parse()
	if err != nil {
		return nil, err
	}
	user := http.Header{}
	for _, field := range req.Header {
		name := http.CanonicalHeaderKey(field.Name)
		if name == "Host" {
			return nil, job.Errorf(job.CodeBadRequest, "the Host header can't be set").WithHint("put the host into the URL")
		}
		if !slices.Contains(negotiated, name) {
			user.Add(name, field.Value)
		}
	}
	if req.Username != "" || req.Password != "" {
		user.Set("Authorization", basic(url.UserPassword(req.Username, req.Password)))
	}
	targets := []*target{f.target(main, user)}
	for _, m := range req.Mirrors {
		u, err := url.Parse(m)
		if err != nil {
			return nil, job.Errorf(job.CodeBadURL, "this is not a URL: %q", m).WithHint("write it as https://host/path")
		}
		header := user
		if !sameOrigin(u, main) {
			header = only(user, harmless)
		}
		targets = append(targets, f.target(u, header))
	}
	return targets, nil
}

func (f *Fetcher) target(u *url.URL, user http.Header) *target {
	clean := *u
	clean.User, clean.Fragment, clean.RawFragment = nil, "", ""
	t := &target{url: &clean, name: job.LogURL(u.String()), header: user.Clone()}
	if u.User != nil && t.header.Get("Authorization") == "" {
		t.header.Set("Authorization", basic(u.User))
	}
	// Without options New can't fail, and a nil jar would do no harm.
	jar, _ := cookiejar.New(nil)
	t.client = &http.Client{Transport: f.routes, Jar: jar, CheckRedirect: t.redirect}
	return t
}

func basic(u *url.Userinfo) string {
	password, _ := u.Password()
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(u.Username(), password)
	return r.Header.Get("Authorization")
}

func only(h http.Header, names []string) http.Header {
	out := http.Header{}
	for _, n := range names {
		if v := h.Values(n); len(v) > 0 {
			out[n] = v
		}
	}
	return out
}

// redirect rules on the next hop. What the user gave for one origin goes to no
// other one, and once dropped stays dropped, even if the way leads back.
func (t *target) redirect(next *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return job.Errorf(job.CodeOriginProto, "the origin redirects more than %d times", maxRedirects).
			WithHint("it may want a cookie or a login: give it with --header")
	}
	if next.URL.Scheme != "http" && next.URL.Scheme != "https" {
		return job.Errorf(job.CodeOriginDenied, "the origin redirects to a %q URL", next.URL.Scheme).
			WithHint("only http and https are followed; check the URL")
	}
	next.URL.User = nil
	// Go adds the URL before as Referer, and its query may hold a signature.
	next.Header.Del("Referer")
	if v := t.header.Values("Referer"); len(v) > 0 {
		next.Header["Referer"] = v
	}
	left := func(r *http.Request) bool { return !sameOrigin(r.URL, t.url) }
	if left(next) || slices.ContainsFunc(via, left) {
		for name := range t.header {
			if !slices.Contains(harmless, name) {
				next.Header.Del(name)
			}
		}
	}
	return nil
}

// sameOrigin reports whether scheme, host and port are the same.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// request makes a GET with the user's headers and ours.
func (t *target) request(ctx context.Context, agent string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url.String(), nil)
	if err != nil {
		return nil, err
	}
	for name, values := range t.header {
		req.Header[name] = slices.Clone(values)
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", agent)
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "*/*")
	}
	req.Header.Set("Accept-Encoding", "identity")
	return req, nil
}
