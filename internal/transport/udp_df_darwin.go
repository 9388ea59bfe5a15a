package transport

import "golang.org/x/sys/unix"

// dontFragment keeps datagrams whole, so that the search for the path's largest
// packet finds the truth.
func dontFragment(fd uintptr, ipv6 bool) {
	if ipv6 {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1)
		return
	}
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_DONTFRAG, 1)
}
