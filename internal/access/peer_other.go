//go:build !linux && !darwin

package access

import (
	"net/netip"
	"syscall"
)

func uidOfUnix(raw syscall.RawConn) (uint32, error) { return 0, ErrUnknownPeer }

func uidOfTCP(local, remote netip.AddrPort) (uint32, error) { return 0, ErrUnknownPeer }
