//go:build !linux

package transport

// tuneSocket has nothing to set here: neither option is known outside Linux.
func tuneSocket(uintptr, Options) {}

// BBRAvailable reports whether a socket can choose BBR: on Linux alone.
func BBRAvailable() bool { return false }

// CongestionControls lists the congestion controls that are loaded; none are
// known outside Linux.
func CongestionControls() []string { return nil }
