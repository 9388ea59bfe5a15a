package transport

import "golang.org/x/sys/windows"

// Options of winsock that package windows does not name.
const (
	ipDontFragment = 14
	ipv6DontFrag   = 14
)

// dontFragment keeps datagrams whole, so that the search for the path's largest
// packet finds the truth.
func dontFragment(fd uintptr, ipv6 bool) {
	if ipv6 {
		_ = windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_IPV6, ipv6DontFrag, 1)
		return
	}
	_ = windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_IP, ipDontFragment, 1)
}
