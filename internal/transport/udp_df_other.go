//go:build !linux && !darwin && !windows

package transport

// dontFragment has no option to set here; routers may cut large packets.
func dontFragment(uintptr, bool) {}
