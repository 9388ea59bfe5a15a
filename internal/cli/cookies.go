package cli

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"
)

// loadCookies reads a Netscape cookie file, the form that browsers' exporters,
// wget and curl write, into a jar. The jar decides which cookie goes to which
// URL.
func loadCookies(name string) (http.CookieJar, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening the cookie file: %w", err)
	}
	defer func() { _ = f.Close() }()
	return parseCookies(f)
}

func parseCookies(r io.Reader) (http.CookieJar, error) {
	jar, err := cookiejar.New(&cookiejar.Options{PublicSuffixList: publicsuffix.List})
	if err != nil {
		return nil, err
	}
	sc := bufio.NewScanner(r)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimRight(sc.Text(), "\r")
		// curl and browsers mark a cookie that scripts can't see this way;
		// it is no comment.
		line = strings.TrimPrefix(line, "#HttpOnly_")
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		from, cookie, err := parseCookie(line)
		if err != nil {
			return nil, usagef("line %d of the cookie file: %w", n, err).
				withHint("it has to be in Netscape's format: seven fields separated by TAB")
		}
		jar.SetCookies(from, []*http.Cookie{cookie})
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("reading the cookie file: %w", err)
	}
	return jar, nil
}

// parseCookie reads one line: domain, whether subdomains get it too, path,
// https only, expiry in Unix seconds (0: the session's), name, value. It also
// returns a URL whose server could have set the cookie.
func parseCookie(line string) (*url.URL, *http.Cookie, error) {
	f := strings.Split(line, "\t")
	if len(f) != 7 {
		return nil, nil, fmt.Errorf("%d fields instead of 7", len(f))
	}
	expires, err := strconv.ParseInt(f[4], 10, 64)
	if err != nil {
		return nil, nil, fmt.Errorf("its expiry is no number")
	}
	host := strings.TrimPrefix(f[0], ".")
	if host == "" || f[5] == "" {
		return nil, nil, fmt.Errorf("the domain or the name is empty")
	}
	c := &http.Cookie{ //nolint:gosec // one read from a file, as it is; it is never set
		Name: f[5], Value: f[6], Path: f[2], Secure: strings.EqualFold(f[3], "TRUE"),
	}
	if strings.EqualFold(f[1], "TRUE") {
		c.Domain = host
	}
	if expires > 0 {
		c.Expires = time.Unix(expires, 0)
	}
	return &url.URL{Scheme: "https", Host: host, Path: "/"}, c, nil
}

// cookieHeader returns the Cookie header's value for u, or "".
func cookieHeader(jar http.CookieJar, u *url.URL) string {
	if jar == nil {
		return ""
	}
	var parts []string
	for _, c := range jar.Cookies(u) {
		parts = append(parts, c.Name+"="+c.Value)
	}
	return strings.Join(parts, "; ")
}
