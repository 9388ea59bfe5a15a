package emu_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jumpget/jumpget/lab/emu"
	"github.com/jumpget/jumpget/lab/link"
	"github.com/jumpget/jumpget/lab/topo"
)

// process is an emulator as a process of its own, as in the lab.
type process struct {
	cmd *exec.Cmd
	enc *json.Encoder
	dec *json.Decoder
}

// serve starts an emulator process; its first answer tells whether it is ready.
func serve(t testing.TB, o emu.Options) (*process, emu.Answer) {
	t.Helper()
	options, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", topo.EmulatorCommand, string(options))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	p := &process{cmd, json.NewEncoder(in), json.NewDecoder(out)}
	return p, p.answer(t)
}

func (p *process) answer(t testing.TB) (a emu.Answer) {
	t.Helper()
	if err := p.dec.Decode(&a); err != nil {
		t.Fatal(err)
	}
	return a
}

func (p *process) ask(t testing.TB, c emu.Command) emu.Answer {
	t.Helper()
	if err := p.enc.Encode(c); err != nil {
		t.Fatal(err)
	}
	return p.answer(t)
}

func TestServeSaysWhatIsWrong(t *testing.T) {
	w := newNamespaces(t)
	_, a := serve(t, emu.Options{ClientNS: w.client, RouterNS: "/nowhere"})
	if !strings.Contains(a.Error, "/nowhere") {
		t.Errorf("error %q", a.Error)
	}
}

func TestServeReplacesTheLink(t *testing.T) {
	w := newNamespaces(t)
	p, a := serve(t, emu.Options{ClientNS: w.client, RouterNS: w.router, Seed: 1})
	if a.Error != "" {
		t.Fatal(a.Error)
	}
	w.address(t)
	w.listen(t)
	tx := w.send(t)
	lossy := emu.Configs{Down: link.Config{Loss: 1}, Seed: 2}
	p.ask(t, emu.Command{Replace: &lossy, Reset: true})
	for deadline := time.Now().Add(5 * time.Second); p.ask(t, emu.Command{}).Down.Drops["loss"] == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the new link loses nothing")
		}
		if _, err := tx.Write([]byte("12345678")); err != nil {
			t.Fatal(err)
		}
	}
	before := p.ask(t, emu.Command{Reset: true})
	if after := p.ask(t, emu.Command{}); before.Down.Packets == 0 || after.Down.Packets != 0 {
		t.Errorf("%d packets before the reset, %d after it", before.Down.Packets, after.Down.Packets)
	}
}

// BenchmarkEmulator carries full packets at 800 Mbit/s on one processor and
// tells what came through, how late the emulator was and what it used.
func BenchmarkEmulator(b *testing.B) {
	const rate = 800e6
	w := newNamespaces(b)
	p, a := serve(b, emu.Options{ClientNS: w.client, RouterNS: w.router, Down: link.Config{Rate: rate, Queue: 2_000_000, Delay: 10 * time.Millisecond, Loss: .001}, Seed: 1})
	if a.Error != "" {
		b.Fatal(a.Error)
	}
	pin(b, p.cmd.Process.Pid)
	w.address(b)
	w.listen(b)
	tx := w.send(b)
	blast(tx, 300*time.Millisecond) // fills the queue
	p.ask(b, emu.Command{Reset: true})
	used, start := cpu(b, p.cmd.Process.Pid), time.Now()
	for b.Loop() {
		blast(tx, time.Second)
	}
	elapsed := time.Since(start).Seconds()
	down := p.ask(b, emu.Command{}).Down
	b.ReportMetric(float64(down.OutBytes)*8/elapsed/1e6, "Mbit/s")
	b.ReportMetric(down.Late.P99, "late-p99-ms")
	b.ReportMetric((cpu(b, p.cmd.Process.Pid)-used)/elapsed*100, "cpu-%")
	b.ReportMetric(0, "ns/op")
}

// pin holds a process to the first processor.
func pin(b *testing.B, pid int) {
	b.Helper()
	var first unix.CPUSet
	first.Set(0)
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		b.Fatal(err)
	}
	for _, task := range tasks {
		id, err := strconv.Atoi(filepath.Base(task))
		if err != nil {
			b.Fatal(err)
		}
		if err := unix.SchedSetaffinity(id, &first); err != nil {
			b.Fatal(err)
		}
	}
}

// cpu returns the processor seconds that a process has used.
func cpu(b *testing.B, pid int) float64 {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}
