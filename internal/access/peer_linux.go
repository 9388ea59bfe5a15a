package access

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func uidOfUnix(raw syscall.RawConn) (uint32, error) {
	var uid uint32
	err := control(raw, func(fd uintptr) error {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil {
			uid = cred.Uid
		}
		return err
	})
	return uid, err
}

// uidOfTCP finds the socket with these ends in the kernel's tables. A dual-stack
// socket is in tcp6 even if it carries IPv4.
func uidOfTCP(local, remote netip.AddrPort) (uint32, error) {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		uid, err := uidInTable(table, local, remote)
		if !errors.Is(err, ErrUnknownPeer) {
			return uid, err
		}
	}
	return 0, ErrUnknownPeer
}

func uidInTable(path string, local, remote netip.AddrPort) (uint32, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, ErrUnknownPeer // a kernel without IPv6
	}
	if err != nil {
		return 0, fmt.Errorf("looking for the user at a TCP connection: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	return findSocket(f, local, remote)
}

// The columns of the kernel's table that we need.
const (
	columnLocal  = 1
	columnRemote = 2
	columnState  = 3
	columnUID    = 7

	established = "01"
)

// findSocket returns the uid of the established socket with the given ends.
// Sockets in other states, such as TIME_WAIT, are listed with uid 0 whoever had
// them, and must not make anybody root.
func findSocket(r io.Reader, local, remote netip.AddrPort) (uint32, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) <= columnUID || f[columnState] != established {
			continue
		}
		if !sameSocket(f[columnLocal], local) || !sameSocket(f[columnRemote], remote) {
			continue
		}
		uid, err := strconv.ParseUint(f[columnUID], 10, 32)
		if err != nil {
			return 0, fmt.Errorf("looking for the user at a TCP connection: %w", err)
		}
		return uint32(uid), nil
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("looking for the user at a TCP connection: %w", err)
	}
	return 0, ErrUnknownPeer
}

func sameSocket(column string, want netip.AddrPort) bool {
	got, err := parseSocket(column)
	return err == nil && got == want
}

// parseSocket reads an end as the kernel writes it, "0100007F:1004": the port in
// hex, the address as 32-bit words in the machine's byte order.
func parseSocket(s string) (netip.AddrPort, error) {
	host, p, ok := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	if !ok || err != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, fmt.Errorf("not a socket: %q", s)
	}
	port, err := strconv.ParseUint(p, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("not a socket: %q", s)
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a.Unmap(), uint16(port)), nil
}
