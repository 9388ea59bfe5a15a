package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// world is a machine with files, variables and flags of its own.
type world struct {
	t    *testing.T
	home string
	vars []string
	args []string
}

func newWorld(t *testing.T) *world {
	home := t.TempDir()
	return &world{t: t, home: home, vars: []string{"HOME=" + home, "XDG_CONFIG_HOME=" + filepath.Join(home, "xdg")}}
}

// file writes a file below the home directory and returns its path.
func (w *world) file(name, text string) string {
	w.t.Helper()
	path := filepath.Join(w.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *world) load() (*Config, error) {
	w.t.Helper()
	fs := pflag.NewFlagSet("jumpget", pflag.ContinueOnError)
	AddFlags(fs, ForClient|ForRelay)
	if err := fs.Parse(w.args); err != nil {
		w.t.Fatal(err)
	}
	return Load(Options{Flags: fs, Environ: w.vars, goos: "linux"})
}

func (w *world) must() *Config {
	w.t.Helper()
	c, err := w.load()
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) fails(parts ...string) {
	w.t.Helper()
	_, err := w.load()
	if err == nil {
		w.t.Fatal("no error")
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			w.t.Errorf("error %q does not say %q", err, p)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		w.t.Errorf("error has more than one line: %q", err)
	}
}

func row(t *testing.T, c *Config, key string) Row {
	t.Helper()
	for _, r := range c.Explain() {
		if r.Key == key {
			return r
		}
	}
	t.Fatalf("no row %q", key)
	return Row{}
}

func TestDefaults(t *testing.T) {
	w := newWorld(t)
	c := w.must()
	wantClient := Client{LocalPort: 4100, Jobs: 3, Timeout: 30 * time.Second, Paths: []string{"auto"}, Progress: "auto", Color: true}
	if diff := cmp.Diff(wantClient, c.Client); diff != "" {
		t.Error(diff)
	}
	data := filepath.Join(w.home, ".local", "state", "jumpget", "relay")
	wantRelay := Relay{
		LocalPort: 4100, LocalAddr: netip.MustParseAddr("127.0.0.1"), LocalSocket: filepath.Join(data, "api.sock"),
		PublicPort: 3100, DataDir: data, Retain: 12 * time.Hour, Sessions: 12 * time.Hour, LogFormat: "auto", LogLevel: "info", defaultSocket: true,
	}
	if diff := cmp.Diff(wantRelay, c.Relay, cmp.AllowUnexported(Relay{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if len(c.Warnings) != 0 {
		t.Errorf("warnings: %q", c.Warnings)
	}
}

// Each layer is stronger than all before it.
func TestPrecedence(t *testing.T) {
	w := newWorld(t)
	check := func(want string, from string) {
		t.Helper()
		c := w.must()
		if c.Client.Dir != want || !strings.HasPrefix(row(t, c, "dir").From, from) {
			t.Errorf("dir is %q from %q, want %q from %q", c.Client.Dir, row(t, c, "dir").From, want, from)
		}
	}
	check("", "")
	xdg := w.file("xdg/jumpget/config.yaml", "# mine\n\ndir: /xdg\n")
	check("/xdg", xdg+", line 3")
	dot := w.file(".jumpget.yaml", "dir: /dot\n")
	check("/dot", dot+", line 1")
	w.vars = append(w.vars, "JUMPGET_CONFIG="+w.file("named.yaml", "dir: /named\n"))
	check("/named", filepath.Join(w.home, "named.yaml"))
	flagged := w.file("flagged.yaml", "jobs: 2\n")
	w.args = []string{"--config", flagged}
	check("", "") // a named file is read instead of all others
	w.vars = append(w.vars, "JUMPGET_DIR=/env")
	check("/env", "JUMPGET_DIR")
	w.args = append(w.args, "-d", "/flag")
	check("/flag", "--dir")
}

// The original JumpGet's file and variables keep their meaning.
func TestTheOriginalsSettings(t *testing.T) {
	for _, port := range []string{`"2253"`, "2253", "'2253'"} {
		w := newWorld(t)
		w.file(".jumpget.yaml", "host: \"example.com\"\nuser: \"example_user\"\nssh-port: "+port+"\nJUMPGET_LOCAL_PORT: 4200\n")
		w.vars = append(w.vars,
			"JUMPGET_PUBLIC_PORT=3200", "JUMPGET_PUBLIC_URL=http://example.com:3200/", "JUMPGET_DATA_DIR=/data",
			"JUMPGET_FILE_RETAIN_DURATION=24")
		w.args = []string{"--identity", "/k"}
		c := w.must()
		if want := (Destination{"example_user", "example.com", 2253}); c.Client.Dest != want {
			t.Errorf("destination %+v", c.Client.Dest)
		}
		if c.Client.LocalPort != 4200 || c.Relay.LocalPort != 4200 || c.Client.Identity != "/k" {
			t.Errorf("client %+v", c.Client)
		}
		r := c.Relay
		if r.PublicPort != 3200 || r.PublicURL != "http://example.com:3200" || r.DataDir != "/data" || r.Retain != 24*time.Hour {
			t.Errorf("relay %+v", r)
		}
	}
}

func TestOldNamesInFiles(t *testing.T) {
	w := newWorld(t)
	w.file(".jumpget.yaml", "ssh-config: ~/.ssh/key\nHost: vps\nssh_port: 22\nfile-retain-duration: 1.5\n")
	c := w.must()
	if c.Client.Identity != filepath.Join(w.home, ".ssh/key") || c.Client.Dest != (Destination{"", "vps", 22}) || c.Relay.Retain != 90*time.Minute {
		t.Errorf("%+v, retain %v", c.Client, c.Relay.Retain)
	}
}

func TestRelayAgainstHostUserAndPort(t *testing.T) {
	tests := []struct {
		name, file string
		env, args  []string
		want       Destination
	}{
		{"relay alone", "relay: a@h:22", nil, nil, Destination{"a", "h", 22}},
		{"host, user and port", "{host: h, user: a, ssh-port: 22}", nil, nil, Destination{"a", "h", 22}},
		{"in one layer relay counts more", "{relay: b@g, host: h, user: a, ssh-port: 22}", nil, nil, Destination{"b", "g", 22}},
		{"a stronger relay forgets the rest", "{host: h, user: a, ssh-port: 22}", nil, []string{"--relay", "other"}, Destination{"", "other", 0}},
		{"a stronger host changes the host", "{host: h, user: a, ssh-port: 22}", nil, []string{"--host", "other"}, Destination{"a", "other", 22}},
		{"a stronger port changes relay's", "relay: a@h:22", nil, []string{"--ssh-port", "23"}, Destination{"a", "h", 23}},
		{"a stronger user changes relay's", "relay: a@h:22", []string{"JUMPGET_USER=b"}, nil, Destination{"b", "h", 22}},
		{"variables", "", []string{"JUMPGET_HOST=h", "JUMPGET_SSH_PORT=24"}, nil, Destination{"", "h", 24}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.file(".jumpget.yaml", tt.file)
			w.vars, w.args = append(w.vars, tt.env...), tt.args
			if got := w.must().Client.Dest; got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestExplainSaysThatAStrongerRelayWasGiven(t *testing.T) {
	w := newWorld(t)
	w.file(".jumpget.yaml", "host: h\n")
	w.args = []string{"--relay", "other"}
	c := w.must()
	if from := row(t, c, "host").From; !strings.Contains(from, "stronger relay") {
		t.Errorf("host is said to come from %q", from)
	}
	if from := row(t, c, "relay").From; from != "--relay" {
		t.Errorf("relay is said to come from %q", from)
	}
}

func TestUnknownKeyNamesFileLineAndNearestKey(t *testing.T) {
	w := newWorld(t)
	path := w.file(".jumpget.yaml", "host: h\nssh_prot: 22\nquotta: 1G\n")
	w.fails(path+", line 2", `"ssh_prot"`, `"ssh-port"`, "line 3", `"quota"`)
}

func TestUnknownVariableIsAWarning(t *testing.T) {
	w := newWorld(t)
	w.vars = append(w.vars, "JUMPGET_DATADIR=/x", "JUMPGETX=1", "UNRELATED=1")
	c := w.must()
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "JUMPGET_DATADIR") || !strings.Contains(c.Warnings[0], "JUMPGET_DATA_DIR") {
		t.Errorf("warnings: %q", c.Warnings)
	}
}

func TestEveryBadValueIsToldAtOnceWithItsOrigin(t *testing.T) {
	w := newWorld(t)
	path := w.file(".jumpget.yaml", "jobs: many\nrelay: '-oProxyCommand=x'\n")
	w.vars = append(w.vars, "JUMPGET_PUBLIC_PORT=70000")
	w.args = []string{"--limit-rate", "fast", "--allow-private-origins", "10.0.0.0/8,nonsense"}
	w.fails(`jobs: "many"`, path+", line 1", path+", line 2", "JUMPGET_PUBLIC_PORT", `"70000"`, "--limit-rate", `"10.0.0.0/8,nonsense"`)
}

// A bad value that a stronger layer replaces does no harm.
func TestAFlagMendsABadFile(t *testing.T) {
	w := newWorld(t)
	w.file(".jumpget.yaml", "jobs: many\n")
	w.args = []string{"-j", "5"}
	if got := w.must().Client.Jobs; got != 5 {
		t.Errorf("jobs %d", got)
	}
}

func TestMalformedFiles(t *testing.T) {
	tests := map[string]struct{ text, says string }{
		"no YAML":       {"host: [", "no YAML"},
		"a list":        {"- host\n", "key: value"},
		"nested":        {"client:\n  host: h\n", "not a mapping"},
		"twice":         {"host: a\nhost: b\n", "line 1"},
		"twice by name": {"identity: a\nssh-config: b\n", "line 1"},
		"list for one":  {"host: [a, b]\n", "not a list"},
		"two documents": {"host: a\n---\nhost: b\n", "more than one"},
		"a merge":       {"x: &x {host: a}\n<<: *x\n", "not a mapping"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			path := w.file(".jumpget.yaml", tt.text)
			w.fails(path, tt.says)
		})
	}
}

func TestEmptyFilesAndValuesAreNothing(t *testing.T) {
	for _, text := range []string{"", "# only a comment\n", "---\n", "null\n", "host:\nuser: ~\ndir: ''\n"} {
		w := newWorld(t)
		w.file(".jumpget.yaml", text)
		w.vars = append(w.vars, "JUMPGET_HOST=")
		if c := w.must(); c.Client.Dest != (Destination{}) || c.Client.Dir != "" {
			t.Errorf("%q: %+v", text, c.Client)
		}
	}
}

func TestANamedFileHasToBeThere(t *testing.T) {
	w := newWorld(t)
	w.args = []string{"--config", filepath.Join(w.home, "none.yaml")}
	w.fails("none.yaml")
}

func TestAnUnreadableFileIsAnError(t *testing.T) {
	w := newWorld(t)
	if err := os.Mkdir(filepath.Join(w.home, ".jumpget.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.fails(".jumpget.yaml")
}

func TestListsFromEveryLayer(t *testing.T) {
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("192.0.2.7/32")}
	check := func(w *world) {
		t.Helper()
		got := w.must().Relay.AllowPrivateOrigins
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Error(diff)
		}
	}
	w := newWorld(t)
	w.file(".jumpget.yaml", "allow-private-origins:\n  - 10.1.2.3/8\n  - fd00::/8\n  - 192.0.2.7\n")
	check(w)
	w = newWorld(t)
	w.vars = append(w.vars, "JUMPGET_ALLOW_PRIVATE_ORIGINS=10.0.0.0/8, fd00::/8 ::ffff:192.0.2.7")
	check(w)
	w = newWorld(t)
	w.args = []string{"--allow-private-origins", "10.0.0.0/8,fd00::/8", "--allow-private-origins", "192.0.2.7"}
	check(w)
}

func TestAllPrivateOrigins(t *testing.T) {
	w := newWorld(t)
	w.args = []string{"--allow-private-origins=all"}
	got := w.must().Relay.AllowPrivateOrigins
	for _, a := range []string{"127.0.0.1", "::1", "169.254.169.254"} {
		found := false
		for _, p := range got {
			found = found || p.Contains(netip.MustParseAddr(a))
		}
		if !found {
			t.Errorf("%s is not allowed by %v", a, got)
		}
	}
}

func TestSecretsAreMaskedAndHaveNoFlag(t *testing.T) {
	w := newWorld(t)
	w.vars = append(w.vars, "JUMPGET_LOCAL_SECRET=hunter2")
	c := w.must()
	if c.Relay.LocalSecret != "hunter2" {
		t.Error("the secret did not arrive")
	}
	for _, r := range c.Explain() {
		if strings.Contains(r.Value, "hunter2") {
			t.Errorf("row %+v shows the secret", r)
		}
	}
	fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
	AddFlags(fs, both)
	if fs.Lookup("local-secret") != nil {
		t.Error("a secret may be given as an argument")
	}
	w.vars = append(w.vars, "JUMPGET_LOCAL_SECRET=hunter\x01two")
	if _, err := w.load(); err == nil || strings.Contains(err.Error(), "hunter") {
		t.Errorf("error %v", err)
	}
}

func TestNoColor(t *testing.T) {
	w := newWorld(t)
	w.vars = append(w.vars, "NO_COLOR=1")
	if c := w.must(); c.Client.Color || row(t, c, "no-color").From != "NO_COLOR" {
		t.Error("NO_COLOR is not heeded")
	}
	w.args = []string{"--no-color=false"}
	if !w.must().Client.Color {
		t.Error("the flag does not win over NO_COLOR")
	}
	w = newWorld(t)
	w.vars = append(w.vars, "NO_COLOR=")
	w.args = []string{"--no-color"}
	if w.must().Client.Color {
		t.Error("--no-color is not heeded")
	}
}

func TestTwoVariablesForOneSetting(t *testing.T) {
	w := newWorld(t)
	w.vars = append(w.vars, "JUMPGET_RETAIN=1h", "JUMPGET_FILE_RETAIN_DURATION=2")
	w.fails("JUMPGET_RETAIN", "JUMPGET_FILE_RETAIN_DURATION")
}

func TestRootHasSystemPlaces(t *testing.T) {
	c, err := Load(Options{Root: true, goos: "linux"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Relay.DataDir != "/var/lib/jumpget" || c.Relay.LocalSocket != "/run/jumpget/api.sock" {
		t.Errorf("%+v", c.Relay)
	}
	if got := c.Relay.Sockets(); len(got) != 1 {
		t.Errorf("sockets %q", got)
	}
}

// A user's bridge looks for the user's own relay and for the machine's.
func TestSockets(t *testing.T) {
	w := newWorld(t)
	c := w.must()
	if got := c.Relay.Sockets(); len(got) != 2 || got[0] != c.Relay.LocalSocket || got[1] != "/run/jumpget/api.sock" {
		t.Errorf("sockets %q", got)
	}
	w.vars = append(w.vars, "JUMPGET_LOCAL_SOCKET=/s")
	if got := w.must().Relay.Sockets(); len(got) != 1 || got[0] != "/s" {
		t.Errorf("sockets %q", got)
	}
}

func TestNoHomeIsNoErrorForAClient(t *testing.T) {
	c, err := Load(Options{Environ: []string{"JUMPGET_HOST=h"}, goos: "linux"})
	if err != nil || c.Client.Dest.Host != "h" || c.Relay.DataDir != "" {
		t.Errorf("%v, %+v", err, c)
	}
	if _, err := StateDir(nil); err == nil {
		t.Error("a state directory without a home")
	}
}

func TestPlacesOfEachSystem(t *testing.T) {
	win := newEnvironment("windows", []string{`AppData=C:\r`, `LocalAppData=C:\l`, `UserProfile=C:\u`})
	if got, want := win.files(), []string{filepath.Join(`C:\r`, "jumpget", "config.yaml"), filepath.Join(`C:\u`, ".jumpget.yaml")}; !cmp.Equal(got, want) {
		t.Errorf("windows files %q", got)
	}
	if got, want := win.stateDir(), filepath.Join(`C:\l`, "jumpget"); got != want {
		t.Errorf("windows state %q", got)
	}
	mac := newEnvironment("darwin", []string{"HOME=/Users/a", "XDG_STATE_HOME=relative/is/ignored"})
	if got := mac.stateDir(); got != "/Users/a/.local/state/jumpget" {
		t.Errorf("macOS state %q", got)
	}
	linux := newEnvironment("linux", []string{"HOME=/h", "XDG_CONFIG_HOME=/c", "XDG_STATE_HOME=/s"})
	if got, want := linux.files(), []string{"/etc/jumpget/config.yaml", "/c/jumpget/config.yaml", "/h/.jumpget.yaml"}; !cmp.Equal(got, want) {
		t.Errorf("linux files %q", got)
	}
	if got := linux.stateDir(); got != "/s/jumpget" {
		t.Errorf("linux state %q", got)
	}
}

// The table of settings is sound: each default is accepted, each name is
// unique and normal, and each setting but the relay's name is stored.
func TestTable(t *testing.T) {
	seen, letters := map[string]bool{}, map[string]bool{}
	for _, s := range settings() {
		for _, name := range append([]string{s.key}, s.aliases...) {
			if seen[name] || normal(name) != name {
				t.Errorf("the name %q is there twice or not normal", name)
			}
			seen[name] = true
		}
		if s.short != "" && letters[s.short] {
			t.Errorf("-%s is there twice", s.short)
		}
		letters[s.short] = true
		if s.usage == "" || s.sides == 0 {
			t.Errorf("%s tells nothing", s.key)
		}
		if s.def != "" {
			if err := s.set(&Config{}, []string{s.def}); err != nil {
				t.Errorf("%s: its default %v", s.key, err)
			}
		}
		if got := normal(s.envName()); names(settings())[got] != s.key {
			t.Errorf("%s: the variable %s is not read", s.key, s.envName())
		}
	}
}

func TestAddFlagsLeavesFlagsAlone(t *testing.T) {
	fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
	AddFlags(fs, ForClient)
	AddFlags(fs, ForRelay) // local-port and no-color are in both
	AddFlags(fs, both)
	if fs.Lookup("retain") == nil || fs.Lookup("relay") == nil || fs.Lookup("config") == nil {
		t.Error("flags are missing")
	}
}
