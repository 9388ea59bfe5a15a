package job

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
)

// Field is one header line for the origin.
type Field struct{ Name, Value string }

// Request is what a user asks the relay to bring.
type Request struct {
	URL      string   // http or https; may carry user:password@
	Mirrors  []string // other places of the same bytes, tried in order
	Header   []Field  // for the origin; never logged, not kept longer than the fetch
	Username string   // HTTP basic auth for the origin
	Password string
	Retain   int64 // seconds to keep the object; 0: the relay's default
	Fresh    bool  // fetch again even if the relay has it
}

// Parse checks the request and returns its URL. The error has CodeBadURL or
// CodeBadRequest.
func (r *Request) Parse() (*url.URL, error) {
	for _, m := range r.Mirrors {
		if _, err := parseURL(m); err != nil {
			return nil, err
		}
	}
	for _, f := range r.Header {
		if !validField(f) {
			return nil, Errorf(CodeBadRequest, "the header %q is not a valid HTTP header", f.Name).
				WithHint("write it as 'Name: value' on one line")
		}
	}
	return parseURL(r.URL)
}

func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, Errorf(CodeBadURL, "this is not a URL: %q", s).WithHint("write it as https://host/path")
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, Errorf(CodeBadURL, "JumpGet can't fetch %q URLs", u.Scheme).WithHint("use an http:// or https:// URL")
	}
	if u.Hostname() == "" {
		return nil, Errorf(CodeBadURL, "the URL %q names no host", s).WithHint("write it as https://host/path")
	}
	return u, nil
}

func validField(f Field) bool {
	return f.Name != "" && !strings.ContainsAny(f.Name, " \t\r\n:") && !strings.ContainsAny(f.Value, "\r\n\x00")
}

// Private reports whether the request carries somebody's credentials or
// anything else that may change what the origin answers. What it brings is its
// owner's alone.
func (r *Request) Private() bool {
	u, err := url.Parse(r.URL)
	return len(r.Header) > 0 || r.Username != "" || r.Password != "" || (err == nil && u.User != nil)
}

// Key tells which requests may share one object: those with equal keys. A
// private request's key covers its owner and every header, so it is never
// shared across users. The key is a hash and gives nothing away.
func (r *Request) Key(owner string) string {
	h := sha256.New()
	part := func(s string) {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	part(r.URL)
	if r.Private() {
		part(owner)
		part(r.Username)
		part(r.Password)
		fields := slices.Clone(r.Header)
		slices.SortStableFunc(fields, func(a, b Field) int {
			return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
		})
		for _, f := range fields {
			part(strings.ToLower(f.Name))
			part(f.Value)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// StripUser returns the URL without its user and password. Its query is kept,
// so it still names the file; show it to the job's owner alone.
func StripUser(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "(unreadable URL)"
	}
	u.User = nil
	return u.String()
}

// LogURL returns the URL in a form that is fit for a log: without user,
// password, fragment and the query, which so often holds a signature.
func LogURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "(unreadable URL)"
	}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	if u.RawQuery != "" {
		u.RawQuery = "..."
	}
	return u.String()
}
