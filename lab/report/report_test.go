package report_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jumpget/jumpget/lab/bench"
	"github.com/jumpget/jumpget/lab/report"
)

func result(link, peer string, share float64) bench.Result {
	return bench.Result{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Commit: "abc", Machine: "2 x cpu", Kernel: "Linux 6", Version: peer + " 1.0",
		Link: link, Peer: peer, Size: 30e6, OK: true, Share: share, Seconds: 10 / share, First: .3, Down: 1.1, ClientMem: 20 << 20,
	}
}

func table(t *testing.T, rs ...bench.Result) string {
	t.Helper()
	var b strings.Builder
	check(t, report.Table(&b, rs))
	return b.String()
}

func has(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("there is no %q in:\n%s", part, text)
		}
	}
}

func TestTableHasMedianSpreadAndTheBest(t *testing.T) {
	text := table(t,
		result("bad", "wget", .05), result("bad", "jumpget", .5),
		result("bad", "wget", .07), result("bad", "jumpget", .6),
		result("bad", "wget", .06), result("bad", "jumpget", .7),
		result("clean", "wget", .8),
	)
	has(t, text,
		"### 30 MB, n = 1 to 3",
		"| peer | clean | bad |", // in the order of the table of links
		"| wget | **80** | 6.0 (5.0–7.0) |",
		"| jumpget | – | **60** (50–70) |",
		"Measured 2026-01-02 on 2 x cpu, Linux 6; JumpGet at abc. Peers: wget 1.0; jumpget 1.0.",
	)
	if strings.Contains(text, `\*`) {
		t.Error("a note on runs that failed, and none has")
	}
}

func TestTableTellsWhatFailedAndWhatIsMissing(t *testing.T) {
	slow := result("bad", "wget", .01)
	slow.OK, slow.Error = false, "not finished after 20s"
	dead := result("bad", "hysteria2", 0)
	dead.OK = false
	late := result("bad", "curl", .2)
	late.Late = 5
	absent := bench.Result{Link: "bad", Peer: "axel", Size: 30e6, Missing: true, Error: "missing: axel"}
	text := table(t, slow, dead, late, absent)
	has(t, text, `| wget | 1.0\* |`, "| hysteria2 | ✗ |", "| axel | missing |", "| curl | **20** |", "In 1 of 4 runs the lab itself was late")
	has(t, report.Line(absent), "axel", "missing: axel")
	has(t, report.Line(slow), "not finished after 20s")
	has(t, report.Line(late), "the lab itself was 5.0 ms late")
}

func TestTableOfScenarios(t *testing.T) {
	r := result("bad", "jumpget", .5)
	r.Scenario = "cubic"
	r.Sharing = &bench.Sharing{Own: .6, Rival: .3, Fairness: .9, Converged: 1.5}
	r.Ping = &bench.Ping{N: 50, Mean: 210, P99: 260, Lost: .05}
	text := table(t, r, result("bad", "jumpget", .9))
	has(t, text, "### 30 MB, n = 1", "### Scenario cubic: 30 MB, n = 1", "| bad | jumpget | 60 | 30 | 0.90 | 1.5 | 210 | 260 | 5.0 |")
	has(t, report.Line(r), "shares 60:30", "ping 210/260 ms")
}

func compare(t *testing.T, before, after []bench.Result) string {
	t.Helper()
	var b strings.Builder
	check(t, report.Compare(&b, before, after))
	return b.String()
}

// runs makes n runs of a peer on each of several links, factor times as fast as
// the same call with factor 1 and another seed, give or take the noise.
func runs(seed uint64, links, n int, factor, noise float64) []bench.Result {
	r := rand.New(rand.NewPCG(seed, 0))
	var rs []bench.Result
	for l := range links {
		for range n {
			share := (.2 + .05*float64(l)) * factor * (1 + noise*(2*r.Float64()-1))
			rs = append(rs, result(fmt.Sprintf("link%d", l), "jumpget", share))
		}
	}
	return rs
}

var overall = regexp.MustCompile(`(?m)^\| jumpget \| (.*) \| (.*) \|$`)

func TestCompareFindsASmallChangeOverAllLinks(t *testing.T) {
	// 5 % more on thirteen links, three runs each, 5 % of noise: no link shows it alone.
	text := compare(t, runs(1, 13, 3, 1, .05), runs(2, 13, 3, 1.05, .05))
	if strings.Count(text, "| ~ | ") != 13 {
		t.Errorf("three runs a side have proved something:\n%s", text)
	}
	m := overall.FindStringSubmatch(text)
	if m == nil || !strings.HasPrefix(m[1], "+") || m[2] > "0.05" {
		t.Errorf("over all links: %q\n%s", m, text)
	}
}

func TestCompareCallsNoiseNoise(t *testing.T) {
	wrong := 0
	for seed := range uint64(20) {
		text := compare(t, runs(100+seed, 5, 3, 1, .1), runs(200+seed, 5, 3, 1, .1))
		if m := overall.FindStringSubmatch(text); m == nil {
			t.Fatal(text)
		} else if m[1] != "~" {
			wrong++
		}
	}
	// One in twenty by the test's own meaning; four would happen once in sixty.
	if wrong > 3 {
		t.Errorf("%d of 20 comparisons of the same with the same show a change", wrong)
	}
}

func TestCompareShowsALargeChangeOnOneLink(t *testing.T) {
	text := compare(t, runs(1, 1, 5, 1, .05), runs(2, 1, 5, 2, .05))
	// Five above five: 2 in 252 by chance.
	has(t, text, "| 0.008 |", "| link0 | jumpget |")
	if !regexp.MustCompile(`\+(9|10)\d\.\d %`).MatchString(text) {
		t.Errorf("not twice as much:\n%s", text)
	}
}

func TestCompareOfNothingInCommon(t *testing.T) {
	var b strings.Builder
	err := report.Compare(&b, []bench.Result{result("bad", "wget", .1)}, []bench.Result{result("mild", "wget", .1)})
	if err == nil || b.Len() > 0 {
		t.Errorf("%v, %q", err, b.String())
	}
}

func withSeries(r bench.Result) bench.Result {
	r.Series = &bench.Series{}
	for i := range 50 {
		r.Series.Bytes = append(r.Series.Bytes, uint32(1_000_000+i*1000))
		r.Series.Rival = append(r.Series.Rival, 400_000)
		r.Series.Lost = append(r.Series.Lost, uint32(i%7))
		r.Series.Dropped = append(r.Series.Dropped, 0)
		r.Series.Queue = append(r.Series.Queue, float64(i))
	}
	return r
}

func TestPlotsAreSVGForLightAndDark(t *testing.T) {
	dir := t.TempDir()
	made, err := report.Plots(dir, []bench.Result{
		withSeries(result("bad", "jumpget", .5)), withSeries(result("bad", "wget-bbr", .2)), result("clean", "wget", .8),
		{Link: "bad", Peer: "axel", Size: 30e6, Missing: true},
	})
	check(t, err)
	if len(made) != 2 || made[0].File != "bars-30MB.svg" || made[1].File != "time-bad-30MB.svg" {
		t.Fatalf("%+v", made)
	}
	for _, p := range made {
		b, err := os.ReadFile(filepath.Join(dir, p.File))
		check(t, err)
		text := string(b)
		for dec := xml.NewDecoder(strings.NewReader(text)); ; {
			if _, err := dec.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", p.File, err)
			}
		}
		has(t, text, "prefers-color-scheme: dark", "fill:#24292F", "stroke:#24292F", "jumpget", "wget-bbr")
		// Neither a background nor anything in a colour that one of the pages swallows.
		for _, swallowed := range []string{"#FFFFFF", "#000000", "fill:none\"/>\n<rect"} {
			if strings.Contains(text, swallowed) {
				t.Errorf("%s has %q", p.File, swallowed)
			}
		}
		if strings.Contains(text, "axel") {
			t.Errorf("%s shows a peer that is missing", p.File)
		}
	}
}

func TestDocumentReplacesWhatStoodThere(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "performance.md")
	check(t, os.WriteFile(file, []byte("# Title\n\n<!-- lab report: begin -->\nstale\n<!-- lab report: end -->\n\nThe end.\n"), 0o644))
	rs := []bench.Result{result("bad", "wget", .5)}
	check(t, report.Document(file, filepath.Join(dir, "performance"), rs))
	first, err := os.ReadFile(file)
	check(t, err)
	has(t, string(first), "# Title\n", "| wget | **50** |", "](performance/bars-30MB.svg)", "\nThe end.\n")
	if strings.Contains(string(first), "stale") {
		t.Error("the old report is still there")
	}
	check(t, report.Document(file, filepath.Join(dir, "performance"), rs))
	if second, _ := os.ReadFile(file); string(second) != string(first) {
		t.Errorf("a second report differs:\n%s", second)
	}
	check(t, os.WriteFile(file, []byte("# Title\n"), 0o644))
	if err := report.Document(file, dir, rs); err == nil || !strings.Contains(err.Error(), "no place") {
		t.Errorf("%v", err)
	}
}

func TestReadFiles(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.jsonl")
	check(t, os.WriteFile(empty, nil, 0o644))
	if _, err := report.ReadFiles(empty); err == nil || !strings.Contains(err.Error(), "no results") {
		t.Errorf("%v", err)
	}
	if _, err := report.ReadFiles(empty + ".not"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// TestTheProgramKnowsNothingOfTheLab holds the lab and its libraries out of JumpGet.
func TestTheProgramKnowsNothingOfTheLab(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "github.com/jumpget/jumpget/cmd/jumpget").Output()
	if err != nil {
		t.Skipf("go list: %v", err)
	}
	has(t, string(out), "github.com/jumpget/jumpget/internal/cli")
	for _, foreign := range []string{"gonum.org/", "go-moremath", "jumpget/lab/"} {
		if strings.Contains(string(out), foreign) {
			t.Errorf("the program depends on %s", foreign)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
