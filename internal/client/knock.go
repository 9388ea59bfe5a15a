package client

import (
	"context"
	"net/netip"
	"time"

	"github.com/jumpget/jumpget/internal/bulk"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

// Knock is what a try of the relay's UDP port came to.
type Knock struct {
	Endpoint job.Endpoint
	Answer   time.Duration // from the first packet to the first answer
	Datagram int           // the largest packet that came, in bytes of UDP payload
	Refused  netip.Addr    // our address, if the relay does not know it; else invalid
}

// KnockUDP asks for the first byte of a ticket's job over UDP. Without a UDP
// endpoint in the ticket it returns nil.
func (c *Client) KnockUDP(ctx context.Context, t job.Ticket) (*Knock, error) {
	at, has := udpEndpoint(t)
	if !has {
		return nil, nil
	}
	remote, err := c.resolveUDP(ctx, at)
	if err != nil {
		return nil, err
	}
	k := &Knock{Endpoint: at}
	sink := knockSink{done: make(chan struct{}), refused: make(chan netip.Addr, 1)}
	conn, err := dialUDP(ctx, remote, t, bulk.Config{
		Sink: sink, First: []span.Span{{Start: 0, End: 1}}, Last: true,
		NotGranted: func(a netip.Addr) { trySend(sink.refused, a) },
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // it has brought what it was for
	select {
	case <-sink.done:
	case k.Refused = <-sink.refused:
	case <-conn.Done():
		return nil, conn.Err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	stats := conn.Stats()
	k.Answer, k.Datagram = stats.Handshake, stats.Datagram
	return k, nil
}

// knockSink waits for one byte.
type knockSink struct {
	done    chan struct{}
	refused chan netip.Addr
}

func (knockSink) Data(int64, []byte) error       { return nil }
func (s knockSink) Done(bulk.RangeID, span.Span) { close(s.done) }
