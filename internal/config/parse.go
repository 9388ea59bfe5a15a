package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Short names keep the table of settings readable.
type (
	duration = time.Duration
	addr     = netip.Addr
	prefixes = []netip.Prefix
)

// setter checks a setting's text and stores its value. The text is never empty
// and has exactly one element unless the setting is a list.
type setter func(c *Config, text []string) error

// into stores what parse makes of the text where the field says.
func into[T any](parse func(string) (T, error), field func(*Config) *T) setter {
	return func(c *Config, text []string) error {
		v, err := parse(text[0])
		if err != nil {
			return err
		}
		*field(c) = v
		return nil
	}
}

// intoList is into for several values.
func intoList[T any](parse func(string) (T, error), field func(*Config) *[]T) setter {
	return func(c *Config, text []string) error {
		var all []T
		for _, t := range text {
			v, err := parse(t)
			if err != nil {
				return err
			}
			all = append(all, v)
		}
		*field(c) = all
		return nil
	}
}

// intoNetworks is into for networks; the word all stands for every address.
func intoNetworks(field func(*Config) *prefixes) setter {
	return func(c *Config, text []string) error {
		if slices.Equal(text, []string{"all"}) {
			*field(c) = prefixes{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
			return nil
		}
		return intoList(network, field)(c, text)
	}
}

func anyText(s string) (string, error) { return s, nil }

// pathText leaves paths alone; "~/" has been replaced before, see expand.
func pathText(s string) (string, error) {
	if strings.ContainsRune(s, 0) {
		return "", errors.New("is no path: it has a NUL character")
	}
	return s, nil
}

// headerText may stand in a header line.
func headerText(s string) (string, error) {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", errors.New("has control characters")
	}
	return s, nil
}

func boolText(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	}
	return false, errors.New("is neither true nor false")
}

func notText(s string) (bool, error) {
	v, err := boolText(s)
	return !v, err
}

// oneOf accepts the given words.
func oneOf(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !slices.Contains(words, s) {
			return "", errors.New("is none of " + strings.Join(words, ", "))
		}
		return s, nil
	}
}

func atLeastOne(most int) func(string) (int, error) {
	return func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > most {
			return 0, fmt.Errorf("is no number from 1 to %d", most)
		}
		return n, nil
	}
}

// count accepts a number, or a word that means the same as 0.
func count(zero string, most int) func(string) (int, error) {
	return func(s string) (int, error) {
		if s == zero {
			return 0, nil
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n > most {
			return 0, fmt.Errorf("is neither %s nor a number up to %d", zero, most)
		}
		return n, nil
	}
}

// port accepts 0 to 65535, and off for 0.
func port(s string) (int, error) {
	if s == "off" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, errors.New("is no port number (0 to 65535)")
	}
	return int(n), nil
}

func address(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		return a, errors.New("is no IP address")
	}
	return a.Unmap(), nil
}

// network accepts a CIDR, or one address.
func network(s string) (netip.Prefix, error) {
	if a, err := address(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, errors.New("is no network such as 10.0.0.0/8")
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

func hostPort(s string) (string, error) {
	_, p, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(p, 10, 16)
	}
	if err != nil {
		return "", errors.New("is no address such as :2222 or 192.0.2.1:2222")
	}
	return s, nil
}

// publicURL accepts the start of an http or https URL and drops a slash at its end.
func publicURL(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return "", errors.New("is no URL such as https://relay.example or http://relay.example:3100")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", errors.New("must have no user, query or fragment")
	}
	if p := u.Port(); p != "" {
		if n, err := port(p); err != nil || n == 0 {
			return "", errors.New("has no valid port")
		}
	}
	return strings.TrimRight(s, "/"), nil
}

// secondsText is a time whose bare number is seconds.
func secondsText(s string) (time.Duration, error) { return timeText(s, time.Second) }

// hoursText is a time whose bare number is hours, as in the original.
func hoursText(s string) (time.Duration, error) { return timeText(s, time.Hour) }

// The bounds of a session's life. After the longest ssh has to let its holder in
// once more.
const (
	defaultSession  = 12 * time.Hour
	shortestSession = time.Minute
	longestSession  = 7 * 24 * time.Hour
)

// sessionText is how long a session lasts; negative for off.
func sessionText(s string) (time.Duration, error) {
	switch s {
	case "on":
		return defaultSession, nil
	case "off":
		return -1, nil
	}
	d, err := hoursText(s)
	if err == nil && (d < shortestSession || d > longestSession) {
		err = errors.New("is neither on, off nor a time from 1m to 7d")
	}
	return d, err
}

// longestTime keeps sums of times far from the end of time.Duration.
const longestTime = 10 * 365 * 24 * time.Hour

func timeText(s string, unit time.Duration) (time.Duration, error) {
	var d float64
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		d = n * float64(unit)
	} else if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil {
			return 0, errNoTime
		}
		d = n * float64(24*time.Hour)
	} else {
		t, err := time.ParseDuration(s)
		if err != nil {
			return 0, errNoTime
		}
		d = float64(t)
	}
	if math.IsNaN(d) || d < 1 || d > float64(longestTime) {
		return 0, errors.New("is no time between 0 and ten years")
	}
	return time.Duration(d), nil
}

var errNoTime = errors.New("is no time such as 90s, 30m, 12h or 2d")

// units are powers of 1024, as curl and wget have them; only the spelling with
// a B and no i is decimal.
var units = map[string]float64{
	"": 1, "b": 1,
	"k": 1 << 10, "ki": 1 << 10, "kib": 1 << 10, "kb": 1e3,
	"m": 1 << 20, "mi": 1 << 20, "mib": 1 << 20, "mb": 1e6,
	"g": 1 << 30, "gi": 1 << 30, "gib": 1 << 30, "gb": 1e9,
	"t": 1 << 40, "ti": 1 << 40, "tib": 1 << 40, "tb": 1e12,
}

// size accepts bytes such as 20G, 1.5TiB, or none and off for 0.
func size(s string) (int64, error) {
	if s == "none" || s == "off" {
		return 0, nil
	}
	digits := strings.TrimRightFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	n, err := strconv.ParseFloat(digits, 64)
	unit, ok := units[strings.ToLower(strings.TrimSpace(s[len(digits):]))]
	if err != nil || !ok || math.IsNaN(n) || n < 0 || n*unit > 1<<60 {
		return 0, errors.New("is no size such as 500M, 20G or 1.5T")
	}
	return int64(n * unit), nil
}

// rate is a size a second.
func rate(s string) (int64, error) {
	n, err := size(strings.TrimSuffix(strings.ToLower(s), "/s"))
	if err != nil {
		return 0, errors.New("is no rate such as 500k or 2.5m")
	}
	return n, nil
}
