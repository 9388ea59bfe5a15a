package transport

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inspect reads TCP_INFO. The receiver's own RTT estimate is used once there is
// one, since the sender's smoothed one only knows of this side's few packets.
func inspect(raw syscall.RawConn) Socket {
	s := Socket{Reordered: -1}
	_ = raw.Control(func(fd uintptr) { // fails only on a closed connection, which has nothing to tell
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		s.RTT = time.Duration(info.Rtt) * time.Microsecond
		if m := time.Duration(info.Min_rtt) * time.Microsecond; m > 0 && m < s.RTT {
			s.RTT = m
		}
		if info.Data_segs_in > 0 {
			s.Reordered = float64(info.Rcv_ooopack) / float64(info.Data_segs_in)
		}
	})
	return s
}
