package wire

import (
	"net/netip"
	"time"

	"github.com/jumpget/jumpget/internal/job"
)

// Routes of the local API for sessions. {session} is a session's ID. Only the
// last is open to a session itself, for its own ID.
const (
	RouteSessionNew     = "POST /v1/sessions"             // NewSession; answers Session with its secret; never in a session
	RouteSessions       = "GET /v1/sessions"              // answers Sessions; ?all=1 everybody's, for the operator
	RouteSessionsRevoke = "DELETE /v1/sessions"           // all of the caller's; ?all=1 everybody's, for the operator; 204
	RouteSessionRevoke  = "DELETE /v1/sessions/{session}" // ?all=1 also somebody else's, for the operator; 204
)

// SessionPath returns the API path of one session.
func SessionPath(id job.ID) string { return "/v1/sessions/" + string(id) }

// RouteStream opens the local API at the public door for a session: a request
// inside TLS with "Connection: Upgrade", "Upgrade: jumpget/1" and the session's
// bearer is answered with 101, and the rest of the connection is a stream to the
// local API. Anything else is refused like every path that does not exist.
const RouteStream = "GET /v1/stream"

// UpgradeProtocol is the token of RouteStream's Upgrade header. Its number grows
// when the stream would begin in another way than with the local API's HTTP/2.
const UpgradeProtocol = "jumpget/1"

// HeaderSession tells, on every answer in a session, until when the session
// counts if it is not used again: a time in RFC 3339.
const HeaderSession = "Jumpget-Session-Expires"

// NewSession asks for a session.
type NewSession struct {
	Name string `json:"name"` // of the machine that will keep it, for people
}

// Session is a session as its owner sees it.
type Session struct {
	ID        job.ID     `json:"id"`
	Name      string     `json:"name"`             // as asked for
	User      string     `json:"user"`             // whose jobs it may submit and read
	Secret    string     `json:"secret,omitempty"` // 43 characters of base64url; only in the answer to RouteSessionNew
	Created   time.Time  `json:"created"`
	Used      time.Time  `json:"used"`                // last; Created if never
	Expires   time.Time  `json:"expires"`             // if it is not used again
	Until     time.Time  `json:"until"`               // however much it is used
	Address   netip.Addr `json:"address,omitzero"`    // from which it was used last
	Endpoints []Endpoint `json:"endpoints,omitempty"` // only in the answer to RouteSessionNew
}

// Sessions is the answer to RouteSessions, the oldest first.
type Sessions struct {
	Sessions []Session `json:"sessions"`
}
