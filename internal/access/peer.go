package access

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// ErrUnknownPeer says that the system does not tell whose connection it is.
var ErrUnknownPeer = errors.New("the user at the other end is not known")

// UserOfTCP returns the name of the user who owns the far end of a TCP connection
// within this machine; a user without a name is the decimal uid. local and
// remote are the addresses of our end, as of net.Conn. It is ErrUnknownPeer for a
// connection from elsewhere, or from another network namespace such as a
// container's host, and always outside Linux.
func UserOfTCP(local, remote netip.AddrPort) (string, error) {
	uid, err := uidOfTCP(plain(remote), plain(local)) // the far end sees them the other way round
	if err != nil {
		return "", err
	}
	return userName(uid), nil
}

// UserOfUnix returns the name of the user at the other end of a Unix socket; a
// user without a name is the decimal uid. It is ErrUnknownPeer on Windows.
func UserOfUnix(c *net.UnixConn) (string, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return "", fmt.Errorf("asking for the user at a Unix socket: %w", err)
	}
	uid, err := uidOfUnix(raw)
	if err != nil {
		return "", err
	}
	return userName(uid), nil
}

// IsOperator reports whether the process at the other end of a Unix socket runs
// as root or as this process's own user: somebody who could do to the relay what
// he likes anyway. Where the system does not tell, nobody is.
func IsOperator(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	uid, err := uidOfUnix(raw)
	return err == nil && (uid == 0 || int64(uid) == int64(os.Getuid()))
}

// UserExists reports whether the machine has a user of this name. When in doubt
// it has, and so it has those that UserOfUnix and UserOfTCP know by number alone.
func UserExists(name string) bool {
	if _, err := strconv.ParseUint(name, 10, 32); err == nil {
		return true
	}
	_, err := user.Lookup(name)
	var unknown user.UnknownUserError
	return !errors.As(err, &unknown)
}

// control runs f on a connection's descriptor and joins both errors.
func control(raw syscall.RawConn, f func(fd uintptr) error) error {
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(fd) }); err != nil {
		return fmt.Errorf("asking for the user at a Unix socket: %w", err)
	}
	if inner != nil {
		return fmt.Errorf("asking for the user at a Unix socket: %w", inner)
	}
	return nil
}

func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(canonical(a.Addr()), a.Port())
}

// userName returns the name of a user. One without a name (in a container, say)
// still is somebody, and is told apart by the number.
func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	u, err := user.LookupId(id)
	if err != nil || u.Username == "" {
		return id
	}
	return u.Username
}
