package bulk

import (
	"net/netip"
	"time"
)

// Path is where a datagram came from, or is to go.
type Path struct {
	Remote netip.AddrPort
	Local  netip.Addr // our end, where the system tells; zero: whatever it chooses
}

// Datagram is one that was read.
type Datagram struct {
	Data []byte // valid until the next ReadBatch, and may be written to until then
	Path Path
	At   time.Time // when it came, as early as the system can tell
}

// PacketConn is a UDP socket. ReadBatch and SetReadDeadline mean what they do
// for a net.PacketConn; all methods may be called at the same time, but
// ReadBatch by one goroutine only.
type PacketConn interface {
	// ReadBatch waits for at least one datagram and returns those that are
	// there, at most len(into). It gives os.ErrDeadlineExceeded when the
	// deadline passes.
	ReadBatch(into []Datagram) (int, error)

	// Send sends p as datagrams of size bytes, the last of which may be shorter,
	// and never fragments one. It gives ErrTooBig where they don't fit the local
	// link. Other errors are no more than a loss: the protocol mends it.
	Send(p []byte, size int, to Path) error

	SetReadDeadline(t time.Time) error
	Close() error
}
