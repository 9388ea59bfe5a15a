package sshdial

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSplitWords(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string // nil: refused
	}{
		{"ssh -p 2222 -i key", []string{"ssh", "-p", "2222", "-i", "key"}},
		{"  ssh\t-v\n", []string{"ssh", "-v"}},
		{`ssh -i '/my keys/id'`, []string{"ssh", "-i", "/my keys/id"}},
		{`ssh -o "ProxyCommand=nc %h %p"`, []string{"ssh", "-o", "ProxyCommand=nc %h %p"}},
		{`ssh -i my\ key ''`, []string{"ssh", "-i", "my key", ""}},
		{`a"b"'c'd`, []string{"abcd"}},
		{`"a\"b\$c\d"`, []string{`a"b$c\d`}},
		{`'a\b'`, []string{`a\b`}},
		{`ssh $HOME ~ * ; rm`, []string{"ssh", "$HOME", "~", "*", ";", "rm"}},
		{"", []string{}},
		{`ssh 'open`, nil},
		{`ssh "open`, nil},
		{`ssh \`, nil},
	} {
		got, err := splitWords(c.in, true)
		if (err != nil) != (c.want == nil) || !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, %v", c.in, got, err)
		}
	}
	got, err := splitWords(`"C:\Program Files\ssh.exe" -i C:\key`, false)
	if err != nil || !slices.Equal(got, []string{`C:\Program Files\ssh.exe`, "-i", `C:\key`}) {
		t.Errorf("Windows: %q, %v", got, err)
	}
}

// Any words, quoted for a shell, come back as they were.
func TestSplitWordsUndoesQuoting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOf(rapid.String()).Draw(t, "words")
		var quoted []string
		for _, w := range words {
			quoted = append(quoted, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
		}
		got, err := splitWords(strings.Join(quoted, " "), true)
		if err != nil || !slices.Equal(got, words) {
			t.Fatalf("got %q, %v", got, err)
		}
	})
}

func FuzzSplitWords(f *testing.F) {
	f.Add("ssh -p 2222 -i 'a b'")
	f.Add(`"\`)
	f.Fuzz(func(t *testing.T, s string) {
		words, err := splitWords(s, true)
		if err != nil {
			return
		}
		for _, w := range words {
			if len(w) > len(s)*3 { // an invalid byte becomes three
				t.Errorf("%q grew to %q", s, w)
			}
		}
	})
}

func TestParseDestination(t *testing.T) {
	for _, c := range []struct {
		in, user, host string
		port           int
	}{
		{"vps", "", "vps", 0},
		{"ann@vps.example.org:2222", "ann", "vps.example.org", 2222},
		{"ann@corp@vps", "ann@corp", "vps", 0},
		{`CORP\ann@vps`, `CORP\ann`, "vps", 0},
		{"[2001:db8::1]:22", "", "2001:db8::1", 22},
		{"[2001:db8::1]", "", "2001:db8::1", 0},
		{"2001:db8::1", "", "2001:db8::1", 0},
		{"fe80::1%eth0", "", "fe80::1%eth0", 0},
		{"bücher.example", "", "bücher.example", 0},
	} {
		user, host, port, err := ParseDestination(c.in)
		if err != nil || user != c.user || host != c.host || port != c.port {
			t.Errorf("%q: %q %q %d %v", c.in, user, host, port, err)
		}
	}
}

// Options in disguise and what a shell behind a ProxyCommand would run are
// refused before any process starts.
func TestHostileDestinations(t *testing.T) {
	for _, s := range []string{
		"", "@", "@vps", "ann@", "-oProxyCommand=id", "-v", "ann@-oProxyCommand=id", "-lroot@vps",
		"vps:0", "vps:65536", "vps:-1", "vps:ssh", "ssh://vps", "a b", "a\nb", "a\x00b", "a\x1bb",
		"$(id)", "`id`", "a;id", "a|id", "a&id", "a>b", "a'b", `a"b`, `a\b`, "a{b}", "a,b", "a\u202eb",
		"$(id)@vps", "a;id@vps", "a b@vps", `ann\@vps`, "a'b@vps", "\xff",
	} {
		_, _, _, err := ParseDestination(s)
		if !errors.Is(err, &Error{Kind: BadCommand}) {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, cfg := range []Config{
		{},
		{Host: "-v"},
		{Host: "vps", User: "-v"},
		{Host: "vps", Port: -1},
		{Host: "vps", Port: 65536},
		{Host: "vps", Target: "-v"},
		{Host: "vps", Target: "nowhere"},
		{Host: "vps", Target: "-v:80"},
		{Host: "vps", Target: "127.0.0.1:0"},
		{Host: "vps", Target: ":4100"},
		{Host: "vps", Command: "'"},
		{Host: "vps", Command: " "},
	} {
		if _, err := Dial(t.Context(), cfg); !errors.Is(err, &Error{Kind: BadCommand}) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func FuzzParseDestination(f *testing.F) {
	f.Add("ann@[::1]:22")
	f.Add("-v")
	f.Fuzz(func(t *testing.T, s string) {
		user, host, port, err := ParseDestination(s)
		if err != nil {
			return
		}
		if host == "" || strings.HasPrefix(host, "-") || strings.HasPrefix(user, "-") || port < 0 || port > 65535 {
			t.Errorf("%q: %q %q %d", s, user, host, port)
		}
		if strings.ContainsAny(user+host, "\x00\n'`\"$;&<>|(){}") {
			t.Errorf("%q lets a character through: %q %q", s, user, host)
		}
	})
}

// Whatever the config, what ssh gets ends with a fixed tail behind "--".
func TestArgumentsEndBehindTwoDashes(t *testing.T) {
	cfg, err := Config{Host: "vps", User: "ann", Port: 2222, Identity: "-key", Batch: true}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	p := &plan{cfg: cfg, sharing: sharingOurs, socket: "/tmp/a b/%h"}
	for _, alone := range []bool{false, true} {
		forward, bridge := p.forward(alone), p.bridge(alone)
		if got := forward[len(forward)-4:]; !slices.Equal(got, []string{"-W", DefaultTarget, "--", "vps"}) {
			t.Errorf("forward ends with %q", got)
		}
		if got := bridge[len(bridge)-4:]; !slices.Equal(got, []string{"--", "vps", "jumpget", "bridge"}) {
			t.Errorf("bridge ends with %q", got)
		}
		if shares := slices.Contains(forward, `ControlPath="/tmp/a b/%%h"`); shares == alone {
			t.Errorf("alone %v: %q", alone, forward)
		}
	}
}
