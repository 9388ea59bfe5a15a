package report_test

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jumpget/jumpget/lab/report"
)

const trace = `{"remote":"10.77.0.2:4000","began":"2026-01-02T03:04:05Z"}
{"at":0.5,"state":"startup","arrived":1250000,"pace":2500000,"capacity":1250000,"rtt":0.2,"base_rtt":0.2,"in_flight":20000,"window":50000,"loss":0.05,"path_loss":0}
{"at":1,"state":"cruise","arrived":2500000,"pace":2500000,"capacity":2500000,"rtt":0.21,"base_rtt":0.2,"in_flight":40000,"window":50000,"loss":0.05,"path_loss":0.05,"queue":0.01}
{"at":2,"state":"up","arrived":2500000,"pace":2500000,"capacity":2500000,"rtt":0.21,"base_rtt":0.2,"in_flight":40000,"window":50000,"loss":0.05,"path_loss":0.05,"queue":0.01}
{"at":2.5,"sta`

func TestTraceIsPlotted(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "trace.jsonl"), filepath.Join(dir, "trace.svg")
	check(t, os.WriteFile(in, []byte(trace), 0o644))
	check(t, report.Trace(in, out, "mild, 100 MB"))
	b, err := os.ReadFile(out)
	check(t, err)
	text := string(b)
	for dec := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	has(t, text, "prefers-color-scheme: dark", "mild, 100 MB", "Mbit/s", "estimate", "pace", "in flight", "base RTT", "queue", "loss, %", "seconds")
	// The first panel's pace is even, and what passed has doubled from the first block to the second.
	lines := regexp.MustCompile(`d="M([0-9.]+),([0-9.]+)L([0-9.]+),([0-9.]+)L([0-9.]+),([0-9.]+)" style="[^"]*(#388BFD|#2DA44E)`).FindAllStringSubmatch(text, -1)
	if len(lines) < 2 {
		t.Fatalf("%d curves of three points in\n%s", len(lines), text)
	}
	number := func(s string) float64 {
		n, err := strconv.ParseFloat(s, 64)
		check(t, err)
		return n
	}
	passed, pace := lines[0], lines[1]
	if rise := math.Abs(number(passed[4]) - number(passed[2])); rise < 10 || number(passed[4]) != number(passed[6]) || number(pace[2]) != number(pace[6]) || number(pace[6]) != number(passed[6]) {
		t.Errorf("passed %q, pace %q", passed, pace)
	}
	if a, b := number(passed[3])-number(passed[1]), number(passed[5])-number(passed[3]); math.Abs(b/a-2) > .01 {
		t.Errorf("the second step is %v times as long as the first, want 2", b/a)
	}
}

func TestWhatIsNoTraceIsSaid(t *testing.T) {
	dir := t.TempDir()
	for text, says := range map[string]string{
		"":                       "no trace",
		"{\"link\":\"bad\"}\n":   "no trace",
		trace[:60]:               "nothing to plot",
		trace[:60] + "[1]\n":     "block 1",
		trace[:60] + "garbage\n": "block 1",
	} {
		in := filepath.Join(dir, "trace.jsonl")
		check(t, os.WriteFile(in, []byte(text), 0o644))
		if err := report.Trace(in, filepath.Join(dir, "x.svg"), ""); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := report.Trace(filepath.Join(dir, "none"), filepath.Join(dir, "x.svg"), ""); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
