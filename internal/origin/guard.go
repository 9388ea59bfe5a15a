package origin

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/jumpget/jumpget/internal/job"
)

// Guard says which addresses the relay may connect to. The zero value allows
// the public internet alone.
type Guard struct {
	Allow []netip.Prefix // allowed besides
	Deny  []netip.Prefix // refused whatever else is said, e.g. the relay's public address behind NAT
	All   bool           // allow everything that Deny does not name
}

// refused4 are the IPv4 networks that are not the public internet, and the
// metadata services that some clouds keep at public-looking addresses.
var refused4 = prefixes(
	"0.0.0.0/8",        // "this host": connects to the machine itself
	"10.0.0.0/8",       // private
	"100.64.0.0/10",    // carrier-grade NAT; 100.100.100.200 is Alibaba's metadata
	"127.0.0.0/8",      // loopback
	"168.63.129.16/32", // Azure's host
	"169.254.0.0/16",   // link-local; 169.254.169.254 is the metadata of most clouds
	"172.16.0.0/12",    // private
	"192.0.0.0/24",     // protocol assignments
	"192.0.2.0/24",     // documentation
	"192.88.99.0/24",   // 6to4 relays
	"192.168.0.0/16",   // private
	"198.18.0.0/15",    // benchmarks
	"198.51.100.0/24",  // documentation
	"203.0.113.0/24",   // documentation
	"224.0.0.0/4",      // multicast
	"240.0.0.0/4",      // reserved and broadcast
)

// public6 is all of IPv6 that is handed out to the internet; loopback, ULA,
// link-local, multicast and the IPv4-compatible forms lie outside of it.
var public6 = netip.MustParsePrefix("2000::/3")

// refused6 are the networks within public6 that are not the internet, or that
// embed an IPv4 address by way of some gateway.
var refused6 = prefixes(
	"2001::/23",     // protocol assignments: Teredo, benchmarks, ORCHID
	"2001:db8::/32", // documentation
	"2002::/16",     // 6to4
	"3fff::/20",     // documentation
)

// nat64 embeds an IPv4 address in its last four bytes; it is how a machine
// without IPv4 reaches it. The local form 64:ff9b:1::/48 lies outside public6.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

func prefixes(s ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(s))
	for i, p := range s {
		out[i] = netip.MustParsePrefix(p)
	}
	return out
}

// Check returns nil if addr may be connected to, else a *job.Error with
// CodeOriginDenied.
func (g Guard) Check(addr netip.Addr) error { return g.check(addr, interfaceAddrs) }

func (g Guard) check(addr netip.Addr, own func() []netip.Addr) error {
	addr = addr.Unmap().WithZone("")
	switch {
	case within(g.Deny, addr):
		return denied(addr).WithHint("the relay's owner has ruled this address out")
	case g.All, within(g.Allow, addr):
		return nil
	case public(addr) && !slices.Contains(own(), addr):
		return nil
	}
	return denied(addr).WithHint("if the relay's owner wants this: serve --allow-private-origins %s", netip.PrefixFrom(addr, addr.BitLen()))
}

func denied(addr netip.Addr) *job.Error {
	return job.Errorf(job.CodeOriginDenied, "the relay may not connect to %s, which is not a public address", addr)
}

func within(nets []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// public reports whether addr belongs to the internet at large.
func public(addr netip.Addr) bool {
	switch {
	case addr.Is4():
		return !within(refused4, addr)
	case nat64.Contains(addr):
		b := addr.As16()
		return public(netip.AddrFrom4([4]byte(b[12:])))
	}
	return public6.Contains(addr) && !within(refused6, addr)
}

// interfaceAddrs returns the machine's own addresses. They are asked for anew
// each time, since they come and go; it costs less than a connection.
func interfaceAddrs() []netip.Addr {
	nets, err := net.InterfaceAddrs()
	if err != nil {
		return nil // private ones are refused by their range anyway
	}
	var out []netip.Addr
	for _, n := range nets {
		if ipnet, ok := n.(*net.IPNet); ok {
			if a, ok := netip.AddrFromSlice(ipnet.IP); ok {
				out = append(out, a.Unmap())
			}
		}
	}
	return out
}

// control is a net.Dialer's hook: it sees each address after its name has been
// resolved and before the connection is made, so a name can't change in between.
func (g Guard) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return job.Errorf(job.CodeOriginDenied, "the relay can't tell what address %q is", address).WithHint("use a host name or a plain IP address")
	}
	return g.Check(ap.Addr())
}
