package bench

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jumpget/jumpget/lab/emu"
	"github.com/jumpget/jumpget/lab/topo"
)

func TestResultsSurviveAKilledRun(t *testing.T) {
	var b bytes.Buffer
	want := []Result{
		{Link: "bad", Peer: "wget", Time: time.Unix(1, 0).UTC(), Share: .5, OK: true},
		{Link: "bad", Peer: "curl", Time: time.Unix(2, 0).UTC(), Sharing: &Sharing{Own: .4}},
	}
	if err := Write(&b, want...); err != nil {
		t.Fatal(err)
	}
	whole := b.String()
	for _, text := range []string{whole, whole + `{"time":"20`} {
		got, err := Read(strings.NewReader(text))
		if err != nil || len(got) != 2 || got[0].Peer != "wget" || got[1].Sharing.Own != .4 {
			t.Errorf("%v, %+v", err, got)
		}
	}
	if _, err := Read(strings.NewReader("no json\n")); err == nil {
		t.Error("what is no result was read")
	}
}

func TestParsePing(t *testing.T) {
	p := parsePing(`PING 10.77.1.2 (10.77.1.2) 56(84) bytes of data.
64 bytes from 10.77.1.2: icmp_seq=1 ttl=62 time=20.0 ms
64 bytes from 10.77.1.2: icmp_seq=2 ttl=62 time=40.0 ms
From 10.77.3.1 icmp_seq=3 Destination Host Unreachable
64 bytes from 10.77.1.2: icmp_seq=4 ttl=62 time=30 ms

--- 10.77.1.2 ping statistics ---
6 packets transmitted, 3 received, 50% packet loss, time 3050ms
`)
	if p.N != 3 || p.Mean != 30 || p.P50 != 30 || p.P99 != 40 || p.Lost != .25 {
		t.Errorf("%+v", p)
	}
	if p := parsePing("PING 10.77.1.2\n"); p.N != 0 || p.Lost != 1 {
		t.Errorf("no reply: %+v", p)
	}
}

func TestSharing(t *testing.T) {
	// For two seconds the rival has the whole of 8 Mbit/s, then each has half.
	var series []emu.Step
	for range 2 * perSecond {
		series = append(series, emu.Step{OutBytes: 100_000, Guest: 100_000})
	}
	for range 8 * perSecond {
		series = append(series, emu.Step{OutBytes: 100_000, Guest: 50_000})
	}
	s := sharing(series, 8e6)
	if math.Abs(s.Own-.4) > 1e-9 || math.Abs(s.Rival-.6) > 1e-9 || s.Fairness != 1 || math.Abs(s.Converged-2.9) > .11 {
		t.Errorf("%+v", s)
	}
	if f := jain(1, 0); f != .5 {
		t.Errorf("one has all: %v", f)
	}
	if s := sharing(nil, 8e6); *s != (Sharing{}) {
		t.Errorf("no series: %+v", s)
	}
}

func TestParseStat(t *testing.T) {
	stat := "12 (a b) c) S 1 1 1 0 -1 4194560 100 0 0 0 150 50 25 75 20 0 1 0 100"
	if got := parseStat(stat); got != 3 {
		t.Errorf("%v s, want 3", got)
	}
	if got := parseStat("12 (x) S 1"); got != 0 {
		t.Errorf("short: %v", got)
	}
}

func TestSays(t *testing.T) {
	if got := says("one\ntwo\n  three\nfour\n\n"); got != "two; three; four" {
		t.Errorf("%q", got)
	}
	if got := says(""); got != "" {
		t.Errorf("%q", got)
	}
}

func TestGrowthTellsStartAndTail(t *testing.T) {
	// 0.7 s of nothing, then 10 MB/s, then 0.3 s for the last bytes.
	const size = 20_000_000
	g := growth{}
	for at := 0.005; at < 3; at += .005 {
		g.samples = append(g.samples, grown{at, min(int64(max(0, at-.7)*10e6), size-1000)})
	}
	start, tail := g.ends(size, 3, 2, .2)
	if math.Abs(start-.7) > .01 || math.Abs(tail-.3) > .01 {
		t.Errorf("start %v, tail %v", start, tail)
	}
	for why, g := range map[string]growth{
		"no samples":      {},
		"room reserved":   {samples: []grown{{.1, size}}},
		"kept in memory":  {samples: []grown{{.1, 0}, {2.8, 0}, {2.9, size}}},
		"ends at a third": {samples: []grown{{.1, 0}, {2.9, size / 3}}},
		"comes in steps":  {samples: []grown{{.05, 0}, {.1, size / 4}, {2.9, size / 4}, {2.95, size}}},
	} {
		if start, tail := g.ends(size, 3, 2, .2); start != 0 || tail != 0 {
			t.Errorf("%s: start %v, tail %v", why, start, tail)
		}
	}
	if start, tail := g.ends(size, 3, 2, .5); start != 0 || tail != 0 {
		t.Errorf("a short file: start %v, tail %v", start, tail)
	}
}

func TestReservedRoomIsNotWritten(t *testing.T) {
	if !topo.Inside() {
		t.Skip("only on a sandbox's tmpfs")
	}
	dir, err := os.MkdirTemp(topo.WorkDir, "reserved-")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(f.Close(), os.RemoveAll(dir)) }()
	const page = 4096
	if err := unix.Fallocate(int(f.Fd()), 0, 0, 1000*page); err != nil {
		t.Fatal(err)
	}
	if n := bytesIn(dir); n != 0 {
		t.Errorf("%d bytes in a file that is only reserved", n)
	}
	for _, at := range []int64{0, 5, 6, 999} {
		if _, err := f.WriteAt(make([]byte, page), at*page); err != nil {
			t.Fatal(err)
		}
	}
	if n := bytesIn(dir); n != 4*page {
		t.Errorf("%d bytes, want four pages", n)
	}
}
