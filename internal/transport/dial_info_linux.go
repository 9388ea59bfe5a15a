package transport

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inspect reads TCP_INFO. The least round trip is told, since a smoothed one
// would count the queue that the transfer itself makes.
func inspect(raw syscall.RawConn) Socket {
	var s Socket
	_ = raw.Control(func(fd uintptr) { // fails only on a closed connection, which has nothing to tell
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		s.RTT = time.Duration(info.Rtt) * time.Microsecond
		if m := time.Duration(info.Min_rtt) * time.Microsecond; m > 0 && m < s.RTT {
			s.RTT = m
		}
		s.Now = time.Duration(info.Rcv_rtt) * time.Microsecond
		s.Segments, s.Disordered = int64(info.Data_segs_in), int64(info.Rcv_ooopack)
	})
	return s
}
