package cli

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/partial"
)

// order is one file that the command line or a list asks for.
type order struct {
	req       job.Request
	job       job.ID // of a job that stands on the relay already
	files     int    // of that job, if it is a bundle
	dir       string
	output    string // "": the relay's name for it, "-": standard output
	checksums map[string]string
}

// orders collects what is asked for: the URLs in order, then the lists'.
func (a *app) orders(ctx context.Context, urls []string, f *downloadFlags) ([]order, error) {
	entries := make([]listEntry, 0, len(urls))
	for _, u := range urls {
		entries = append(entries, listEntry{URLs: []string{u}})
	}
	for _, name := range f.lists {
		more, err := a.readList(name)
		if err != nil {
			return nil, err
		}
		entries = append(entries, more...)
	}
	entries, twice := dropTwins(entries, len(urls), f.output.name)
	if twice > 0 {
		a.say("jumpget: what stands in the list more than once is fetched once; entries left out: %d", twice)
	}
	if f.output.name != "" && f.output.name != "-" && len(entries) > 1 {
		return nil, usagef("-o names one file, and there are %d URLs", len(entries)).
			withHint("use -d DIR for a folder, or out= in a list for each file's name")
	}
	build, err := a.newOrderBuilder(ctx, f)
	if err != nil {
		return nil, err
	}
	out := make([]order, 0, len(entries))
	for _, e := range entries {
		o, err := build.order(e)
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

// dropTwins leaves out the entries of a list that are the same as an earlier one in
// everything, and returns how many there were. The first entries are no list's;
// what goes to standard output goes there as often as it is asked for.
func dropTwins(entries []listEntry, first int, output string) (left []listEntry, twice int) {
	seen := map[string]bool{}
	for i, e := range entries {
		twin := e
		twin.Line = 0
		key := fmt.Sprintf("%#v", twin)
		if i >= first && seen[key] && e.Out != "-" && output != "-" {
			twice++
			continue
		}
		seen[key] = true
		left = append(left, e)
	}
	return left, twice
}

func (a *app) readList(name string) ([]listEntry, error) {
	if name == "-" {
		return parseList(a.proc.In)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, usagef("the list can't be read: %w", err).withHint("name a file with one URL a line, or - for standard input")
	}
	defer func() { _ = f.Close() }()
	return parseList(f)
}

// orderBuilder holds what all orders of a run share.
type orderBuilder struct {
	app      *app
	flags    *downloadFlags
	dir      string
	header   []job.Field
	jars     []http.CookieJar
	password string
	netrc    string            // path; "": not asked for
	sums     map[string]string // of --checksum
}

func (a *app) newOrderBuilder(ctx context.Context, f *downloadFlags) (*orderBuilder, error) {
	b := &orderBuilder{app: a, flags: f, dir: a.cfg.Client.Dir}
	if f.output.dir != "" {
		b.dir = f.output.dir
	}
	if f.output.noClobber && f.output.force {
		return nil, usagef("--no-clobber and --force contradict each other").withHint("give one of them")
	}
	var err error
	if b.sums, err = parseChecksums(f.output.checksums); err != nil {
		return nil, err
	}
	return b, b.origin(ctx, f.origin)
}

// origin prepares headers, cookies and login.
func (b *orderBuilder) origin(ctx context.Context, o originFlags) error {
	var err error
	if b.header, err = parseHeaders(o.headers); err != nil {
		return err
	}
	if ua := b.app.cfg.Client.UserAgent; ua != "" {
		b.header = append(b.header, job.Field{Name: "User-Agent", Value: ua})
	}
	if o.referer != "" {
		b.header = append(b.header, job.Field{Name: "Referer", Value: o.referer})
	}
	if err := b.cookies(o); err != nil {
		return err
	}
	if o.netrc {
		if b.netrc, err = netrcPath(os.Getenv); err != nil {
			return err
		}
	}
	b.password = o.password
	switch {
	case o.passwordFile != "":
		b.password, err = passwordFrom(o.passwordFile)
	case o.user != "" && o.password == "":
		b.password, err = askPassword(ctx, "Password of "+o.user+" at the origin")
	}
	return err
}

// cookies takes -b's pairs as a header and -b's and --load-cookies' files as
// jars.
func (b *orderBuilder) cookies(o originFlags) error {
	files := []string{}
	if o.cookieFile != "" {
		files = append(files, o.cookieFile)
	}
	var pairs []string
	for _, c := range o.cookies {
		if strings.Contains(c, "=") {
			pairs = append(pairs, strings.Trim(c, "; "))
		} else {
			files = append(files, c)
		}
	}
	if len(pairs) > 0 {
		b.header = append(b.header, job.Field{Name: "Cookie", Value: strings.Join(pairs, "; ")})
	}
	for _, name := range files {
		jar, err := loadCookies(name)
		if err != nil {
			return err
		}
		b.jars = append(b.jars, jar)
	}
	return nil
}

// order makes an order of one entry and checks all of it that needs no network.
func (b *orderBuilder) order(e listEntry) (order, error) {
	for i, raw := range e.URLs {
		e.URLs[i] = b.app.withScheme(raw)
	}
	o := order{dir: b.dir, output: b.flags.output.name, checksums: b.sums}
	if e.Dir != "" {
		o.dir = e.Dir
	}
	if e.Out != "" {
		o.output = e.Out
	}
	o.output = outputName(o.output)
	if e.Checksum != "" {
		var err error
		if o.checksums, err = parseChecksums([]string{e.Checksum}); err != nil {
			return o, err
		}
	}
	own, err := parseHeaders(e.Header)
	if err != nil {
		return o, err
	}
	o.req = job.Request{URL: e.URLs[0], Mirrors: e.URLs[1:]}
	o.req.Header = append(o.req.Header, b.header...)
	o.req.Header = append(o.req.Header, own...)
	u, err := o.req.Parse()
	if err != nil {
		return o, err
	}
	return o, b.login(&o.req, u)
}

// login adds what belongs to the URL's host alone.
func (b *orderBuilder) login(req *job.Request, u *url.URL) error {
	for _, jar := range b.jars {
		if v := cookieHeader(jar, u); v != "" {
			req.Header = append(req.Header, job.Field{Name: "Cookie", Value: v})
		}
	}
	req.Username, req.Password = b.flags.origin.user, b.password
	if b.netrc == "" || req.Username != "" || u.User != nil {
		return nil
	}
	l, ok, err := readNetrc(b.netrc, u.Hostname())
	if ok {
		req.Username, req.Password = l.User, l.Password
	}
	return err
}

// withScheme completes a word like host/path, as browsers do, and says so.
func (a *app) withScheme(s string) string {
	if strings.Contains(s, "://") || !looksLikeURL(s) {
		return s
	}
	a.say("jumpget: taking %s for https://%s", s, s)
	return "https://" + s
}

// parseHeaders reads 'Name: value' lines. job.Request checks the rest.
func parseHeaders(lines []string) ([]job.Field, error) {
	var fields []job.Field
	for _, l := range lines {
		name, value, ok := strings.Cut(l, ":")
		if !ok {
			// The line may hold a secret, so it is not repeated.
			return nil, usagef("a header has no colon").withHint("write it as -H 'Name: value'")
		}
		fields = append(fields, job.Field{Name: strings.TrimSpace(name), Value: strings.TrimSpace(value)})
	}
	return fields, nil
}

var digestSize = map[string]int{"sha256": 32, "sha512": 64, "sha1": 20, "md5": 16}

// parseChecksums reads TYPE=HEX words; sha-256 is sha256, as in aria2.
func parseChecksums(words []string) (map[string]string, error) {
	if len(words) == 0 {
		return nil, nil
	}
	sums := make(map[string]string, len(words))
	for _, w := range words {
		kind, digest, _ := strings.Cut(w, "=")
		kind = strings.ReplaceAll(strings.ToLower(strings.TrimSpace(kind)), "-", "")
		digest = strings.ToLower(strings.TrimSpace(digest))
		raw, err := hex.DecodeString(digest)
		if size, ok := digestSize[kind]; !ok || err != nil || len(raw) != size {
			return nil, usagef("%q is not a checksum", w).
				withHint("write TYPE=HEX with sha256 (64 digits), sha512 (128), sha1 (40) or md5 (32)")
		}
		sums[kind] = digest
	}
	return sums, nil
}

// policy says what to do when a file exists.
func (o outputFlags) policy() partial.OnExists {
	switch {
	case o.force:
		return partial.Overwrite
	case o.noClobber:
		return partial.Fail
	}
	return partial.Rename
}

// target is where an order's file goes: "" if the relay names it, "-" for
// standard output.
func (o order) target() string {
	if o.output == "" || o.output == "-" || filepath.IsAbs(o.output) {
		return o.output
	}
	return filepath.Join(o.dir, o.output)
}
