package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/jumpget/jumpget/lab/topo"
)

// meters is what the processes of client and relay have used so far.
type meters struct {
	client, relay map[int]float64 // processor seconds by process
	relayMem      int64           // bytes, the peak since the last look
}

// meters reads the processes' use and starts the relay's memory peak anew.
func (r *runner) meters() meters {
	m := meters{client: processorSeconds(topo.Client), relay: processorSeconds(topo.Relay)}
	if c := r.servers.relay; c != nil && c.Process != nil {
		m.relayMem = peakMemory(c.Process.Pid)
	}
	return m
}

// since puts what has been used since before into res. The command itself has
// ended and is accounted for by state; what runs on is seen in both readings.
func (m meters) since(before meters, state *os.ProcessState, res *Result) {
	gb := float64(res.Size) / 1e9
	client := grown(before.client, m.client)
	if state != nil {
		client += state.UserTime().Seconds() + state.SystemTime().Seconds()
		if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
			res.ClientMem = usage.Maxrss * 1024
		}
	}
	res.ClientCPU = client / gb
	res.RelayCPU = grown(before.relay, m.relay) / gb
	res.RelayMem = m.relayMem
}

// grown sums the growth of every process that is in after; one that was not
// there before has grown from nothing.
func grown(before, after map[int]float64) float64 {
	sum := 0.0
	for pid, s := range after {
		sum += s - before[pid]
	}
	return sum
}

// clockTick is the unit of /proc/PID/stat: USER_HZ, 100 on every Linux.
const clockTick = 100

// processorSeconds returns what each process of a host has used, with its
// children that have ended.
func processorSeconds(h topo.Host) map[int]float64 {
	used := map[int]float64{}
	want, err := os.Stat(topo.NamespacePath(h))
	if err != nil {
		return used
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		if ns, err := os.Stat(dir + "/ns/net"); err != nil || !os.SameFile(ns, want) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if s, ok := parseStat(dir + "/stat"); ok {
			used[pid] = s
		}
	}
	return used
}

// parseStat sums utime, stime, cutime and cstime (proc(5), fields 14 to 17).
func parseStat(name string) (seconds float64, ok bool) {
	b, err := os.ReadFile(name)
	if err != nil {
		return 0, false
	}
	// The command's name may hold spaces; the fields go on behind its bracket.
	_, rest, found := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 15 {
		return 0, false
	}
	for _, f := range fields[11:15] {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return 0, false
		}
		seconds += n / clockTick
	}
	return seconds, true
}

// peakMemory returns a process's peak resident set and starts the peak anew.
func peakMemory(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0o200)
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kb * 1024
		}
	}
	return 0
}
