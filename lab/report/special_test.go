package report_test

import (
	"strings"
	"testing"

	"github.com/jumpget/jumpget/lab/bench"
	"github.com/jumpget/jumpget/lab/report"
)

func TestHopelessRunsAreMarked(t *testing.T) {
	cut := result("bad", "wget", .01)
	cut.OK, cut.Cut, cut.Error = false, true, "not finished after 30s"
	carried := cut
	carried.Size, carried.From, carried.Seconds, carried.Error = 200e6, 30e6, 0, "left out: 30 MB were too much already"
	good := result("bad", "jumpget", .9)
	large := good
	large.Size = 200e6
	text := table(t, cut, good, good, carried, large, large)
	has(t, text, "### 30 MB, n = 2\n", "### 200 MB, n = 2\n", "| jumpget | **90** (90–90) |", "† one run, which was ended")
	if n := strings.Count(text, "| wget | 1.0† |"); n != 2 {
		t.Errorf("the run that was cut stands in %d tables:\n%s", n, text)
	}
	if n := strings.Count(text, "| bad | wget |"); n != 1 {
		t.Errorf("wget's costs stand in %d tables:\n%s", n, text)
	}
	has(t, report.Line(carried), "wget", "left out: 30 MB")
}

func TestSmallFilesHaveTimes(t *testing.T) {
	quick, slow := result("bad", "jumpget", .02), result("bad", "wget", .01)
	login := result("bad", "ssh-true", 0)
	quick.Seconds, slow.Seconds, login.Seconds = .5, 2, 1.5
	for _, r := range []*bench.Result{&quick, &slow, &login} {
		r.Size, r.RTT = 1e6, .2
	}
	text := table(t, quick, slow, login)
	has(t, text, "### 1 MB, n = 1", "| jumpget | **0.50** (2.5) |", "| wget | 2.00 (10.0) |", "| ssh-true | 1.50 (7.5) |")
	login.Size, login.Seconds = 30e6, 1.5
	has(t, table(t, result("bad", "jumpget", .5), login), "| jumpget | **50** |", "| ssh-true | 1.5 s |")
}

func TestStartAndTailAreInRoundTrips(t *testing.T) {
	r := result("bad", "jumpget", .5)
	r.RTT, r.First, r.Start, r.Tail = .2, .4, .5, .1
	other := result("bad", "axel", .5)
	other.RTT = .2
	text := table(t, r, other)
	has(t, text, "| bad | jumpget | 2.0 | 2.5 | 0.5 |")
	if strings.Contains(text, "| bad | axel | 1.5 | 0.0") {
		t.Error("a start that was not measured stands there as none")
	}
}

func TestListsAreComparedWithOneFile(t *testing.T) {
	one, list := result("bad", "jumpget", .5), result("bad", "jumpget", .4)
	one.Size, list.Size, list.Files = 50e6, 50e6, 1000
	one.Seconds, list.Seconds = 10, 12
	has(t, table(t, one, list), "### 50 MB, n = 1", "### 1000 files, together 50 MB, n = 1", "| bad | jumpget | 10.00 | 12.00 | 1.20 |")
}

func TestDrawnLinksHaveALineEach(t *testing.T) {
	var rs []bench.Result
	for _, c := range []struct {
		link, peer string
		size       int64
		share      float64
	}{
		{"random-1", "jumpget", 30e6, .9},
		{"random-1", "wget", 30e6, .1},
		{"random-1", "hysteria2", 30e6, .6},
		{"random-2", "jumpget", 2e6, .7},
		{"random-2", "wget", 2e6, .8},
		{"random-2", "jumpget-tcp", 2e6, .85},
		{"random-3", "jumpget", 5e6, .8},
		{"random-3", "wget", 5e6, .2},
	} {
		r := result(c.link, c.peer, c.share)
		r.Size, r.Drawn = c.size, "drawn "+c.link
		rs = append(rs, r)
	}
	text := table(t, rs...)
	has(t, text,
		"### Links drawn at random, n = 1",
		"| random-1 | drawn random-1 | 30 | 10 | 60 | 90 | – | 1.50 (hysteria2) |",
		"| random-2 | drawn random-2 | 2 | 80 | – | 70 | 85 | 0.87 (wget) |",
		"| jumpget | 70 | 80 | 90 |",
		"at its worst: 0.87 (wget), on random-2.",
	)
	if n := strings.Count(text, "###"); n != 1 {
		t.Errorf("%d tables", n)
	}
}
