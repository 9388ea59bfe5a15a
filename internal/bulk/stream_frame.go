package bulk

import (
	"encoding/binary"

	"github.com/jumpget/jumpget/internal/span"
)

// streamFrame is bytes of a stream.
type streamFrame struct {
	off  int64
	data []byte // points into the packet
}

// streamHead appends what comes before the bytes.
func streamHead(b []byte, off int64, n int) []byte {
	b = binary.AppendUvarint(append(b, frameStream), uint64(off))
	return binary.BigEndian.AppendUint16(b, uint16(n))
}

func (s *streamFrame) parse(c *cursor) {
	s.off = int64(c.uvBelow(maxOffset))
	n := int(c.u16())
	s.data = c.bytes(n)
	if n == 0 || s.end() > maxOffset {
		c.bad = true
	}
}

func (s *streamFrame) end() int64 { return s.off + int64(len(s.data)) }

// mostRuns is how many pieces beyond a gap a streamAck tells.
const mostRuns = 32

// streamAck is what has come of a stream, and what may come.
type streamAck struct {
	next  int64       // all before has come
	limit int64       // nothing from here on is taken
	runs  []span.Span // have come as well, in order
}

func (a *streamAck) append(b []byte) []byte {
	b = binary.AppendUvarint(append(b, frameStreamAck), uint64(a.next))
	b = binary.AppendUvarint(b, uint64(a.limit-a.next))
	n := min(len(a.runs), mostRuns)
	b = append(b, byte(n))
	at := a.next
	for _, r := range a.runs[:n] {
		b = binary.AppendUvarint(b, uint64(r.Start-at))
		b = binary.AppendUvarint(b, uint64(r.Len()))
		at = r.End
	}
	return b
}

func (a *streamAck) parse(c *cursor) {
	a.next = int64(c.uvBelow(maxOffset))
	a.limit = a.next + int64(c.uvBelow(maxOffset))
	a.runs = a.runs[:0]
	n := int(c.u8())
	if n > mostRuns || a.limit > maxOffset {
		c.bad = true
		return
	}
	at := a.next
	for range n {
		gap, length := c.uvBelow(maxOffset), c.uvBelow(maxOffset)
		start := at + int64(gap)
		if at = start + int64(length); gap == 0 || length == 0 || at > a.limit {
			c.bad = true
		}
		if c.bad {
			return
		}
		a.runs = append(a.runs, span.Span{Start: start, End: at})
	}
}
