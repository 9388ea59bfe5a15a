// Package relayd puts a whole relay together: store, bodies, origin, doors and
// the optional ssh endpoint, from one set of options. The commands serve and
// try and the end-to-end tests all run this.
package relayd

import (
	"log/slog"
	"net/netip"
	"time"
)

// Off as an address or port switches that door off.
const Off = "off"

// Options are the settings of a relay. The zero value of each field is
// documented; only DataDir is required.
type Options struct {
	DataDir string // where everything is kept; made with mode 0700 if missing

	LocalAddr   string // host:port of the local API; "": 127.0.0.1:4100; Off: none; port 0: any free one
	LocalSocket string // path of its Unix socket; "": api.sock in DataDir; Off: none (always so on Windows)
	LocalSecret string // asked for as a bearer on the TCP port; "": none

	PublicAddr string // host:port of the public door; "": :3100; port 0: any free one
	PublicURL  string // as clients reach the public door; "": the host they reach by ssh

	SSHListen      string // host:port of the relay's own ssh endpoint; "": none
	AuthorizedKeys string // its authorized_keys file; "": authorized_keys in DataDir

	// Sessions is how long a session lasts from its last use, at most 7 days; 0: 12 h;
	// negative: there are none.
	Sessions time.Duration

	Retain              time.Duration  // how long a file is kept; 0: 12 h
	Quota               int64          // bytes of all bodies; 0: no quota
	MaxFile             int64          // bytes of one file; 0: no cap but the quota and the disk
	Fetches             int            // fetches at once; 0: 8
	AllowPrivateOrigins []netip.Prefix // private addresses that origins may have; empty: none
	TrustedProxies      []netip.Prefix // whose X-Forwarded-For is believed; empty: none
	Trace               string         // folder for traces of UDP connections; "": none

	Version string           // of the program, told in the status; "": "unknown"
	Log     *slog.Logger     // nil: nothing is logged
	Ready   func(Addresses)  // called once, when every door is open; may be nil
	Clock   func() time.Time // nil: time.Now
}

// Addresses tells where a running relay listens.
type Addresses struct {
	Local  netip.AddrPort // the local API's TCP port; invalid: off
	Socket string         // the local API's Unix socket; "": off
	Public netip.AddrPort // the public door
	SSH    netip.AddrPort // the ssh endpoint; invalid: off
	// SSHHostKey is the endpoint's public host key in authorized_keys form,
	// fit for a known_hosts line; "" if the endpoint is off.
	SSHHostKey string
	Pin        string // of the public door's certificate
}
