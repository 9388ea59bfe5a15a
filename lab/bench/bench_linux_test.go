package bench_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jumpget/jumpget/internal/cli"
	"github.com/jumpget/jumpget/lab/bench"
	"github.com/jumpget/jumpget/lab/labtest"
	"github.com/jumpget/jumpget/lab/peer"
	"github.com/jumpget/jumpget/lab/profile"
	"github.com/jumpget/jumpget/lab/scenario"
)

// asProgram in the environment makes the test's binary JumpGet.
const asProgram = "LAB_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "" {
		os.Exit(labtest.Main(m))
	}
	ctx, stop := cli.SignalContext(context.Background())
	code := cli.Run(ctx, os.Args[1:], cli.OS("v0-lab"))
	stop()
	os.Exit(code)
}

// program returns a path of JumpGet as it is in this tree.
func program(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	check(t, err)
	name := filepath.Join(t.TempDir(), "jumpget")
	check(t, os.WriteFile(name, []byte(fmt.Sprintf("#!/bin/sh\n%s=1 exec %s \"$@\"\n", asProgram, exe)), 0o755))
	return name
}

// measure runs a benchmark and returns its results and notes.
func measure(t *testing.T, o bench.Options) (results []bench.Result, notes []string) {
	t.Helper()
	o.Seed, o.Patience = 1, 4
	if o.Scenarios == nil {
		o.Scenarios = []scenario.Scenario{{}}
	}
	o.Each = func(r bench.Result) error {
		results = append(results, r)
		return nil
	}
	o.Note = func(text string) { notes = append(notes, text) }
	check(t, bench.Run(context.Background(), o))
	return results, notes
}

func links(t *testing.T, lines ...string) []profile.Profile {
	t.Helper()
	ps, err := profile.Parse(strings.Join(lines, "\n"))
	check(t, err)
	return ps
}

// TestQuick is the short version of the whole benchmark: JumpGet and curl over
// two links of the table, the real emulator between them.
func TestQuick(t *testing.T) {
	labtest.Need(t, "nginx", "sshd", "ssh", "curl", "ping")
	found, err := profile.Find("mild", "bad")
	check(t, err)
	peers, err := peer.Find("wget-bbr", "jumpget-cold", "jumpget", "jumpget-session", "jumpget-memory")
	check(t, err)
	peers[0] = curlBBR
	const size = 3_000_000
	results, notes := measure(t, bench.Options{Links: found, Peers: peers, Sizes: []int64{size}, Reps: 1, JumpGet: program(t)})
	if len(results) != len(found)*len(peers) || len(notes) > 0 {
		t.Fatalf("%d results, want %d; notes: %q", len(results), len(found)*len(peers), notes)
	}
	for i, r := range results {
		on := found[i/len(peers)]
		if r.Link != on.Name || r.Peer != peers[i%len(peers)].Name {
			t.Errorf("run %d was %s on %s", i, r.Peer, r.Link)
		}
		t.Logf("%s, %s: %.2f s, %.0f %% of the link", r.Link, r.Peer, r.Seconds, r.Share*100)
		rtt := on.RTT.Seconds()
		for what, ok := range map[string]bool{
			"the file is right":              r.OK && r.Error == "",
			"its share is of the link":       r.Share > 0 && r.Share < 1 && r.Share*on.Limit()*r.Seconds/8/size > .999,
			"data came after a round trip":   r.First > rtt && r.First < r.Seconds,
			"the wire carried it all":        r.Down > 1 && r.Down < 4,
			"there were acknowledgements":    r.Up > 0 && r.Up < .2,
			"the link lost packets":          r.Drops["loss"] > 0,
			"it used a processor and memory": r.ClientCPU > 0 && r.ClientMem > 1<<20,
			"its seed and commit are known":  r.Seed == 1 && r.Kernel != "" && r.Machine != "" && !r.Time.IsZero(),
		} {
			if !ok {
				t.Errorf("%s on %s: not so: %s: %+v", r.Peer, r.Link, what, r)
			}
		}
	}
}

var curlBBR = peer.Peer{Name: "curl-bbr", Needs: []string{"curl"}, Command: "curl -sf -o out {relay}"}

// fast is a link on which a small file takes no time.
const fast = "fast rate=200M rtt=10ms"

func TestRunsThatGoWrong(t *testing.T) {
	labtest.Need(t, "nginx", "curl", "ping")
	peers := []peer.Peer{
		curlBBR,
		{Name: "forger", Needs: []string{"curl"}, Command: "curl -sf -o out {relay}; printf x | dd of=out conv=notrunc bs=1 seek=5000 2>/dev/null"},
		{Name: "failing", Needs: []string{"curl"}, Command: "fallocate -l 100000 out; echo no luck >&2; exit 3"},
		{Name: "nothing", Needs: []string{"curl"}, Command: "true"},
		{Name: "absent", Needs: []string{"no-such-program"}, Command: "no-such-program"},
		{Name: "unready", Needs: []string{"curl"}, Before: "echo not today >&2; exit 1", Command: "true"},
	}
	results, notes := measure(t, bench.Options{Links: links(t, fast), Peers: peers, Sizes: []int64{100_000}, Reps: 2, JumpGet: "unused"})
	byPeer := map[string][]bench.Result{}
	var order []string
	for _, r := range results {
		byPeer[r.Peer] = append(byPeer[r.Peer], r)
		order = append(order, r.Peer)
	}
	want := []string{"curl-bbr", "forger", "failing", "nothing", "absent", "unready", "curl-bbr", "forger", "failing", "nothing", "unready"}
	if !slices.Equal(order, want) {
		t.Errorf("the runs were %v, want them in turns: %v", order, want)
	}
	for name, c := range map[string]struct {
		ok, missing bool
		says        string
	}{
		"curl-bbr": {ok: true},
		"forger":   {says: "differs"},
		"failing":  {says: "exit status 3: no luck"},
		"nothing":  {says: "differs"},
		"absent":   {missing: true, says: "no-such-program"},
		"unready":  {says: "made ready: exit status 1: not today"},
	} {
		for _, r := range byPeer[name] {
			if r.OK != c.ok || r.Missing != c.missing || !strings.Contains(r.Error, c.says) || !c.ok && r.Share > .001 {
				t.Errorf("%s: %+v", name, r)
			}
		}
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "absent is missing") {
		t.Errorf("notes: %q", notes)
	}
}

func TestDoneAndHopelessRunsAreLeftOut(t *testing.T) {
	labtest.Need(t, "nginx", "curl", "ping")
	stuck := peer.Peer{Name: "stuck", Needs: []string{"curl"}, Command: "head -c 500 /dev/zero >out; sleep 600"}
	have := []bench.Result{
		{Link: "fast", Peer: "curl-bbr", Size: 1000, OK: true},
		{Link: "fast", Peer: "curl-bbr", Size: 1000, Rep: 1, OK: true},
		{Link: "fast", Peer: "stuck", Size: 1000, Cut: true, Share: .25},
	}
	results, _ := measure(t, bench.Options{
		Links: links(t, fast), Peers: []peer.Peer{curlBBR, stuck}, Sizes: []int64{1000, 2000}, Reps: 3, JumpGet: "unused", Have: have,
	})
	var got []string
	for _, r := range results {
		got = append(got, fmt.Sprintf("%s %d %d", r.Peer, r.Size, r.Rep))
	}
	if want := []string{"curl-bbr 1000 2", "curl-bbr 2000 0", "stuck 2000 0", "curl-bbr 2000 1", "curl-bbr 2000 2"}; !slices.Equal(got, want) {
		t.Fatalf("%q, want %q", got, want)
	}
	if r := results[2]; r.OK || !r.Cut || r.From != 1000 || r.Share != .25 || r.Seconds != 0 {
		t.Errorf("%+v", r)
	}
}

func TestLists(t *testing.T) {
	labtest.Need(t, "nginx", "curl", "wget", "sshd", "ssh", "ping")
	found, err := peer.Find("wget-bbr", "jumpget", "axel")
	check(t, err)
	forger := found[0]
	forger.Name, forger.Many = "forger", forger.Many+" && printf x >>out/00007.bin"
	results, notes := measure(t, bench.Options{
		Links: links(t, fast), Peers: append(found, forger), Sizes: []int64{400_000}, Files: 20, Reps: 1, JumpGet: program(t),
	})
	if len(results) != 3 || len(notes) != 1 || !strings.Contains(notes[0], "axel") {
		t.Fatalf("%d results, notes %q", len(results), notes)
	}
	for i, ok := range []bool{true, true, false} {
		if r := results[i]; r.OK != ok || r.Files != 20 || ok && r.Share <= 0 || !ok && r.Share != 0 {
			t.Errorf("%+v", r)
		}
	}
}

func TestScenarios(t *testing.T) {
	labtest.Need(t, "nginx", "curl", "ping")
	parse := func(line string) scenario.Scenario {
		s, err := scenario.ParseLine(line)
		check(t, err)
		return s
	}
	const megabytes = 4
	// A connection that its address has left would wait for minutes.
	impatient := peer.Peer{Name: "curl-bbr", Needs: []string{"curl"}, Command: "timeout 8 curl -sf -o out {relay}"}
	results, _ := measure(t, bench.Options{
		Links: links(t, "thin rate=20M rtt=20ms"), Peers: []peer.Peer{impatient}, Sizes: []int64{megabytes * 1e6}, Reps: 1, JumpGet: "unused", Series: true,
		Scenarios: []scenario.Scenario{{}, parse("gone 300ms:gone 1300ms:back"), parse("halved 0s:rate=x0.5"), parse("roams 500ms:roam"), parse("cubic rival=cubic ping")},
	})
	if len(results) != 5 {
		t.Fatalf("%d results", len(results))
	}
	alone, gone, halved, roams, cubic := results[0], results[1], results[2], results[3], results[4]
	if !alone.OK || !gone.OK || !halved.OK || !cubic.OK {
		t.Errorf("%q, %q, %q, %q", alone.Error, gone.Error, halved.Error, cubic.Error)
	}
	if gone.Drops["down"] == 0 || gone.Seconds < alone.Seconds+.9 {
		t.Errorf("gone for a second: %.2f s, alone %.2f s, drops %v", gone.Seconds, alone.Seconds, gone.Drops)
	}
	if halved.Seconds < megabytes*8/10. || halved.Share < .6 {
		t.Errorf("at half the rate: %.2f s, share %.2f of what that link could carry", halved.Seconds, halved.Share)
	}
	if roams.OK || !strings.Contains(roams.Error, "124") {
		t.Errorf("curl has survived a change of address: %+v", roams)
	}
	if s := cubic.Sharing; s == nil || s.Own <= 0 || s.Rival <= 0 || s.Own+s.Rival > 1.05 || s.Fairness < .5 || s.Fairness > 1 {
		t.Errorf("sharing: %+v", s)
	}
	if p := cubic.Ping; p == nil || p.N < 5 || p.P50 < 20 || p.P99 < p.P50 {
		t.Errorf("ping: %+v", p)
	}
	if n := len(alone.Series.Bytes); n < 15 || len(alone.Series.Queue) != n || len(alone.Series.Lost) != n || alone.Series.Rival != nil || len(cubic.Series.Rival) == 0 {
		t.Errorf("series: %+v", alone.Series)
	}
}

func TestUnknownRival(t *testing.T) {
	labtest.Need(t, "nginx", "curl", "ping")
	s, err := scenario.ParseLine("x rival=nobody")
	check(t, err)
	err = bench.Run(context.Background(), bench.Options{Scenarios: []scenario.Scenario{s}, Sizes: []int64{1000}, Reps: 1, Note: func(string) {}})
	if err == nil || !strings.Contains(err.Error(), `no peer named "nobody"`) {
		t.Errorf("%v", err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
