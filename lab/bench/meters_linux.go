package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jumpget/jumpget/lab/topo"
)

// meter watches what the processes of client and relay use during a run.
type meter struct {
	before map[int]float64 // processor seconds by process
	peaks  map[topo.Host]map[int]int64
	done   chan struct{}
	ended  chan struct{}
}

var metered = []topo.Host{topo.Client, topo.Relay}

// sampling is how often memory is looked at. The kernel keeps each process's
// peak, so only the growth of a process's last moments can go unseen.
const sampling = 200 * time.Millisecond

// idleSeconds is what a server of another peer may use of a processor while it
// has nothing to do; its memory is not the run's.
const idleSeconds = .02

func startMeter() *meter {
	m := &meter{
		before: map[int]float64{}, peaks: map[topo.Host]map[int]int64{},
		done: make(chan struct{}), ended: make(chan struct{}),
	}
	for _, h := range metered {
		m.peaks[h] = map[int]int64{}
		for _, pid := range processes(h) {
			m.before[pid] = processorSeconds(pid)
			// From here on the peak is that of the run. It says the same after an
			// error, only of a longer time.
			_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0o200)
		}
	}
	go m.watch()
	return m
}

func (m *meter) watch() {
	defer close(m.ended)
	ticker := time.NewTicker(sampling)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			m.sample()
		case <-m.done:
			return
		}
	}
}

func (m *meter) sample() {
	for _, h := range metered {
		for _, pid := range processes(h) {
			m.peaks[h][pid] = peakMemory(pid)
		}
	}
}

// stop puts what has been used into res. The measured command itself has ended
// and is accounted for by state; what runs on is seen by the meter.
func (m *meter) stop(state *os.ProcessState, res *Result) {
	close(m.done)
	<-m.ended
	m.sample()
	used, peak := map[topo.Host]float64{}, map[topo.Host]int64{}
	for _, h := range metered {
		for pid, bytes := range m.peaks[h] {
			before, old := m.before[pid]
			seconds := max(0, processorSeconds(pid)-before) // 0 once it has ended
			used[h] += seconds
			if !old || seconds > idleSeconds {
				peak[h] = max(peak[h], bytes)
			}
		}
	}
	if state != nil {
		used[topo.Client] += state.UserTime().Seconds() + state.SystemTime().Seconds()
	}
	gb := float64(res.Size) / 1e9
	res.ClientCPU, res.RelayCPU = used[topo.Client]/gb, used[topo.Relay]/gb
	res.ClientMem, res.RelayMem = peak[topo.Client], peak[topo.Relay]
}

// processes returns the processes in a host's network namespace.
func processes(h topo.Host) []int {
	want, err := os.Stat(topo.NamespacePath(h))
	if err != nil {
		return nil
	}
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		if ns, err := os.Stat(dir + "/ns/net"); err == nil && os.SameFile(ns, want) {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			pids = append(pids, pid)
		}
	}
	return pids
}

// clockTick is the unit of /proc/PID/stat: USER_HZ, 100 on every Linux.
const clockTick = 100

// processorSeconds returns what a process has used, with its children that have
// ended; 0 if it has ended itself.
func processorSeconds(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	return parseStat(string(b))
}

// parseStat sums utime, stime, cutime and cstime (proc(5), fields 14 to 17).
func parseStat(stat string) (seconds float64) {
	// The command's name may hold spaces and brackets; the fields go on behind its
	// last bracket.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 15 {
		return 0
	}
	for _, f := range fields[11:15] {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return 0
		}
		seconds += n / clockTick
	}
	return seconds
}

// peakMemory returns a process's peak resident set in bytes.
func peakMemory(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kb * 1024
		}
	}
	return 0
}
