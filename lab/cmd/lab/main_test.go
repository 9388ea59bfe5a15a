//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jumpget/jumpget/lab/bench"
	"github.com/jumpget/jumpget/lab/labtest"
	"github.com/jumpget/jumpget/lab/profile"
	"github.com/jumpget/jumpget/lab/topo"
)

// asLab in the environment makes the test's binary the lab.
const asLab = "LAB_TEST_LAB"

func TestMain(m *testing.M) {
	if code, done := labtest.Emulate(); done {
		os.Exit(code)
	}
	if os.Getenv(asLab) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// lab runs the program as a process and returns what it says and its exit code.
func lab(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), asLab+"=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestShellIsBehindTheLink(t *testing.T) {
	labtest.Need(t, "ping")
	out, errs, code := lab(t, "shell", "bad", "ping", "-c", "40", "-i", "0.05", "-q", topo.OriginAddr)
	m := regexp.MustCompile(`, ([0-9.]+)% packet loss[^=]*= ([0-9.]+)/([0-9.]+)/`).FindStringSubmatch(out)
	if code != 0 || m == nil {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	loss, _ := strconv.ParseFloat(m[1], 64)
	least, _ := strconv.ParseFloat(m[2], 64)
	// 40 pings at 7.4 % both ways: more than 12 lost would be one run in ten thousand.
	if loss > 30 || least < 200 || least > 205 {
		t.Errorf("ping says %s %% loss and at least %s ms", m[1], m[2])
	}
}

func TestShellPassesTheExitCodeOn(t *testing.T) {
	labtest.Need(t)
	if _, errs, code := lab(t, "shell", "clean", "sh", "-c", "exit 7"); code != 7 || errs != "" {
		t.Errorf("exit code %d, %q", code, errs)
	}
}

func TestBadInputIsOneLine(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "jumpget")
	check(t, os.WriteFile(program, nil, 0o755))
	noResults := filepath.Join(dir, "empty.jsonl")
	check(t, os.WriteFile(noResults, nil, 0o644))
	for _, c := range []struct{ says, args string }{
		{`no link named "bat"; there are clean, mild`, "shell bat"},
		{`no link named "bat"`, "bench --links bat"},
		{`no peer named "wgt"; there are wget`, "bench --peers wgt"},
		{`no scenario named "x"; there are halved`, "bench --scenarios x"},
		{"build it with `make build`", "bench --jumpget /nowhere/jumpget"},
		{"above 0", "bench --mb 0 --jumpget " + program},
		{"above 0", "bench --mb 30,-1 --jumpget " + program},
		{"two choices", "bench --random 3 --links bad --jumpget " + program},
		{"up to 100000", "bench --files 100001 --jumpget " + program},
		{"unknown flag", "bench --fast"},
		{"no such file", "report /nowhere.jsonl"},
		{"no results", "report " + noResults},
		{"no such file", "trace /nowhere.jsonl"},
		{"no trace", "trace " + noResults},
		{"no such file", "compare /nowhere.jsonl " + noResults},
		{"no lab", "stop no-such-lab"},
	} {
		_, errs, code := lab(t, strings.Fields(c.args)...)
		if code == 0 || !strings.Contains(errs, c.says) || !strings.HasPrefix(errs, "lab: ") || strings.Count(errs, "\n") != 1 {
			t.Errorf("lab %s: exit code %d, %q", c.args, code, errs)
		}
	}
}

func TestListNamesAll(t *testing.T) {
	out, _, code := lab(t, "list")
	for _, name := range []string{"giga", "halved", "jumpget-cold"} {
		if code != 0 || !strings.Contains(out, name) {
			t.Errorf("exit code %d, no %s in\n%s", code, name, out)
		}
	}
}

func TestResultsAreAppendedAfterTheLastWholeLine(t *testing.T) {
	name := filepath.Join(t.TempDir(), "results.jsonl")
	for _, c := range []struct{ before, after string }{{"", "{}\n"}, {"{\"a\":1}\n{\"b", "{\"a\":1}\n{}\n"}, {"{\"a\":1}\n", "{\"a\":1}\n{}\n"}} {
		check(t, os.WriteFile(name, []byte(c.before), 0o644))
		f, err := openResults(name)
		check(t, err)
		_, err = io.ReadAll(f)
		check(t, err)
		_, err = fmt.Fprintln(f, "{}")
		check(t, err)
		check(t, f.Close())
		if got, _ := os.ReadFile(name); string(got) != c.after {
			t.Errorf("%q became %q, want %q", c.before, got, c.after)
		}
	}
}

func TestOnlyRunsOfTheCommitAndTheLinkAreDone(t *testing.T) {
	have := done([]bench.Result{
		{Commit: "new", Link: "bad", Peer: "wget", Series: &bench.Series{}}, {Commit: "old", Link: "bad", Peer: "curl"}, {Commit: "new", Link: "mild", Peer: "axel"},
	}, "new", "bad")
	if len(have) != 1 || have[0].Peer != "wget" || have[0].Series != nil {
		t.Errorf("%+v", have)
	}
}

func TestSizesFitTheLink(t *testing.T) {
	found, err := profile.Find("bad", "bloated")
	check(t, err)
	b := benchFlags{seconds: 10}
	if got := slices.Concat(b.sizes(found[0]), b.sizes(found[1])); !slices.Equal(got, []int64{120e6, 12e6}) {
		t.Errorf("%d", got)
	}
	b = benchFlags{megabytes: []float64{.1, 30, 30}}
	if got := b.sizes(found[0]); !slices.Equal(got, []int64{100e3, 30e6}) {
		t.Errorf("%d", got)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
