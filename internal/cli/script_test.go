package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/jumpget/jumpget/internal/origintest"
	"github.com/jumpget/jumpget/internal/relayd"
	"github.com/jumpget/jumpget/internal/sshdtest"
)

// TestMain lets the test binary be the program: a script's `jumpget` is this
// binary under another name.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"jumpget": func() {
			ctx, stop := SignalContext(context.Background())
			code := Run(ctx, os.Args[1:], OS("v0-test"))
			stop()
			os.Exit(code)
		},
	})
}

// TestScripts runs the program against an origin, a relay and an ssh server
// that are all real and on loopback; see testdata/script. Besides testscript's
// own commands a script has those of the map below.
func TestScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("starts relays and ssh servers")
	}
	origin := scriptOrigin(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup:               func(env *testscript.Env) error { return setup(env, origin) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":   checkCode,
			"relay":  startRelay,
			"sshd":   startSSHD,
			"expand": expandFile,
			"same":   func(ts *testscript.TestScript, neg bool, args []string) { sameFile(ts, neg, args, origin) },
			"sent":   func(ts *testscript.TestScript, neg bool, args []string) { waitSent(ts, neg, args, origin) },
			"fetch":  fetch,
			"word":   firstWord,
			"await":  awaitFile,
		},
	})
}

// The files of the scripts' origin.
const (
	fileSize = 3<<20 + 12345
	slowSize = 12 << 20
	slowRate = 4 << 20
)

func scriptOrigin(t *testing.T) *origintest.Server {
	modified := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	var many []origintest.File
	for i := range 10 {
		many = append(many, origintest.File{Path: fmt.Sprintf("/many/%02d.txt", i+1), Data: fmt.Appendf(nil, "file %02d\n", i+1)})
	}
	return origintest.New(t, append(
		many,
		origintest.File{Path: "/file.bin", Size: fileSize, Seed: 1, ETag: `"1"`, LastModified: modified},
		origintest.File{Path: "/small.txt", Data: []byte("small\n"), ETag: `"s"`, LastModified: modified},
		origintest.File{Path: "/empty", Data: []byte{}, ETag: `"e"`},
		origintest.File{Path: "/slow.bin", Size: slowSize, Seed: 2, ETag: `"2"`, Faults: []origintest.Fault{origintest.Slow(slowRate)}},
		origintest.File{Path: "/other.bin", Size: fileSize, Seed: 3, ETag: `"3"`},
		origintest.File{Path: "/nolength", Size: 2 << 20, Seed: 4, Faults: []origintest.Fault{origintest.HTTP10()}},
		origintest.File{Path: "/login.bin", Data: []byte("secret\n"), User: "anna", Password: "pass:word"},
		origintest.File{Path: "/cookie.bin", Data: []byte("cookie\n"), Cookie: "session=abc"},
		origintest.File{Path: "/hostile", Data: []byte("x\n"), Disposition: "attachment; filename*=UTF-8''..%2F..%2F-rf%E2%80%AE%1B%5B31m.txt"},
		origintest.File{Path: "/broken", Data: []byte("x\n"), Faults: []origintest.Fault{origintest.Status(500)}},
	)...)
}

// setup gives each script a home of its own and the origin's address.
func setup(env *testscript.Env, origin *origintest.Server) error {
	home := filepath.Join(env.WorkDir, "home")
	env.Setenv("HOME", home)
	env.Setenv("USERPROFILE", home)
	env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(home, ".config"))
	env.Setenv("ORIGIN", strings.TrimSuffix(origin.URL("/"), "/"))
	// The program's own folder and nothing else, for a machine without ssh.
	env.Setenv("PROGRAMS", strings.Split(env.Getenv("PATH"), string(os.PathListSeparator))[0])
	env.Setenv("SUM", origintest.Random(fileSize, 1).SHA256())
	return os.MkdirAll(home, 0o700)
}

// checkCode runs the program and compares its exit code: `code 8 jumpget ...`.
func checkCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := err.(*exec.ExitError); ok {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

// startRelay starts a relay with its own ssh endpoint in this process, makes a
// key, and writes the settings of a client for it to ~/.jumpget.yaml. It takes
// `retain=TIME`, `quota=BYTES` and `secret=WORD`, and `private=no` to refuse this origin.
func startRelay(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs("relay")
	keys, err := makeTrialKeys(ts.Getenv("HOME"))
	ts.Check(err)
	log, err := os.Create(ts.MkAbs("relay.log"))
	ts.Check(err)
	o := relayd.Options{
		DataDir: dir, LocalAddr: "127.0.0.1:0", PublicAddr: "127.0.0.1:0", SSHListen: "127.0.0.1:0",
		AuthorizedKeys: keys.authorized, AllowPrivateOrigins: loopback, Version: "v0-test",
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "retain":
			o.Retain, err = time.ParseDuration(value)
		case "quota":
			o.Quota, err = strconv.ParseInt(value, 10, 64)
		case "secret":
			o.LocalSecret = value
		case "private":
			o.AllowPrivateOrigins = []netip.Prefix{}
		default:
			ts.Fatalf("relay does not know %q", arg)
		}
		ts.Check(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan relayd.Addresses, 1), make(chan error, 1)
	o.Ready = func(at relayd.Addresses) { ready <- at }
	go func() { done <- relayd.Run(ctx, o) }()
	ts.Defer(func() {
		cancel()
		if err := <-done; err != nil {
			ts.Logf("the relay ended with %v", err)
		}
		_ = log.Close()
	})
	select {
	case err := <-done:
		done <- err
		ts.Fatalf("the relay did not start: %v", err)
	case at := <-ready:
		ts.Setenv("SOCKET", at.Socket)
		ts.Setenv("LOCAL_PORT", strconv.Itoa(int(at.Local.Port())))
		ts.Setenv("PUBLIC", at.Public.String())
		useSSH(ts, "you", int(at.SSH.Port()), at.SSHHostKey)
	}
}

// useSSH writes the settings of a client that reaches the relay at this port.
func useSSH(ts *testscript.TestScript, user string, port int, hostKey string) {
	home := ts.Getenv("HOME")
	ssh, err := sshdtest.Command(filepath.Join(home, "known_hosts"), port, hostKey)
	ts.Check(err)
	ts.Setenv("SSH_USER", user)
	ts.Setenv("SSH_PORT", strconv.Itoa(port))
	ts.Setenv("SSH_KEY", filepath.Join(home, "key"))
	ts.Setenv("SSH_COMMAND", ssh)
	yaml := fmt.Sprintf("relay: %s@127.0.0.1:%d\nidentity: %s\nlocal-port: %s\nssh: '%s'\n",
		user, port, ts.Getenv("SSH_KEY"), ts.Getenv("LOCAL_PORT"), ssh)
	ts.Check(os.WriteFile(filepath.Join(home, ".jumpget.yaml"), []byte(yaml), 0o600))
}

// startSSHD puts the system's sshd before the relay that `relay` has started.
// Words are lines of its configuration: `sshd 'AllowTcpForwarding no'`.
func startSSHD(ts *testscript.TestScript, _ bool, lines []string) {
	home := ts.Getenv("HOME")
	lines = append(lines, "SetEnv PATH="+ts.Getenv("PATH")+" HOME="+home+" JUMPGET_LOCAL_SOCKET="+ts.Getenv("SOCKET"))
	server, err := sshdtest.Start(home, filepath.Join(home, "authorized_keys"), lines...)
	ts.Check(err)
	ts.Defer(server.Close)
	useSSH(ts, server.User, server.Port, server.HostKey)
}

// expandFile replaces $NAME in files by the script's variables.
func expandFile(ts *testscript.TestScript, _ bool, names []string) {
	for _, name := range names {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

var contents = map[string]origintest.Content{
	"/file.bin":  origintest.Random(fileSize, 1),
	"/slow.bin":  origintest.Random(slowSize, 2),
	"/other.bin": origintest.Random(fileSize, 3),
	"/nolength":  origintest.Random(2<<20, 4),
}

// sameFile checks that a file has the origin's bytes: `same FILE /path`. This
// is the one independent judge of every download.
func sameFile(ts *testscript.TestScript, neg bool, args []string, _ *origintest.Server) {
	if len(args) != 2 {
		ts.Fatalf("usage: same FILE PATH")
	}
	want, ok := contents[args[1]]
	if !ok {
		ts.Fatalf("no content for %s", args[1])
	}
	sum := sha256.Sum256([]byte(ts.ReadFile(args[0])))
	if got := hex.EncodeToString(sum[:]); (got == want.SHA256()) == neg {
		ts.Fatalf("%s has sha256 %s, the origin's is %s", args[0], got, want.SHA256())
	}
}

// waitSent waits until so many bytes more than at its last call have left the
// origin.
func waitSent(ts *testscript.TestScript, _ bool, args []string, origin *origintest.Server) {
	n, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	from := origin.Sent()
	deadline := time.Now().Add(20 * time.Second)
	for origin.Sent()-from < n {
		if time.Now().After(deadline) {
			ts.Fatalf("the origin sent only %d bytes", origin.Sent()-from)
		}
		time.Sleep(5 * time.Millisecond) // the origin tells nobody when
	}
}

// fetch GETs the URL in a file with Go's own client and compares the status:
// `fetch 404 FILE`.
func fetch(ts *testscript.TestScript, _ bool, args []string) {
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.TLSClientConfig = insecure()
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get(strings.TrimSpace(ts.ReadFile(args[1])))
	ts.Check(err)
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	_ = resp.Body.Close()
	if strconv.Itoa(resp.StatusCode) != args[0] {
		ts.Fatalf("%s, want %s", resp.Status, args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs("fetched"), body, 0o600))
}

// firstWord puts the first word of a file, or its first N characters, into a
// variable: `word FILE NAME [N]`.
func firstWord(ts *testscript.TestScript, _ bool, args []string) {
	words := strings.Fields(ts.ReadFile(args[0]))
	if len(words) == 0 {
		ts.Fatalf("%s is empty", args[0])
	}
	value := words[0]
	if len(args) > 2 {
		n, err := strconv.Atoi(args[2])
		ts.Check(err)
		value = value[:n]
	}
	ts.Setenv(args[1], value)
}

// awaitFile waits until a background command has made a file.
func awaitFile(ts *testscript.TestScript, _ bool, args []string) {
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		if _, err := os.Lstat(ts.MkAbs(args[0])); err == nil {
			return
		}
		time.Sleep(5 * time.Millisecond) // another process makes it
	}
	ts.Fatalf("%s did not appear", args[0])
}
