package config

import (
	"errors"
	"net"
	"strconv"
	"strings"
)

// Destination is a relay as ssh reaches it.
type Destination struct {
	User string // empty: ssh decides
	Host string // name, address, or alias of ssh's config; empty: no relay is set
	Port int    // 0: ssh decides
}

// ParseDestination reads [user@]host[:port]. An IPv6 address stands in brackets
// if a port follows; without one the brackets may be left out. Nothing that ssh
// could take for an option passes.
func ParseDestination(s string) (Destination, error) {
	var d Destination
	rest := s
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		d.User, rest = s[:i], s[i+1:]
		if err := checkUser(d.User); err != nil {
			return Destination{}, err
		}
	}
	host, p, err := splitPort(rest)
	if err != nil {
		return Destination{}, err
	}
	if p != "" {
		if d.Port, err = sshPort(p); err != nil {
			return Destination{}, err
		}
	}
	d.Host = host
	return d, checkHost(host)
}

// splitPort cuts host from port; port is "" if there is none.
func splitPort(s string) (host, port string, err error) {
	switch {
	case strings.HasPrefix(s, "["):
		if inner, ok := strings.CutSuffix(s[1:], "]"); ok {
			return inner, "", nil
		}
		host, port, err = net.SplitHostPort(s)
	case strings.Count(s, ":") == 1:
		host, port, err = net.SplitHostPort(s)
	default: // no port, or an IPv6 address without brackets
		return s, "", nil
	}
	if err != nil || port == "" {
		return "", "", errors.New("is not of the form [user@]host[:port]")
	}
	return host, port, nil
}

func sshPort(s string) (int, error) {
	n, err := port(s)
	if err != nil || n == 0 {
		return 0, errors.New("has no port from 1 to 65535")
	}
	return n, nil
}

func checkHost(s string) error {
	if s == "" {
		return errors.New("names no host")
	}
	if strings.HasPrefix(s, "-") || strings.ContainsFunc(s, notInHost) {
		return errors.New("has characters that no host name has")
	}
	return nil
}

// notInHost rejects what a shell or ssh could read as more than a name.
func notInHost(r rune) bool {
	return r <= ' ' || r == 0x7f || strings.ContainsRune("\"'`$&|;<>()[]{}*?!\\/@#", r)
}

func checkUser(s string) error {
	if s == "" {
		return errors.New("names no user before the @")
	}
	if strings.HasPrefix(s, "-") || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || strings.ContainsRune("\"'`$&|;<>()", r) }) {
		return errors.New("has characters that no user name has")
	}
	return nil
}

// String returns the destination in the form ParseDestination reads.
func (d Destination) String() string {
	s := d.Host
	switch {
	case d.Port != 0:
		s = net.JoinHostPort(d.Host, strconv.Itoa(d.Port))
	case strings.Contains(d.Host, ":"):
		s = "[" + d.Host + "]"
	}
	if d.User != "" {
		s = d.User + "@" + s
	}
	return s
}
