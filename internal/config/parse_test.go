package config

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// accepts checks a parser against texts; a nil value has to be refused.
func accepts[T comparable](t *testing.T, name string, parse func(string) (T, error), want map[string]any) {
	t.Helper()
	for text, v := range want {
		got, err := parse(text)
		switch {
		case v == nil && err == nil:
			t.Errorf("%s %q gives %v, want an error", name, text, got)
		case v != nil && (err != nil || got != v.(T)):
			t.Errorf("%s %q gives %v, %v; want %v", name, text, got, err, v)
		}
	}
}

func TestParsers(t *testing.T) {
	accepts(t, "size", size, map[string]any{
		"0": int64(0), "none": int64(0), "off": int64(0), "1000": int64(1000), "20G": int64(20 << 30), "20g": int64(20 << 30), "1.5T": int64(3 << 39),
		"5GiB": int64(5 << 30), "5 GiB": int64(5 << 30), "5GB": int64(5e9), "10kb": int64(10000), "7B": int64(7),
		"": nil, "G": nil, "-1": nil, "NaN": nil, "Inf": nil, "1X": nil, "99999999T": nil, "1.2.3G": nil,
	})
	accepts(t, "rate", rate, map[string]any{"2.5m": int64(2621440), "2.5M/s": int64(2621440), "100": int64(100), "none": int64(0), "x": nil, "/s": nil})
	accepts(t, "hours", hoursText, map[string]any{
		"12": 12 * time.Hour, "0.5": 30 * time.Minute, "2d": 48 * time.Hour, "90m": 90 * time.Minute, "1h30m": 90 * time.Minute,
		"0": nil, "-1": nil, "12 hours": nil, "": nil, "d": nil, "99999999": nil, "NaN": nil, "Inf": nil,
	})
	accepts(t, "seconds", secondsText, map[string]any{"30": 30 * time.Second, "2m": 2 * time.Minute, "0": nil})
	accepts(t, "port", port, map[string]any{"0": 0, "off": 0, "65535": 65535, "65536": nil, "-1": nil, "": nil, "http": nil, "+5": nil})
	accepts(t, "bool", boolText, map[string]any{"true": true, "Yes": true, "on": true, "1": true, "no": false, "off": false, "": nil, "2": nil})
	accepts(t, "hostPort", hostPort, map[string]any{":2222": ":2222", "[::1]:22": "[::1]:22", "2222": nil, ":x": nil, "": nil})
	accepts(t, "publicURL", publicURL, map[string]any{
		"http://h:3100": "http://h:3100", "https://h/": "https://h", "https://h/x/": "https://h/x", "https://[::1]:3100": "https://[::1]:3100",
		"h:3100": nil, "ftp://h": nil, "https://u:p@h": nil, "https://h?x": nil, "https://h?": nil, "https://h#x": nil, "https:///x": nil, "https://h:99999": nil, "": nil,
	})
	accepts(t, "connections", count("auto", 64), map[string]any{"auto": 0, "0": 0, "16": 16, "65": nil, "-1": nil, "": nil})
	accepts(t, "sessions", sessionText, map[string]any{
		"on": 12 * time.Hour, "off": time.Duration(-1), "24": 24 * time.Hour, "7d": 7 * 24 * time.Hour, "1m": time.Minute,
		"8d": nil, "59s": nil, "0": nil, "-1h": nil, "": nil, "yes": nil, "On": nil,
	})
	accepts(t, "jobs", atLeastOne(64), map[string]any{"1": 1, "0": nil, "65": nil})
}

func TestParseDestination(t *testing.T) {
	accepts(t, "destination", ParseDestination, map[string]any{
		"h": Destination{"", "h", 0}, "h:22": Destination{"", "h", 22}, "u@h": Destination{"u", "h", 0}, "u@h:22": Destination{"u", "h", 22},
		"[::1]:22": Destination{"", "::1", 22}, "u@[2001:db8::1]": Destination{"u", "2001:db8::1", 0}, "2001:db8::1": Destination{"", "2001:db8::1", 0},
		"u@[fe80::1%eth0]:22": Destination{"u", "fe80::1%eth0", 22}, "dom\\u@h": Destination{`dom\u`, "h", 0}, "a@b@h": Destination{"a@b", "h", 0},
		"": nil, "@h": nil, "u@": nil, ":22": nil, "h:": nil, "h:0": nil, "h:x": nil, "h:70000": nil, "[::1]x": nil, "[::1": nil, "[]": nil,
		"-oProxyCommand=x": nil, "-u@h": nil, "h h": nil, "h\n": nil, "$(x)": nil, "u;x@h": nil, "h;x": nil, "u@-h": nil,
	})
}

func FuzzParseDestination(f *testing.F) {
	for _, s := range []string{"h", "u@h:22", "[::1]:22", "::1", "a@b@[::1]", "-o", "h:", "@", "[h]:22"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDestination(s)
		if err != nil {
			return
		}
		again, err := ParseDestination(d.String())
		if err != nil || again != d {
			t.Errorf("%q gives %+v, its form %q gives %+v, %v", s, d, d, again, err)
		}
		if d.Host == "" || d.Host[0] == '-' || d.User != "" && d.User[0] == '-' {
			t.Errorf("%q gives %+v, which ssh may take for an option", s, d)
		}
	})
}

func FuzzFile(f *testing.F) {
	for _, s := range []string{"host: h\n", "a: [", "- x", "{a: b, c: [d]}", "x: &x y\nz: *x\n", "", "---\n---\n", "a: *a"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := &yamlParser{lines: map[string]int{}}
		m, err := p.Unmarshal(b)
		if err != nil {
			return
		}
		for k, v := range m {
			if p.lines[k] < 1 {
				t.Errorf("the key %q has no line", k)
			}
			switch v.(type) {
			case string, []any:
			default:
				t.Errorf("%q is a %T", k, v)
			}
		}
	})
}

// The distance is a metric as far as suggestions need it to be.
func TestDistance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringMatching(`[a-c-]{0,6}`)
		a, b := key.Draw(t, "a"), key.Draw(t, "b")
		d := distance(a, b)
		if d != distance(b, a) || (d == 0) != (a == b) || d > max(len(a), len(b)) {
			t.Fatalf("distance(%q, %q) = %d", a, b, d)
		}
	})
	for pair, want := range map[[2]string]int{{"kitten", "sitting"}: 3, {"", "abc"}: 3, {"quota", "quotta"}: 1} {
		if got := distance(pair[0], pair[1]); got != want {
			t.Errorf("distance(%q) = %d, want %d", pair, got, want)
		}
	}
}
