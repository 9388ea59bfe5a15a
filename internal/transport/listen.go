package transport

import (
	"context"
	"net"
	"syscall"
	"time"
)

// Options tune the sockets of a listener.
type Options struct {
	BBR bool // choose the BBR congestion control for each socket where the kernel has it
}

// notSent is how much unsent data the kernel may hold for a socket: enough to
// keep the link busy while the sender is not scheduled, little enough that an
// aborted range is not followed by megabytes nobody wants.
const notSent = 512 << 10

// Listen opens a TCP port with the options that a bulk sender wants. It never
// uses multipath TCP, whose sockets refuse a congestion control of their own.
func Listen(ctx context.Context, addr string, o Options) (net.Listener, error) {
	lc := net.ListenConfig{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 15 * time.Second, Count: 6},
		Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { tuneSocket(fd, o) })
		},
	}
	lc.SetMultipathTCP(false)
	return lc.Listen(ctx, "tcp", addr)
}
