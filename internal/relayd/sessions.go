package relayd

import (
	"net/netip"

	"github.com/jumpget/jumpget/internal/access"
	"github.com/jumpget/jumpget/internal/bulk"
	"github.com/jumpget/jumpget/internal/httpd"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/relay"
)

// sessionIssued passes a session on to the UDP door, once there is one.
func (d *daemon) sessionIssued(s *relay.Session) {
	if d.udp != nil {
		d.udp.SessionIssued(s)
	}
}

func (d *daemon) sessionEnded(id job.ID) {
	if d.udp != nil {
		d.udp.SessionEnded(id)
	}
}

// userExists asks where the user's name comes from. A user of the ssh endpoint is
// none while there is no endpoint.
func (d *daemon) userExists(s job.Session) bool {
	switch s.Source {
	case job.SourceSystem:
		return access.UserExists(s.Owner)
	case job.SourceKeys:
		return d.ssh != nil && d.ssh.HasUser(s.Owner)
	}
	return true
}

// serveStream leads a session's stream over UDP to the local API.
func (d *daemon) serveStream(stream *bulk.Stream, of *relay.Session) {
	err := d.local.ServeSession(httpd.SessionStream{
		Conn: stream, Session: of, Confirmed: stream.Confirmed(),
		Addr: func() netip.Addr {
			at, _ := netip.ParseAddrPort(stream.RemoteAddr().String()) // it always parses
			return at.Addr().Unmap()
		},
	})
	if err != nil {
		d.log.Debug("a session's stream ended", "session", of.ID(), "err", err)
	}
}
