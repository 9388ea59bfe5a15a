package job

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
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

	// Files makes it a bundle: many small files as one object. Then there are no
	// Mirrors, and URL is no more than its title, see Titled.
	Files []File
}

// File is one file of a bundle.
type File struct {
	URL     string
	Mirrors []string
}

// Parse checks the request and returns its URL. The error has CodeBadURL or
// CodeBadRequest.
func (r *Request) Parse() (*url.URL, error) {
	for i := range r.Files {
		one := r.One(i)
		if _, err := one.Parse(); err != nil {
			return nil, err
		}
	}
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
	const hint = "write it as https://host/path"
	u, err := url.Parse(s)
	if err != nil {
		return nil, Errorf(CodeBadURL, "this is not a URL: %s", quoteURL(s)).WithHint(hint)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, Errorf(CodeBadURL, "JumpGet can't fetch %q URLs", u.Scheme).WithHint("use an http:// or https:// URL")
	}
	if u.Hostname() == "" {
		return nil, Errorf(CodeBadURL, "the URL %s names no host", quoteURL(s)).WithHint(hint)
	}
	return u, nil
}

// quoteURL quotes what is no proper URL for an error message, which may end in
// a log: what may hold a password is not told.
func quoteURL(s string) string {
	if strings.Contains(s, "@") {
		return "(not shown, since it may hold a password)"
	}
	return strconv.Quote(s)
}

func validField(f Field) bool {
	return httpguts.ValidHeaderFieldName(f.Name) && httpguts.ValidHeaderFieldValue(f.Value)
}

// One returns the request for one file of a bundle alone.
func (r *Request) One(i int) Request {
	one := *r
	one.URL, one.Mirrors, one.Files = r.Files[i].URL, r.Files[i].Mirrors, nil
	return one
}

// Titled returns a bundle's request with a URL that tells people, in lists and
// logs, which bundle it is: the first file's, without user and password, and how
// many others there are. Other requests come back as they are.
func (r Request) Titled() Request {
	if len(r.Files) == 0 {
		return r
	}
	if u, err := url.Parse(StripUser(r.Files[0].URL)); err == nil {
		u.Fragment, u.RawFragment = fmt.Sprintf("and-%d-more", len(r.Files)-1), ""
		r.URL = u.String()
	}
	return r
}

// Private reports whether the request carries somebody's credentials or
// anything else that may change what the origin answers. What it brings is its
// owner's alone.
func (r *Request) Private() bool {
	return len(r.Header) > 0 || r.Username != "" || r.Password != "" || hasUser(r.URL) || slices.ContainsFunc(r.Mirrors, hasUser) ||
		slices.ContainsFunc(r.Files, func(f File) bool { return hasUser(f.URL) || slices.ContainsFunc(f.Mirrors, hasUser) })
}

func hasUser(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.User != nil
}

// Key tells which requests may share one object: those with equal keys. It
// covers the mirrors, or else one user could put a mirror of their own in
// another's way; a private request's key also covers its owner and every header,
// so it is never shared across users, and no more is a bundle. The key is a hash
// and gives nothing away but how many files a bundle has, see FilesOf.
func (r *Request) Key(owner string) string {
	h := sha256.New()
	part := func(parts ...string) {
		for _, s := range parts {
			_, _ = fmt.Fprintf(h, "%d:%s,", len(s), s) // a hash never fails
		}
	}
	if len(r.Files) == 0 {
		part(r.URL)
		part(r.Mirrors...)
	}
	for _, f := range r.Files {
		part("file", f.URL)
		part(f.Mirrors...)
	}
	if r.Private() || len(r.Files) > 0 {
		part("private", owner, r.Username, r.Password)
		fields := slices.Clone(r.Header)
		slices.SortStableFunc(fields, func(a, b Field) int {
			return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
		})
		for _, f := range fields {
			part(strings.ToLower(f.Name), f.Value)
		}
	}
	key := hex.EncodeToString(h.Sum(nil))
	if len(r.Files) > 0 {
		key = bundleKey + strconv.Itoa(len(r.Files)) + ":" + key
	}
	return key
}

// bundleKey begins the keys of bundles; the number of files and the hash follow.
const bundleKey = "bundle:"

// FilesOf returns how many files the bundle with a key has; 0 if the key is that
// of a single file.
func FilesOf(key string) int {
	rest, ok := strings.CutPrefix(key, bundleKey)
	number, _, _ := strings.Cut(rest, ":")
	if n, err := strconv.Atoi(number); ok && err == nil && n > 0 {
		return n
	}
	return 0
}

// StripUser returns the URL without its user and password. Its query is kept,
// so it still names the file; show it to the job's owner alone.
func StripUser(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" { // an opaque one may hold a password anywhere
		return "(unreadable URL)"
	}
	u.User = nil
	return u.String()
}

// LogURL returns the URL in a form that is fit for a log: without user,
// password, fragment and the query, which so often holds a signature.
func LogURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" { // an opaque one may hold a password anywhere
		return "(unreadable URL)"
	}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	if u.RawQuery != "" {
		u.RawQuery = "..."
	}
	return u.String()
}
