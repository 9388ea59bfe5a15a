package bulk

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

// RangeID names a range that a Conn was asked for. The ranges given to Dial
// have the ids 1, 2 and so on; Request goes on from there.
type RangeID uint64

// Sink takes what a connection brings. Its methods are called from one
// goroutine, one at a time, and may call the connection's. While one blocks,
// up to 16 MiB more are buffered; then the relay is slowed down.
type Sink interface {
	// Data takes bytes of the object. Each byte of a range comes once, in any
	// order. The slice is valid during the call only. An error ends the
	// connection with it.
	Data(off int64, p []byte) error

	// Done tells that all bytes of a range have gone to Data. at is what the range
	// came to: it is shorter than what was asked for if it was shrunk or the
	// object ended. Of a cancelled range nothing is told.
	Done(id RangeID, at span.Span)
}

// Config is what a Conn needs. Key and Sink are required.
type Config struct {
	Key    Key
	Sink   Sink
	Object string      // the object's id; empty: whichever the job has, see Conn.Object
	First  []span.Span // ranges to ask for in the first packet
	Last   bool        // nothing will be asked for beyond First; see Conn.SetLast
	Rate   int64       // bytes a second at most; 0: no limit

	// Silence is how long the relay may be silent while it owes an answer. 0: 10 s.
	Silence time.Duration

	// NotGranted, if set, is called when the relay does not know the address
	// that our packets come from. Have it granted over ssh; the connection asks
	// again by itself, and goes on. It must not block, nor call the connection.
	NotGranted func(addr netip.Addr)
}

const defaultSilence = 10 * time.Second

// Limits of what a client asks for.
var (
	errTooMany = errors.New("bulk: too many ranges")
	errRange   = errors.New("bulk: a range overlaps another or lies outside any file")
)

// Stats is what a connection has come to.
type Stats struct {
	Bytes     int64         // of data that came, without duplicates
	Repeated  int64         // bytes of data that came a second time, or were not wanted any more
	Packets   uint64        // that came
	Lost      uint64        // numbers that have not come and are older than reordering explains
	Rate      float64       // bytes of data a second, over about the last second
	RTT       time.Duration // as the relay measures it; 0: not known yet
	Owed      int64         // bytes that are wanted and have not come; -1: up to an end that is not known
	Silent    time.Duration // since anything came, while something is owed; 0 otherwise
	Waiting   bool          // the relay itself has none of what it owes
	Granted   bool          // the relay knows our address
	Buffered  int64         // bytes that wait for the Sink
	Datagram  int           // the largest packet that came, in bytes of UDP payload
	Sent      int64         // bytes that went to the relay, UDP headers and all
	Received  int64         // bytes that came from it
	Handshake time.Duration // from the first packet to the first answer
}

// Loss is the share of packets that were lost; 0 before any came.
func (s Stats) Loss() float64 {
	return float64(s.Lost) / max(float64(s.Lost+s.Packets), 1)
}

// Conn is a client's end of a connection. Its methods may be called from many
// goroutines. Make one with Dial and end it with Close.
type Conn struct {
	caller
	cfg     Config
	writing writer

	// The caller's lock guards these.
	wants   wants
	wanted  time.Duration // when WANT was sent
	wantSeq uint64        // and which
	object  string
	size    int64 // negative: not known
	meta    bool  // object and size were told
	meter   rateMeter
	mended  restorer
}

// Dial opens a connection over pc, which it owns from then on, to a relay's UDP
// port. It returns once the relay has answered: by then the data of the first
// ranges is already on its way to the Sink. It fails with *SilentError if no
// answer comes, with *RefusedError if the relay refuses, or with ctx's cause.
func Dial(ctx context.Context, pc PacketConn, remote netip.AddrPort, cfg Config) (*Conn, error) {
	c := &Conn{cfg: cfg, size: -1}
	c.init(pc, remote, cfg.Key, cfg.Silence, c)
	c.wants.last, c.wants.limit = cfg.Last, uint64(max(0, cfg.Rate))
	_, err := c.wants.add(cfg.First, c.size)
	if err == nil {
		err = c.makeHello(minHello)
	}
	if err != nil {
		return nil, errors.Join(err, pc.Close())
	}
	c.writing.init(cfg.Sink)
	go c.run()
	select {
	case <-c.answer:
		return c, nil
	case <-c.ended:
		return nil, c.err
	case <-ctx.Done():
		c.fail(context.Cause(ctx))
		<-c.ended
		return nil, c.err
	}
}

// Request asks for more ranges, which must not overlap others that are asked
// for or each other. They come after those asked for before.
func (c *Conn) Request(ranges ...span.Span) (first RangeID, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	first, err = c.wants.add(ranges, c.size)
	if err == nil {
		c.finishEmpty()
		c.rouse()
	}
	return first, err
}

// Shrink cuts a range to what is in both it and sp. It reports whether
// the range is still being brought.
func (c *Conn) Shrink(id RangeID, sp span.Span) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.wants.find(uint64(id))
	if r == nil || c.err != nil {
		return false
	}
	r.shrink(sp)
	c.wants.change()
	c.finishEmpty()
	c.rouse()
	return c.wants.find(uint64(id)) != nil
}

// Cancel gives a range up. Bytes of it may come to the Sink until Cancel
// returns, and those which wait for the Sink even after.
func (c *Conn) Cancel(id RangeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wants.remove(uint64(id)) {
		c.rouse()
	}
}

// SetLast says whether nothing will be asked for beyond the present ranges. If
// so, the relay repeats what may be lost instead of idling.
func (c *Conn) SetLast(last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wants.last != last {
		c.wants.last = last
		c.wants.change()
		c.rouse()
	}
}

// SetRate limits the rate, in bytes a second; 0: no limit.
func (c *Conn) SetRate(rate int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if limit := uint64(max(0, rate)); c.wants.limit != limit {
		c.wants.limit = limit
		c.wants.change()
		c.rouse()
	}
}

// Object returns the id and size of the object; the size is negative while it
// is not known. ok is false until the relay has told.
func (c *Conn) Object() (id string, size int64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.object, c.size, c.meta
}

// Missing returns what of a range has not come yet, in order.
func (c *Conn) Missing(id RangeID) []span.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.wants.find(uint64(id))
	if r == nil {
		return nil
	}
	return r.got.missing(r.at)
}

// Stats returns what the connection has come to.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	s := c.stats
	s.Rate = c.meter.at(now)
	s.RTT = c.link.rtt
	s.Owed = c.wants.owed()
	s.Granted = !c.link.unknown
	s.Buffered = c.writing.waiting()
	s.Waiting = c.link.waiting
	s.Lost = c.lost()
	if s.Owed != 0 {
		s.Silent = now - max(c.link.heard, c.link.owed)
	}
	return s
}

// Close tells the relay that nothing more is wanted, hands what has come to the
// Sink, and waits for that. It must not be called by the Sink.
func (c *Conn) Close() error {
	c.fail(ErrClosed)
	<-c.ended
	return nil
}

// rateMeter measures a rate over about the last second.
type rateMeter struct {
	since     time.Duration
	now, last int64
	before    time.Duration // how long last was measured
}

func (m *rateMeter) add(now time.Duration, n int) {
	m.turn(now)
	m.now += int64(n)
}

func (m *rateMeter) turn(now time.Duration) {
	const half = 500 * time.Millisecond
	if age := now - m.since; age >= half {
		m.last, m.before = m.now, age
		m.now, m.since = 0, now
	}
}

func (m *rateMeter) at(now time.Duration) float64 {
	m.turn(now)
	t := m.before + now - m.since
	if t < 50*time.Millisecond {
		return 0
	}
	return float64(m.last+m.now) / t.Seconds()
}
