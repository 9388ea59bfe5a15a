// Package access decides who may read at the relay's public door and tells who
// somebody is: job tokens ([NewToken], [Hash], [Match]), grants of addresses
// ([Allowed]), the true address behind a trusted proxy ([Proxies]) and the user
// at the other end of a local connection ([UserOfTCP], [UserOfUnix]).
//
// A token alone is never enough and neither is an address: the public door
// serves a request only if [Match] and [Allowed] both say yes.
package access

import (
	"net/netip"
	"time"

	"github.com/jumpget/jumpget/internal/job"
)

// Allowed reports whether one of the grants lets addr read the owner's job at
// the time now. An invalid address never is.
func Allowed(grants []job.Grant, owner string, id job.ID, addr netip.Addr, now time.Time) bool {
	addr = canonical(addr)
	if !addr.IsValid() {
		return false
	}
	for _, g := range grants {
		if g.Allows(owner, id, addr, now) {
			return true
		}
	}
	return false
}

// canonical is the form in which addresses are compared: no zone, and IPv4 as
// IPv4 however it was written.
func canonical(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
