package bulk

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Types of frames (section 3).
const (
	framePad       = 0x00
	frameOpen      = 0x01
	frameWant      = 0x02
	frameAck       = 0x03
	framePing      = 0x04
	frameResponse  = 0x05
	frameBye       = 0x06
	frameStream    = 0x07
	frameStreamAck = 0x08
	frameData      = 0x10
	frameMeta      = 0x11
	frameTaken     = 0x12
	framePace      = 0x13
	framePong      = 0x14
	frameChallenge = 0x15
	frameError     = 0x16
	frameRepair    = 0x1e
)

const (
	maxRanges   = 32
	maxObjectID = 64
	maxOffset   = 1 << 62
)

var errFrame = errors.New("bulk: a frame makes no sense")

// cursor reads a packet's plaintext. After a field that is not there, bad is set
// and everything reads as zero.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) u8() byte {
	if len(c.b) < 1 {
		c.bad = true
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

func (c *cursor) u16() uint16 {
	if b := c.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (c *cursor) uv() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.bad = true
		c.b = nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

// uvBelow reads a number that has to be less than limit.
func (c *cursor) uvBelow(limit uint64) uint64 {
	v := c.uv()
	if v >= limit {
		c.bad = true
		return 0
	}
	return v
}

func (c *cursor) sv() int64 {
	v := c.uv()
	return int64(v>>1) ^ -int64(v&1)
}

func (c *cursor) bytes(n int) []byte {
	if len(c.b) < n {
		c.bad = true
		c.b = nil
		return nil
	}
	v := c.b[:n]
	c.b = c.b[n:]
	return v
}

// wireRange is one range of a WANT.
type wireRange struct {
	id  uint64
	off int64
	n   int64
}

func (r wireRange) end() int64 { return r.off + r.n }

type wantFrame struct {
	seq    uint64
	last   bool
	limit  uint64 // bytes a second; 0: none
	ranges []wireRange
}

func (w *wantFrame) append(b []byte) []byte {
	b = append(b, frameWant)
	b = binary.AppendUvarint(b, w.seq)
	var flags byte
	if w.last {
		flags = 1
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, w.limit)
	b = append(b, byte(len(w.ranges)))
	for _, r := range w.ranges {
		b = binary.AppendUvarint(b, r.id)
		b = binary.AppendUvarint(b, uint64(r.off))
		b = binary.AppendUvarint(b, uint64(r.n))
	}
	return b
}

func (w *wantFrame) parse(c *cursor) {
	w.seq = c.uv()
	flags := c.u8()
	w.last = flags == 1
	w.limit = c.uvBelow(maxOffset)
	n := int(c.u8())
	if flags > 1 || n > maxRanges {
		c.bad = true
		return
	}
	w.ranges = w.ranges[:0]
	for range n {
		r := wireRange{id: c.uv(), off: int64(c.uvBelow(maxOffset)), n: int64(c.uvBelow(maxOffset))}
		if r.end() > maxOffset || c.bad || w.overlaps(r) {
			c.bad = true
			return
		}
		w.ranges = append(w.ranges, r)
	}
}

// overlaps tells whether a range shares bytes or its id with one before.
func (w *wantFrame) overlaps(r wireRange) bool {
	for _, o := range w.ranges {
		if o.id == r.id || o.off < r.end() && r.off < o.end() {
			return true
		}
	}
	return false
}

type openFrame struct {
	largest uint64 // packet that the client takes
	object  []byte // points into the packet
}

func (o *openFrame) append(b []byte) []byte {
	b = append(b, frameOpen)
	b = binary.AppendUvarint(b, o.largest)
	b = append(b, byte(len(o.object)))
	return append(b, o.object...)
}

func (o *openFrame) parse(c *cursor) {
	o.largest = c.uv()
	n := int(c.u8())
	if n > maxObjectID || o.largest < basePacket {
		c.bad = true
		return
	}
	o.object = c.bytes(n)
}

// metaFrame describes the object; a negative size is not known yet.
type metaFrame struct {
	size   int64
	object []byte // points into the packet
}

func (m *metaFrame) append(b []byte) []byte {
	b = append(b, frameMeta)
	b = binary.AppendUvarint(b, uint64(m.size+1))
	b = append(b, byte(len(m.object)))
	return append(b, m.object...)
}

func (m *metaFrame) parse(c *cursor) {
	m.size = int64(c.uvBelow(maxOffset)) - 1
	n := int(c.u8())
	if n < 1 || n > maxObjectID {
		c.bad = true
		return
	}
	m.object = c.bytes(n)
}

// paceFrame tells how often to acknowledge; times in us.
type paceFrame struct{ interval, packets, longest, rtt uint64 }

func (p *paceFrame) append(b []byte) []byte {
	b = append(b, framePace)
	b = binary.AppendUvarint(b, p.interval)
	b = binary.AppendUvarint(b, p.packets)
	b = binary.AppendUvarint(b, p.longest)
	return binary.AppendUvarint(b, p.rtt)
}

func (p *paceFrame) parse(c *cursor) {
	const hour = 3600e6
	*p = paceFrame{interval: c.uvBelow(hour), packets: c.uvBelow(1 << 20), longest: c.uvBelow(hour), rtt: c.uvBelow(hour)}
}

type errorFrame struct {
	code Code
	addr netip.Addr // zero: none
}

func (e *errorFrame) append(b []byte) []byte {
	b = append(b, frameError, byte(e.code))
	a := e.addr.AsSlice()
	b = append(b, byte(len(a)))
	return append(b, a...)
}

func (e *errorFrame) parse(c *cursor) {
	e.code = Code(c.u8())
	n := int(c.u8())
	if n != 0 && n != 4 && n != 16 {
		c.bad = true
		return
	}
	e.addr, _ = netip.AddrFromSlice(c.bytes(n)) // none gives the zero address
}

func appendToken(b []byte, frame byte, token uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, frame), token)
}

// set tells which frames a packet held.
type set uint32

func (s set) has(frame byte) bool { return s&(1<<frame) != 0 }

// add notes a frame; no packet has two of a kind.
func (s *set) add(frame byte) (ok bool) {
	if frame > frameRepair || s.has(frame) {
		return false
	}
	*s |= 1 << frame
	return true
}

// fromClient is what a CLIENT packet or a HELLO's payload says. One is used for
// many packets; what has says which fields count.
type fromClient struct {
	has      set
	open     openFrame
	want     wantFrame
	ack      ackFrame
	ping     uint64
	response uint64
	bye      Code
	stream   streamFrame
	heard    streamAck
}

func (f *fromClient) parse(plain []byte) error {
	f.has = 0
	c := cursor{b: plain}
	for len(c.b) > 0 && !c.bad {
		t := c.u8()
		if !f.has.add(t) {
			return errFrame
		}
		switch t {
		case framePad:
			c.pad()
		case frameOpen:
			f.open.parse(&c)
		case frameWant:
			f.want.parse(&c)
		case frameAck:
			f.ack.parse(&c)
		case framePing:
			f.ping = c.u64()
		case frameResponse:
			f.response = c.u64()
		case frameBye:
			f.bye = Code(c.u8())
		case frameStream:
			f.stream.parse(&c)
		case frameStreamAck:
			f.heard.parse(&c)
		default:
			return errFrame
		}
	}
	if c.bad {
		return errFrame
	}
	return nil
}

// pad skips the rest.
func (c *cursor) pad() {
	for _, v := range c.b {
		if v != 0 {
			c.bad = true
		}
	}
	c.b = nil
}

// fromRelay is what an ANSWER or DATA packet says.
type fromRelay struct {
	number    uint64 // of the packet
	has       set
	off       int64
	data      []byte // points into the packet
	meta      metaFrame
	taken     uint64
	pace      paceFrame
	pong      uint64
	waiting   bool
	challenge uint64
	err       errorFrame
	repair    repairFrame
	stream    streamFrame
	heard     streamAck
}

func (f *fromRelay) parse(plain []byte) error {
	f.has = 0
	c := cursor{b: plain}
	for len(c.b) > 0 && !c.bad {
		t := c.u8()
		if !f.has.add(t) {
			return errFrame
		}
		switch t {
		case framePad:
			c.pad()
		case frameData:
			f.parseData(&c)
		case frameMeta:
			f.meta.parse(&c)
		case frameTaken:
			f.taken = c.uv()
		case framePace:
			f.pace.parse(&c)
		case framePong:
			f.pong = c.u64()
			f.waiting = c.u8()&1 != 0
		case frameChallenge:
			f.challenge = c.u64()
		case frameError:
			f.err.parse(&c)
		case frameRepair:
			f.repair.parse(&c)
		case frameStream:
			f.stream.parse(&c)
		case frameStreamAck:
			f.heard.parse(&c)
		default:
			return errFrame
		}
	}
	if c.bad {
		return errFrame
	}
	return nil
}

func (f *fromRelay) parseData(c *cursor) {
	f.off = int64(c.uvBelow(maxOffset))
	f.data = c.b
	c.b = nil
	if len(f.data) == 0 || f.off+int64(len(f.data)) > maxOffset {
		c.bad = true
	}
}
