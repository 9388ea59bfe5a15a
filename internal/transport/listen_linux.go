package transport

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// tuneSocket sets options on a listening socket; the connections it accepts
// inherit them. Each is a gift: a kernel without it still serves.
func tuneSocket(fd uintptr, o Options) {
	if o.BBR {
		_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "bbr")
	}
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSent)
}

// BBRAvailable reports whether this kernel lets a socket choose BBR. It tries
// on a socket of its own, because asking also loads the module where the
// process may do that, and the list in /proc shows loaded ones only.
func BBRAvailable() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "bbr") == nil
}

// CongestionControls lists the congestion controls that are loaded, for a log
// line or a doctor's report.
func CongestionControls() []string {
	b, err := os.ReadFile("/proc/sys/net/ipv4/tcp_available_congestion_control")
	if err != nil {
		return nil
	}
	return strings.Fields(string(b))
}
