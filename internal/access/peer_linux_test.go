package access

import (
	"errors"
	"net"
	"net/netip"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
)

func me(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Skip("this user has no name: ", err)
	}
	return u.Username
}

// accept returns both ends of a connection to a listener.
func accept(t *testing.T, l net.Listener) (client, server net.Conn) {
	t.Helper()
	t.Cleanup(func() { _ = l.Close() })
	client, err := net.Dial(l.Addr().Network(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return client, server
}

func TestUserOfUnix(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	_, server := accept(t, l)
	if got, err := UserOfUnix(server.(*net.UnixConn)); err != nil || got != me(t) {
		t.Errorf("got %q, %v; want %q", got, err, me(t))
	}
}

func TestUserOfAClosedUnixSocket(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	_, server := accept(t, l)
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := UserOfUnix(server.(*net.UnixConn)); err == nil {
		t.Errorf("got %q without an error", got)
	}
}

func TestUserOfTCP(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "[::]:0"} {
		t.Run(address, func(t *testing.T) {
			l, err := net.Listen("tcp", address)
			if err != nil {
				t.Skip("this machine can't listen there: ", err)
			}
			_, server := accept(t, l)
			got, err := UserOfTCP(addrPort(server.LocalAddr()), addrPort(server.RemoteAddr()))
			if err != nil || got != me(t) {
				t.Errorf("got %q, %v; want %q", got, err, me(t))
			}
		})
	}
}

func addrPort(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }

func TestUserOfTCPFromElsewhere(t *testing.T) {
	local, remote := netip.MustParseAddrPort("192.0.2.1:4100"), netip.MustParseAddrPort("198.51.100.7:1234")
	if got, err := UserOfTCP(local, remote); !errors.Is(err, ErrUnknownPeer) {
		t.Errorf("got %q, %v", got, err)
	}
}

// The kernel lists sockets that are closing with uid 0. Whoever takes such a
// line for the peer makes a stranger root.
func TestOnlyEstablishedSocketsCount(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1004 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:D431 0100007F:1004 06 00000000:00000000 03:00000D5C 00000000     0        0 0 3 0
   2: short line
   3: nonsense:1004 0100007F:1004 01 00000000:00000000 00:00000000 00000000  1001        0 7 1 0 20 4 30 10 -1
   4: 0100007F:D432 0100007F:1004 01 00000000:00000000 00:00000000 00000000  1002        0 8 1 0 20 4 30 10 -1
`
	server := netip.MustParseAddrPort("127.0.0.1:4100")
	if uid, err := findSocket(strings.NewReader(table), netip.MustParseAddrPort("127.0.0.1:54321"), server); !errors.Is(err, ErrUnknownPeer) {
		t.Errorf("TIME_WAIT gives uid %d, %v", uid, err)
	}
	if uid, err := findSocket(strings.NewReader(table), netip.MustParseAddrPort("127.0.0.1:54322"), server); err != nil || uid != 1002 {
		t.Errorf("uid %d, %v", uid, err)
	}
}

func TestAUserWithoutANameIsANumber(t *testing.T) {
	if got := userName(4_000_000_001); got != "4000000001" {
		t.Errorf("got %q", got)
	}
}

func FuzzParseSocket(f *testing.F) {
	for _, s := range []string{"0100007F:1004", "00000000000000000000000001000000:1004", "0000000000000000FFFF00000100007F:D432", ":", "x:y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := parseSocket(s); err == nil && (!a.IsValid() || a.Addr().Is4In6()) {
			t.Errorf("%q gives %v", s, a)
		}
	})
}

func TestIsOperator(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	_, server := accept(t, l)
	if !IsOperator(server.(*net.UnixConn)) {
		t.Error("this process's own user is none")
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if IsOperator(server.(*net.UnixConn)) {
		t.Error("nobody is one")
	}
}

func TestUserExists(t *testing.T) {
	for name, want := range map[string]bool{
		me(t): true, "0": true, "4294967295": true, "nobody-of-this-name-f3a9": false, "": false,
	} {
		if got := UserExists(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
