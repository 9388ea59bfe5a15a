package scenario_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jumpget/jumpget/lab/link"
	"github.com/jumpget/jumpget/lab/profile"
	"github.com/jumpget/jumpget/lab/scenario"
)

func parse(t *testing.T, line string) scenario.Scenario {
	t.Helper()
	s, err := scenario.ParseLine(line)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBuiltinScenarios(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range scenario.All() {
		if s.About == "" || seen[s.Name] {
			t.Errorf("%s: no word on what it stands for, or its name stands twice", s.Name)
		}
		seen[s.Name] = true
	}
	for _, name := range []string{"halved", "worse", "udpdies", "roams", "gone", "cubic", "rival", "ping"} {
		if !seen[name] {
			t.Errorf("there is no scenario %s", name)
		}
	}
}

func TestEventsChangeBothDirections(t *testing.T) {
	s := parse(t, "x rival=wget ping 1s:rate=x0.5 2s:loss=0.2 3s:udp=none 4s:gone 5s:back 6s:roam | why")
	if s.Rival != "wget" || !s.Ping || s.About != "why" || len(s.Events) != 6 {
		t.Fatalf("%+v", s)
	}
	down, up := link.Config{Rate: 100}, link.Config{Rate: 10}
	for i, check := range []func() bool{
		func() bool { return down.Rate == 50 && up.Rate == 5 },
		func() bool { return down.Loss == .2 && up.Loss == .1 },
		func() bool { return down.NoUDP && up.NoUDP },
		func() bool { return down.Down && up.Down },
		func() bool { return !down.Down && !up.Down },
		func() bool { return s.Events[5].Roam && down.Rate == 50 && down.Loss == .2 && down.NoUDP },
	} {
		down, up = s.Events[i].Apply(down, up)
		if s.Events[i].At != time.Duration(i+1)*time.Second || !check() {
			t.Errorf("after %v: %+v, %+v", s.Events[i], down, up)
		}
	}
}

func TestCapacityFollowsTheEvents(t *testing.T) {
	p, err := profile.ParseLine("x rate=10M rtt=10ms loss=0.1")
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]float64{
		"x":                                    45e6,          // 5 s of 9 Mbit/s
		"x 2s:rate=x0.5":                       18e6 + 13.5e6, // 2 s of 9, 3 s of 4.5
		"x 1s:gone 3s:back":                    27e6,
		"x 1s:loss=0.5 4s:loss=0":              9e6 + 15e6 + 10e6,
		"x 7s:rate=x0.1":                       45e6, // after the end
		"x rival=cubic ping 3s:roam 4s:roam":   45e6,
		"x 1s:udp=none 1s:rate=x2 2s:udp=open": 9e6 + 72e6,
	} {
		if got := parse(t, line).Capacity(p, 5*time.Second); math.Abs(got-want) > 1 {
			t.Errorf("%s: %g bits, want %g", line, got, want)
		}
	}
}

func TestBadLines(t *testing.T) {
	for line, part := range map[string]string{
		"|":                 "a name",
		"x fast":            "neither",
		"x soon:roam":       "not a time",
		"x 1s:explode":      "no event",
		"x 1s:rate=5":       "factor",
		"x 1s:rate=x0":      "factor",
		"x 1s:loss=2":       "share",
		"x 1s:udp=maybe":    "neither none nor open",
		"x 3s:gone 1s:back": "order",
	} {
		if _, err := scenario.ParseLine(line); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: got %v, want an error with %q", line, err, part)
		}
	}
}

func TestUnknownNameListsTheKnown(t *testing.T) {
	if _, err := scenario.Find("halfed"); err == nil || !strings.Contains(err.Error(), "halved") {
		t.Errorf("got %v", err)
	}
	none, err := scenario.Find()
	if err != nil || len(none) != 1 || none[0].Name != "" {
		t.Errorf("no names: %v, %v", none, err)
	}
}
