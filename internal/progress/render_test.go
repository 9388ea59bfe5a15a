package progress

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func snapshot(have, size int64) Snapshot {
	return Snapshot{
		Download: 1, Name: "f.iso", Size: size, Have: have, Verified: have, Rate: 25.3e6, ETA: 24 * time.Second,
		Origin: Origin{State: "fetching", Received: 61, Size: 100, Rate: 12.1e6},
		Paths:  []Path{{Name: PathTCP, Conns: 8, Rate: 24.9e6, RTT: 31 * time.Millisecond, Loss: 0.004}, {Name: PathSSH, Conns: 1, Rate: 4e5, Loss: -1}},
	}
}

func TestLinesEvery10SecondsOr10Percent(t *testing.T) {
	c := newClock()
	var out bytes.Buffer
	l := newLines(&out, Options{}, c.now)
	step := func(d time.Duration, have int64, wantLine bool) {
		t.Helper()
		c.pass(d)
		out.Reset()
		l.Report(Progress{snapshot(have, 1000)})
		if got := out.Len() > 0; got != wantLine {
			t.Errorf("at %d: wrote %q", have, out.String())
		}
	}
	step(0, 0, false)
	step(5*time.Second, 10, false)
	step(5*time.Second, 20, true)            // 10 s
	step(2*time.Second, 130, true)           // 11 %
	step(500*time.Millisecond, 400, false)   // too soon after the last
	step(500*time.Millisecond, 500, true)    // now
	step(9999*time.Millisecond, 501, false)  // nearly
	step(time.Millisecond, 501, true)        // a stall is told too
	step(10*time.Second, 501, true)          // and told again
	step(100*time.Millisecond, 1000, false)  // the summary tells the end
	step(20*time.Second, 0, true)            // it started over
	step(10*time.Millisecond, 1000, false)   // too soon
	step(1000*time.Millisecond, 1000, true)  // all of it
	step(1000*time.Millisecond, 1000, false) // nothing new
}

func TestLineText(t *testing.T) {
	s := snapshot(420<<20, 1000<<20)
	want := "42 %, 420 MiB of 1000 MiB, 25.3 MB/s, 24 s left, relay: 61 % at 12.1 MB/s"
	if got := progressText(s); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	s.Size, s.ETA, s.Origin.Size, s.Origin.Received = Unknown, -1, Unknown, 5<<20
	want = "420 MiB of unknown, 25.3 MB/s, relay: 5.0 MiB at 12.1 MB/s"
	if got := progressText(s); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// events is a run with hostile words wherever somebody outside may choose them.
func events() []Event {
	const evil = "\x1b[2J\u202e\u009b\r\n"
	s := snapshot(5, 10)
	s.Name, s.Origin.State, s.Paths[0].Name = "f"+evil, "odd"+evil, "p"+evil
	return []Event{
		Submitted{1, "https://h/" + evil, "job" + evil, "me@vps"},
		Progress{s},
		PathChange{1, PathTCP, PathDown, "reset" + evil},
		Note{1, "the origin's file changed, starting over" + evil, Info},
		Note{1, "detail" + evil, Detail},
		Note{1, "careful" + evil, Warning},
		Progress{s},
		Done{Download: 1, File: "f" + evil, Size: 10, SHA256: "ab" + evil, Paths: []PathUse{{"p" + evil, 10, 1}}},
		Failed{Download: 2, URL: "https://h/2" + evil, Code: "disk", Exit: 3, Message: "full" + evil, Hint: "make room" + evil},
	}
}

func report(r Renderer) error {
	for _, e := range events() {
		r.Report(e)
	}
	return r.Close()
}

func TestNoControlCharacterReachesTheOutput(t *testing.T) {
	for _, mode := range []Mode{Plain, None, Quiet} {
		var out bytes.Buffer
		if err := report(New(&out, Options{Mode: mode, Verbose: true, Color: true, Terminal: true, Term: "xterm"})); err != nil {
			t.Error(err)
		}
		for _, line := range strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n") {
			if !harmless(line) {
				t.Errorf("%s: %q", mode, line)
			}
		}
	}
	var out bytes.Buffer
	if err := report(NewJSON(&out)); err != nil {
		t.Error(err)
	}
	for _, line := range strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n") {
		if !harmless(line) {
			t.Errorf("json: %q", line)
		}
	}
}

func TestModesSayWhatTheyPromise(t *testing.T) {
	run := func(o Options) string {
		var out bytes.Buffer
		if err := report(New(&out, o)); err != nil {
			t.Error(err)
		}
		return out.String()
	}
	has := func(name, out string, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Errorf("%s does not say %q:\n%s", name, w, out)
			}
		}
	}
	verbose := run(Options{Mode: Plain, Verbose: true})
	has("verbose", verbose, "starting over", "detail", "warning: ", "path tcp down: reset", "verified sha256", "submitted to me@vps")
	plain := run(Options{Mode: Plain})
	has("plain", plain, "starting over", "warning: ", "verified sha256", "full", "make room")
	if strings.Contains(plain, "detail") || strings.Contains(plain, "path tcp") {
		t.Errorf("plain says too much:\n%s", plain)
	}
	has("none", run(Options{Mode: None}), "starting over", "verified sha256", "full")
	quiet := run(Options{Mode: Quiet, Verbose: true})
	has("quiet", quiet, "full", "make room")
	if strings.Count(quiet, "\n") != 2 {
		t.Errorf("quiet says more than the failure:\n%s", quiet)
	}
}

func TestBarsNeedACapableTerminal(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	for name, r := range map[string]Renderer{
		"no terminal":   New(null, Options{Mode: Auto}),
		"TERM=dumb":     New(null, Options{Mode: Bar, Terminal: true, Term: "dumb"}),
		"not a file":    New(io.Discard, Options{Mode: Bar, Terminal: true, Term: "xterm"}),
		"plain":         New(null, Options{Mode: Plain, Terminal: true, Term: "xterm"}),
		"the zero mode": New(null, Options{}),
	} {
		if _, ok := r.(*lines); !ok {
			t.Errorf("%s: got %T", name, r)
		}
	}
}

// failing is an output that breaks, as a closed pipe does.
type failing struct{ after int }

var errBroken = errors.New("broken pipe")

func (f *failing) Write(b []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, errBroken
	}
	return len(b), nil
}

func TestWriteErrorsComeBackFromClose(t *testing.T) {
	for n := range 3 {
		if err := report(New(&failing{n}, Options{})); !errors.Is(err, errBroken) {
			t.Errorf("lines, write %d: %v", n, err)
		}
		if err := report(NewJSON(&failing{n})); !errors.Is(err, errBroken) {
			t.Errorf("json, write %d: %v", n, err)
		}
	}
}

func TestNothingIsWrittenAfterClose(t *testing.T) {
	var out bytes.Buffer
	for _, r := range []Renderer{New(&out, Options{}), NewJSON(&out)} {
		if err := report(r); err != nil {
			t.Error(err)
		}
		n := out.Len()
		r.Report(Done{Download: 3, File: "late"})
		if out.Len() != n {
			t.Error("something was written after Close")
		}
	}
}

func TestReportIsSafeForConcurrentUse(t *testing.T) {
	for _, r := range []Renderer{New(io.Discard, Options{Verbose: true}), NewJSON(io.Discard)} {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for _, e := range events() {
					r.Report(e)
				}
			})
		}
		wg.Wait()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The JSON is a promise to other programs: a change of this text is a change of
// docs/json.md, and may only add.
func TestJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		j := NewJSON(&out)
		s := snapshot(420, 1000)
		j.Report(Submitted{1, "https://h/f.iso", "abc", "me@vps"})
		j.Report(Progress{s})
		time.Sleep(499 * time.Millisecond)
		j.Report(Progress{s}) // too soon
		time.Sleep(time.Millisecond)
		unknown := Snapshot{Download: 1, Size: Unknown, ETA: -1, Rate: math.NaN(), Origin: Origin{State: "queued", Size: Unknown, Rate: math.Inf(1)}}
		j.Report(Progress{unknown})
		j.Report(PathChange{1, PathTCP, PathDown, "reset"})
		j.Report(Note{1, "starting \u202eover\x1b", Warning})
		j.Report(Done{Download: 1, URL: "https://h/f.iso", File: "f\U000e0041.iso", Size: 1000, SHA256: "ab", Rate: 25.6, Duration: 41500 * time.Millisecond, Verified: 3, Resumed: 5, Paths: []PathUse{{PathTCP, 995, 8}}, LengthVerified: true})
		j.Report(Failed{Download: 1, URL: "https://h/f.iso", File: "f.iso", Code: "disk", Exit: 3, Message: "the disk is full", Hint: "make room"})
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile("testdata/events.jsonl")
		if err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != string(want) {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		for line := range strings.Lines(out.String()) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil || m["event"] == "" || m["time"] == "" {
				t.Errorf("%q: %v", line, err)
			}
			if _, err := time.Parse(time.RFC3339, fmt.Sprint(m["time"])); err != nil {
				t.Error(err)
			}
			if m["event"] == "done" && m["file"] != "f\U000e0041.iso" {
				t.Errorf("the escape changed the name: %q", m["file"])
			}
		}
	})
}

// bundled is what is told of three files that came as one.
func bundled(r Renderer) {
	r.Report(Progress{Snapshot{Download: 9, Name: "3 files from h", Size: 10, ETA: -1, Files: 3, FilesDone: 1}})
	r.Report(Done{Download: 2, URL: "https://h/a", File: "a", Size: 7, SHA256: "cd", Duration: time.Second, LengthVerified: true, Bundled: true, Bundle: 9})
	r.Report(Failed{Download: 3, URL: "https://h/b", Code: "network", Exit: 4, Message: "cut", Hint: "again", Bundled: true, Bundle: 9})
	r.Report(Failed{Download: 4, URL: "https://h/c", Code: "origin_status", Exit: 8, Message: "404"})
	r.Report(Bundle{Download: 9, Files: 1, Failed: 2, Alone: 1, Size: 7, Rate: 3.4, Duration: 2 * time.Second, Paths: []PathUse{{PathUDP, 9, 1}}})
}

func TestBundlesInJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		bundled(NewJSON(&out))
		for _, want := range []string{
			`"name":"3 files from h",`, `,"files":3,"files_done":1}`,
			`"event":"done","time":"2000-01-01T00:00:00Z","download":2,"url":"https://h/a","file":"a",`, `"paths":[],"bundle":9}`,
			`"download":3,"url":"https://h/b","file":"","code":"network","exit":4,"message":"cut","hint":"again","bundle":9}`,
			`"exit":8,"message":"404","hint":""}`,
			`{"event":"bundle","time":"2000-01-01T00:00:00Z","download":9,"files":1,"failed":2,"alone":1,"size":7,"rate":3,"duration":2,"paths":[{"path":"udp","bytes":9,"connections":1}]}`,
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("nowhere %s in\n%s", want, &out)
			}
		}
	})
}

// A person is told of all files at once, unless they asked for more.
func TestBundlesForPeople(t *testing.T) {
	const all = "one file  7 B in 2.0 s, 3 B/s over UDP; 2 failed; 1 too large or slow to come with them\n"
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, "jumpget: https://h/c: 404\n" + all},
		{Options{Mode: Quiet}, "jumpget: https://h/c: 404\n"},
		{Options{Verbose: true}, "a  7 B, verified sha256 cd\njumpget: https://h/b: cut\n         again\njumpget: https://h/c: 404\n" + all},
	} {
		var out bytes.Buffer
		bundled(New(&out, c.o))
		if out.String() != c.want {
			t.Errorf("%+v:\n%s\nwant\n%s", c.o, &out, c.want)
		}
	}
	if line := progressText(Snapshot{Size: 10, ETA: -1, Files: 3, FilesDone: 1}); !strings.Contains(line, "1 of 3 files") {
		t.Errorf("progress: %s", line)
	}
	if line := drawLegs(Snapshot{Size: 10, Files: 3, FilesDone: 1}, 80, false); !strings.Contains(line, "1 of 3 files") {
		t.Errorf("progress on a terminal: %s", line)
	}
}
