package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jumpget/jumpget/lab/bench"
	"github.com/jumpget/jumpget/lab/labtest"
	"github.com/jumpget/jumpget/lab/profile"
)

// planned runs lanes that last as long as their files need, in virtual time, and
// returns when each began, and the largest sum of their rates in Mbit/s.
func planned(t *testing.T, budget float64, links ...string) (began map[string]time.Duration, most float64) {
	t.Helper()
	found, err := profile.Find(links...)
	check(t, err)
	l := lanes{prefix: "plan-test", budget: budget * 1e6}
	for _, p := range found {
		l.orders = append(l.orders, order{Options: bench.Options{Links: []profile.Profile{p}, Sizes: []int64{30e6}}})
	}
	began = map[string]time.Duration{}
	start, now := time.Now(), 0.0
	var mu sync.Mutex
	add := func(mbit float64) {
		mu.Lock()
		defer mu.Unlock()
		now += mbit
		most = max(most, now)
	}
	l.start = func(_ context.Context, name string, o order) error {
		mu.Lock()
		began[strings.TrimPrefix(name, "plan-test-")] = time.Since(start)
		mu.Unlock()
		add(o.weight() / 1e6)
		defer add(-o.weight() / 1e6)
		time.Sleep(time.Duration(o.seconds() * float64(time.Second)))
		return nil
	}
	check(t, l.run(context.Background()))
	return began, most
}

func TestLanesKeepToTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, most := planned(t, 120, "giga", "bad", "policed", "seed", "bloated", "extreme", "awful")
		if len(began) != 7 || most != 800 {
			t.Errorf("%v, at most %v Mbit/s", began, most)
		}
		for _, first := range []string{"bloated", "extreme", "seed", "awful"} {
			if began[first] != 0 {
				t.Errorf("%s began after %v", first, began[first])
			}
		}
		if began["policed"] == 0 || began["giga"] < began["bad"] {
			t.Errorf("%v", began)
		}
		if _, most := planned(t, 120, "bad", "policed", "seed", "bloated", "extreme", "awful"); most > 120 {
			t.Errorf("%v Mbit/s at once", most)
		}
		// Without a budget: one after the other, in their order.
		began, most = planned(t, 0, "clean", "seed", "bad")
		if most != 100 || began["clean"] != 0 || began["seed"] <= began["clean"] || began["bad"] <= began["seed"] {
			t.Errorf("%v, at most %v Mbit/s", began, most)
		}
	})
}

func TestAnErrorEndsAllLanes(t *testing.T) {
	found, err := profile.Find("seed", "bloated", "clean", "mild")
	check(t, err)
	l := lanes{prefix: "error-test", budget: 30e6}
	for _, p := range found {
		l.orders = append(l.orders, order{Options: bench.Options{Links: []profile.Profile{p}, Sizes: []int64{1}}})
	}
	broken := errors.New("broken")
	var mu sync.Mutex
	var began []string
	l.start = func(ctx context.Context, name string, _ order) error {
		mu.Lock()
		began = append(began, name)
		mu.Unlock()
		if name == "error-test-seed" {
			return broken
		}
		<-ctx.Done()
		return ctx.Err()
	}
	if err := l.run(context.Background()); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if slices.Sort(began); !slices.Equal(began, []string{"error-test-bloated", "error-test-seed"}) {
		t.Errorf("%q have begun", began)
	}
}

// TestBenchInLanes runs a real benchmark on two links side by side, twice.
func TestBenchInLanes(t *testing.T) {
	labtest.Need(t, "nginx", "wget", "ping")
	dir := t.TempDir()
	program, results := filepath.Join(dir, "jumpget"), filepath.Join(dir, "results.jsonl")
	check(t, os.WriteFile(program, nil, 0o755))
	args := []string{
		"bench", "--prefix", "lanes-test", "--jumpget", program, "--links", "seed,bloated", "--peers", "wget-bbr", "--mb", "0.1,0.2", "-n", "2",
		"--parallel-rate", "30", "--out", results, "--resume",
	}
	for run := range 2 {
		out, errs, code := lab(t, args...)
		if code != 0 || strings.Count(errs, "wget-bbr") != 8*(1-run) {
			t.Fatalf("run %d: exit code %d\n%s", run, code, errs)
		}
		for _, part := range []string{"| wget-bbr |", "0.1 MB, n = 2", "0.2 MB, n = 2", "seed", "bloated"} {
			if !strings.Contains(out, part) {
				t.Errorf("there is no %q in\n%s", part, out)
			}
		}
	}
}
