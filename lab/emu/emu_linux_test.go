package emu_test

import (
	"encoding/binary"
	"errors"
	"math"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jumpget/jumpget/lab/emu"
	"github.com/jumpget/jumpget/lab/link"
	"github.com/jumpget/jumpget/lab/netns"
)

// The tests carry real packets through real TUN devices. Their namespaces have
// no names: they live as long as the test holds them open.

type wire struct {
	client, router string // namespace paths
	emu            *emu.Emulator
}

// newNamespace makes a network namespace and returns a path to it.
func newNamespace(t *testing.T) string {
	t.Helper()
	type made struct {
		file *os.File
		err  error
	}
	result := make(chan made, 1)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			result <- made{err: err}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		result <- made{f, err}
	}()
	m := <-result
	if m.err != nil {
		t.Fatal(m.err)
	}
	t.Cleanup(func() { m.file.Close() })
	return "/proc/self/fd/" + strconv.Itoa(int(m.file.Fd()))
}

func newWire(t *testing.T, down, up link.Config) *wire {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the emulator needs root: run the tests with sudo to include it")
	}
	if f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err != nil {
		t.Skipf("the emulator needs TUN: %v", err)
	} else {
		f.Close()
	}
	w := &wire{client: newNamespace(t), router: newNamespace(t)}
	e, err := emu.Start(emu.Options{ClientNS: w.client, RouterNS: w.router, Down: down, Up: up, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	w.emu = e
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	for ns, addr := range map[string]string{w.client: "10.99.0.2/24", w.router: "10.99.0.1/24"} {
		err := netns.Do(ns, func() error {
			// IPv6 would send packets of its own, and every packet is counted here.
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0o644); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			for _, args := range [][]string{
				{"addr", "add", addr, "dev", emu.Device},
				{"link", "set", emu.Device, "up", "txqueuelen", "20000"},
			} {
				if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
					return errors.New(string(out))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// listen opens a UDP socket at the client's end.
func (w *wire) listen(t *testing.T) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	err := netns.Do(w.client, func() (err error) {
		c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 99, 0, 2), Port: 9})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadBuffer(8 << 20)
	t.Cleanup(func() { c.Close() })
	return c
}

// send opens a UDP socket at the router's end.
func (w *wire) send(t *testing.T) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	err := netns.Do(w.router, func() (err error) {
		c, err = net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(10, 99, 0, 2), Port: 9})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// payload makes an IP packet of 1500 bytes.
const payload = 1472

// blast sends as fast as it can for d, numbering the packets.
func blast(c *net.UDPConn, d time.Duration) (sent int) {
	buf := make([]byte, payload)
	for end := time.Now().Add(d); time.Now().Before(end); sent++ {
		binary.BigEndian.PutUint64(buf, uint64(sent))
		if _, err := c.Write(buf); err != nil {
			return sent
		}
	}
	return sent
}

// drain reads until nothing has come for a while and returns the packets' numbers.
func drain(c *net.UDPConn, quiet time.Duration, got chan<- []uint64) {
	var numbers []uint64
	buf := make([]byte, 2048)
	for {
		_ = c.SetReadDeadline(time.Now().Add(quiet))
		if _, err := c.Read(buf); err != nil {
			got <- numbers
			return
		}
		numbers = append(numbers, binary.BigEndian.Uint64(buf))
	}
}

func TestRealRateAndTiming(t *testing.T) {
	const rate = 200e6
	w := newWire(t, link.Config{Rate: rate, Queue: 500_000, Delay: 20 * time.Millisecond}, link.Config{})
	rx, tx := w.listen(t), w.send(t)
	got := make(chan []uint64, 1)
	go drain(rx, 300*time.Millisecond, got)
	w.emu.Reset()
	blast(tx, time.Second)
	<-got
	down, _ := w.emu.Stats()
	full := 0
	var bytes float64
	for _, s := range down.Series[1 : len(down.Series)-1] {
		if s.OutBytes > uint32(rate/8/10*.9) {
			full++
			bytes += float64(s.OutBytes)
		}
	}
	if full < 5 {
		t.Fatalf("only %d full steps: %+v", full, down.Series)
	}
	// One packet more or less falls into a step.
	if achieved := bytes * 8 / (float64(full) / 10); math.Abs(achieved-rate) > rate*.01 {
		t.Errorf("rate %.1f Mbit/s, want %.1f within 1 %%", achieved/1e6, rate/1e6)
	}
	t.Logf("late by %+v ms", down.Late)
}

func TestRealDelay(t *testing.T) {
	w := newWire(t, link.Config{Rate: 100e6, Delay: 30 * time.Millisecond}, link.Config{})
	rx, tx := w.listen(t), w.send(t)
	buf := make([]byte, 2048)
	var best time.Duration = time.Hour
	for range 20 {
		start := time.Now()
		if _, err := tx.Write(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		_ = rx.SetReadDeadline(time.Now().Add(2 * time.Second))
		if _, err := rx.Read(buf); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(start))
	}
	// The least of several, since a loaded machine only ever adds.
	if best < 30*time.Millisecond || best > 31*time.Millisecond {
		t.Errorf("one way takes %v, want 30 ms within 1 ms", best)
	}
}

func TestRealLossIsTheModels(t *testing.T) {
	cfg := link.Config{Rate: 100e6, Loss: .1, Delay: time.Millisecond}
	w := newWire(t, cfg, link.Config{})
	rx, tx := w.listen(t), w.send(t)
	got := make(chan []uint64, 1)
	go drain(rx, 300*time.Millisecond, got)
	const n = 2000
	buf := make([]byte, payload)
	for i := range n {
		binary.BigEndian.PutUint64(buf, uint64(i))
		if _, err := tx.Write(buf); err != nil {
			t.Fatal(err)
		}
	}
	arrived := map[uint64]bool{}
	for _, i := range <-got {
		arrived[i] = true
	}
	down, _ := w.emu.Stats()
	if uint64(n-len(arrived)) != down.Drops["loss"] {
		t.Errorf("%d of %d missing, the emulator says it lost %d: %v", n-len(arrived), n, down.Drops["loss"], down.Drops)
	}
	sigma := math.Sqrt(n * .1 * .9)
	if math.Abs(float64(down.Drops["loss"])-n*.1) > 2.576*sigma {
		t.Errorf("lost %d of %d at 10 %%", down.Drops["loss"], n)
	}
}

func TestChangeAndReset(t *testing.T) {
	w := newWire(t, link.Config{}, link.Config{})
	rx, tx := w.listen(t), w.send(t)
	w.emu.Change(link.Config{NoUDP: true}, link.Config{})
	deadline := time.Now().Add(5 * time.Second)
	for {
		if _, err := tx.Write([]byte("12345678")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
		if down, _ := w.emu.Stats(); down.Drops["udp"] > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("UDP still passes")
		}
	}
	_ = rx
	w.emu.Reset()
	if down, _ := w.emu.Stats(); down.Packets != 0 || len(down.Drops) != 0 {
		t.Errorf("after a reset: %+v", down)
	}
}
