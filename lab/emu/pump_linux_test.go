package emu

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jumpget/jumpget/lab/link"
)

// A pump between two pairs of sockets that keep packets apart, as TUN devices do.
type bench struct {
	pump     *pump
	now      time.Duration
	far, end int // where packets are put in, and where they come out
}

func newBench(t testing.TB, cfg link.Config) *bench {
	t.Helper()
	pair := func() [2]int {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = unix.Close(fds[0]), unix.Close(fds[1]) })
		return fds
	}
	in, out := pair(), pair()
	b := &bench{far: in[1], end: out[1]}
	b.pump = &pump{
		in: in[0], out: out[0], link: link.New(cfg, 1), ring: newRing(1000), rec: newRecorder(),
		clock: func() time.Duration { return b.now }, guest: guest{netip.MustParseAddr("10.0.0.9"), destination},
	}
	return b
}

// ipv4 makes a packet of so many bytes with a number in its payload.
func ipv4(size int, dst string, protocol byte, number int) []byte {
	p := make([]byte, size)
	p[0] = 4<<4 | 5
	p[9] = protocol
	addr := netip.MustParseAddr(dst).As4()
	copy(p[destination:], addr[:])
	binary.BigEndian.PutUint32(p[size-4:], uint32(number))
	return p
}

func (b *bench) put(t testing.TB, p []byte) {
	t.Helper()
	if _, err := unix.Write(b.far, p); err != nil {
		t.Fatal(err)
	}
}

// arrived reads the numbers of what has come out.
func (b *bench) arrived() (numbers []int) {
	buf := make([]byte, maxPacket)
	for {
		n, err := unix.Read(b.end, buf)
		if err != nil || n < 4 {
			return numbers
		}
		numbers = append(numbers, int(binary.BigEndian.Uint32(buf[n-4:n])))
	}
}

func TestNoAllocationPerPacket(t *testing.T) {
	b := newBench(t, link.Config{Rate: 1e9, Queue: 1 << 20, Delay: time.Millisecond, Loss: .01, Jitter: time.Microsecond, Reorder: .01})
	p := ipv4(1500, "10.0.0.9", unix.IPPROTO_UDP, 1)
	buf := make([]byte, maxPacket)
	allocated := testing.AllocsPerRun(1000, func() {
		b.now += 20 * time.Microsecond
		_, _ = unix.Write(b.far, p)
		b.pump.collect()
		b.pump.deliver()
		_, _ = unix.Read(b.end, buf)
	})
	if allocated != 0 {
		t.Errorf("%v allocations for a packet", allocated)
	}
}

func TestPacketsLeaveWhenTheyAreDue(t *testing.T) {
	// 1500 bytes at 12 Mbit/s take a millisecond.
	b := newBench(t, link.Config{Rate: 12e6, Delay: 10 * time.Millisecond})
	for i := range 3 {
		b.put(t, ipv4(1500, "10.0.0.2", unix.IPPROTO_TCP, i))
	}
	b.pump.collect()
	for _, step := range []struct {
		at   time.Duration
		want int
	}{{11*time.Millisecond - 1, 0}, {11 * time.Millisecond, 1}, {13 * time.Millisecond, 2}} {
		b.now = step.at
		b.pump.deliver()
		if got := b.arrived(); len(got) != step.want {
			t.Errorf("at %v %v came out, want %d packets", step.at, got, step.want)
		}
	}
}

func TestReorderedPacketsChangePlaces(t *testing.T) {
	b := newBench(t, link.Config{Delay: time.Millisecond, Reorder: 1})
	for i := range 5 {
		b.put(t, ipv4(100, "10.0.0.2", unix.IPPROTO_TCP, i))
	}
	b.pump.collect()
	b.now = time.Millisecond
	b.pump.deliver()
	got := b.arrived()
	if len(got) != 5 || got[0] != 4 || got[4] != 0 {
		t.Errorf("%v, want the first and the fifth in each other's place", got)
	}
}

func TestGuestIsCountedApart(t *testing.T) {
	b := newBench(t, link.Config{})
	for i := range 30 {
		b.put(t, ipv4(1500, "10.0.0.9", unix.IPPROTO_UDP, i))
		b.put(t, ipv4(1400, "10.0.0.2", unix.IPPROTO_UDP, i))
		b.now += time.Millisecond
		b.pump.collect()
		b.pump.deliver()
	}
	s := b.pump.rec.stats()
	if s.Guest != 30*1500 || s.OutBytes != 30*2900 {
		t.Errorf("guest %d of %d bytes", s.Guest, s.OutBytes)
	}
	if s.Series[0].Guest != 30*1500 || s.Series[0].OutBytes != 30*2900 {
		t.Errorf("series: %+v", s.Series)
	}
	// The sixteenth full packet that is not the guest's.
	if s.FirstMS != firstFull {
		t.Errorf("first data after %v ms, want %d", s.FirstMS, firstFull)
	}
}

func TestDropsAreCountedByCause(t *testing.T) {
	b := newBench(t, link.Config{Rate: 12e6, Queue: 3000, NoUDP: true, MTU: 1500})
	for range 4 {
		b.put(t, ipv4(1500, "10.0.0.2", unix.IPPROTO_TCP, 0))
	}
	b.put(t, ipv4(100, "10.0.0.2", unix.IPPROTO_UDP, 0))
	b.put(t, ipv4(1501, "10.0.0.2", unix.IPPROTO_TCP, 0))
	b.pump.collect()
	s := b.pump.rec.stats()
	if s.Packets != 6 || s.Drops["queue"] != 2 || s.Drops["udp"] != 1 || s.Drops["mtu"] != 1 || s.Series[0].Dropped != 4 {
		t.Errorf("%+v", s)
	}
	// One packet went straight to the wire, one waited for a millisecond.
	if s.Queue.Mean != .5 || s.Queue.Max != 1 {
		t.Errorf("queue %+v", s.Queue)
	}
}

func TestIsUDP(t *testing.T) {
	six := make([]byte, 40)
	six[0], six[6] = 6<<4, unix.IPPROTO_UDP
	for name, c := range map[string]struct {
		b    []byte
		want bool
	}{
		"IPv4 UDP": {ipv4(100, "10.0.0.1", unix.IPPROTO_UDP, 0), true},
		"IPv4 TCP": {ipv4(100, "10.0.0.1", unix.IPPROTO_TCP, 0), false},
		"IPv6 UDP": {six, true},
		"short":    {six[:10], false},
		"nothing":  {nil, false},
	} {
		if got := isUDP(c.b); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestRingWraps(t *testing.T) {
	r := newRing(3)
	for i := range 10 {
		s := r.next()
		s.at, s.size = time.Duration(i), i
		r.push()
		if got := r.first(); got.size != i {
			t.Fatalf("first is %d, want %d", got.size, i)
		}
		r.pop()
	}
	for range 3 {
		r.next()
		r.push()
	}
	if r.next() != nil {
		t.Error("a full ring has room")
	}
}

func TestQuantilesAndReset(t *testing.T) {
	r := newRecorder()
	for i := range 1000 {
		r.offered(time.Duration(i)*time.Millisecond, 100, link.Fate{Waited: time.Duration(i) * time.Millisecond})
	}
	q := r.stats().Queue
	if q.P50 < 499 || q.P50 > 500.2 || q.P99 < 989 || q.P99 > 990.2 || q.Max != 999 || q.Mean != 499.5 {
		t.Errorf("%+v", q)
	}
	if n := len(r.stats().Series); n != 10 {
		t.Errorf("%d steps in a second", n)
	}
	r.reset(time.Second)
	if s := r.stats(); s.Packets != 0 || len(s.Series) != 0 || s.Queue != (Delay{}) {
		t.Errorf("after a reset: %+v", s)
	}
}
