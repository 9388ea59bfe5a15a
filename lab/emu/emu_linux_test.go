package emu_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jumpget/jumpget/lab/emu"
	"github.com/jumpget/jumpget/lab/labtest"
	"github.com/jumpget/jumpget/lab/link"
	"github.com/jumpget/jumpget/lab/netns"
)

// The tests carry real packets through real TUN devices. Their namespaces have
// no names: they live as long as the test holds them open.

type wire struct {
	client, router string // namespace paths
	emu            *emu.Emulator
}

func TestMain(m *testing.M) {
	if code, done := labtest.Emulate(); done {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// newNamespace makes a network namespace and returns a path to it that any
// process can use.
func newNamespace(t testing.TB) string {
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
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), m.file.Fd())
}

func newNamespaces(t testing.TB) *wire {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the emulator needs root: run the tests with sudo to include it")
	}
	if f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err != nil {
		t.Skipf("the emulator needs TUN: %v", err)
	} else {
		f.Close()
	}
	return &wire{client: newNamespace(t), router: newNamespace(t)}
}

func newWire(t testing.TB, down, up link.Config) *wire {
	t.Helper()
	w := newNamespaces(t)
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
	w.address(t)
	return w
}

// address gives both ends their addresses.
func (w *wire) address(t testing.TB) {
	t.Helper()
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
}

// listen opens a UDP socket at the client's end.
func (w *wire) listen(t testing.TB) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	err := netns.Do(w.client, func() (err error) {
		c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 99, 0, 2), Port: 9})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// Whatever the emulator delivers has to be seen, however late the reader comes.
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 256<<20); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// send opens a UDP socket at the router's end.
func (w *wire) send(t testing.TB) *net.UDPConn {
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
	const rate = 100e6
	// The queue bridges a sender that has to wait for a processor.
	w := newWire(t, link.Config{Rate: rate, Queue: 2_500_000, Delay: 20 * time.Millisecond}, link.Config{})
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
	best := time.Hour
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

// deliverNumbered sends n full packets one after the other and returns which of them arrived.
func (w *wire) deliverNumbered(t *testing.T, n int) []bool {
	t.Helper()
	rx, tx := w.listen(t), w.send(t)
	got := make(chan []uint64, 1)
	go drain(rx, 300*time.Millisecond, got)
	buf := make([]byte, payload)
	for i := range n {
		binary.BigEndian.PutUint64(buf, uint64(i))
		if _, err := tx.Write(buf); err != nil {
			t.Fatal(err)
		}
		// The device's own queue is not what is tested.
		for i%1000 == 999 && !w.taken(t, uint64(i)) {
			runtime.Gosched()
		}
	}
	arrived := make([]bool, n)
	for _, i := range <-got {
		arrived[i] = true
	}
	return arrived
}

// taken tells whether the emulator has read so many packets.
func (w *wire) taken(t *testing.T, n uint64) bool {
	t.Helper()
	if down, _ := w.emu.Stats(); down.Packets >= n {
		return true
	}
	time.Sleep(time.Millisecond) // the pump is another thread; there is nothing to wait on
	return false
}

func missing(arrived []bool) (n int) {
	for _, a := range arrived {
		if !a {
			n++
		}
	}
	return n
}

func TestRealLossIsTheModels(t *testing.T) {
	const n, p = 5000, .1
	w := newWire(t, link.Config{Rate: 1e9, Loss: p, Delay: time.Millisecond}, link.Config{})
	lost := missing(w.deliverNumbered(t, n))
	down, _ := w.emu.Stats()
	if uint64(lost) != down.Drops["loss"] {
		t.Errorf("%d of %d missing, the emulator says it lost %d: %v", lost, n, down.Drops["loss"], down.Drops)
	}
	if sigma := math.Sqrt(n * p * (1 - p)); math.Abs(float64(lost)-n*p) > 2.576*sigma {
		t.Errorf("lost %d of %d at %v: outside the binomial 99 %% interval", lost, n, p)
	}
}

func TestRealBurstLengths(t *testing.T) {
	const n = 20_000
	b := link.Burst{Enter: .00658, Leave: .125, Lose: 1}
	w := newWire(t, link.Config{Rate: 2e9, Burst: b}, link.Config{})
	arrived := w.deliverNumbered(t, n)
	lost, bursts := 0, 0
	for i := 1; i < n; i++ {
		if !arrived[i] {
			lost++
			if arrived[i-1] {
				bursts++
			}
		}
	}
	// Lengths are geometric, so their mean over the bursts spreads by mean/sqrt(bursts).
	mean, want := float64(lost)/float64(bursts), 1/b.Leave
	if math.Abs(mean-want) > 2.576*want/math.Sqrt(float64(bursts)) {
		t.Errorf("a burst has %.2f packets, want %.1f (%d bursts)", mean, want, bursts)
	}
}

func TestRealLossFollowsTheSeed(t *testing.T) {
	cfg := link.Config{Rate: 1e9, Loss: .2}
	first := newWire(t, cfg, link.Config{}).deliverNumbered(t, 1000)
	if second := newWire(t, cfg, link.Config{}).deliverNumbered(t, 1000); !slices.Equal(first, second) {
		t.Error("the same seed has lost other packets")
	}
}

func TestRealPolicerAndQueue(t *testing.T) {
	t.Run("policer", func(t *testing.T) {
		// A bucket that holds 20 packets and fills with one in 12 s.
		w := newWire(t, link.Config{Rate: 1e9, Police: link.Bucket{Rate: 1000, Depth: 20 * 1500}}, link.Config{})
		arrived := w.deliverNumbered(t, 100)
		if missing(arrived[:20]) != 0 || missing(arrived[20:]) != 80 {
			t.Errorf("%d of 100 came through, want the first 20", 100-missing(arrived))
		}
	})
	t.Run("queue", func(t *testing.T) {
		// A packet takes 24 ms on the wire, far more than it takes to send them all.
		w := newWire(t, link.Config{Rate: .5e6, Queue: 20 * 1500}, link.Config{})
		arrived := w.deliverNumbered(t, 100)
		if missing(arrived[:20]) != 0 || missing(arrived[20:]) < 75 {
			t.Errorf("%d of 100 came through, want the first 20 and few more", 100-missing(arrived))
		}
		if down, _ := w.emu.Stats(); down.Queue.Max < 18*24 || down.Queue.Max > 20*24 {
			t.Errorf("the last waited %.1f ms, want 456", down.Queue.Max)
		}
	})
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
