package access

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
)

func TestNewToken(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		token := NewToken()
		b, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil || len(b) != 32 || len(token) != 43 || seen[token] {
			t.Fatalf("token %q: %d bytes, %v, seen before: %v", token, len(b), err, seen[token])
		}
		seen[token] = true
	}
}

func TestMatch(t *testing.T) {
	token := NewToken()
	hash := Hash(token)
	if !Match(hash, token) {
		t.Error("a token does not match its own hash")
	}
	for i := range token {
		other := "A"
		if token[i] == 'A' {
			other = "B"
		}
		if changed := token[:i] + other + token[i+1:]; Match(hash, changed) {
			t.Errorf("%q matches the hash of %q", changed, token)
		}
	}
	if Match(hash, NewToken()) {
		t.Error("another token matches")
	}
}

// A malformed token matches nothing, not even its own hash: whoever stored such
// a hash made a mistake.
func TestMalformedTokensNeverMatch(t *testing.T) {
	token := strings.Repeat("A", 43) // without its last character it still decodes, to one byte less
	for _, bad := range []string{
		"", "x", token[:42], token + "A", token + "=", " " + token[1:], token[:42] + "\n", token[:42] + "+",
		strings.Repeat("A", 1<<20), token[:42] + "B", // the last character has two bits that must be zero
	} {
		if bad != token && Match(Hash(bad), bad) {
			t.Errorf("malformed %.50q matches", bad)
		}
	}
	var none [32]byte
	if Match(none, "") || Match(none, token) {
		t.Error("an empty hash matches")
	}
}

func TestAllowed(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	six := netip.MustParseAddr("fe80::1")
	one, two := job.NewID(), job.NewID()
	later := now.Add(time.Minute)
	grants := []job.Grant{
		{Owner: "ann", Job: one, Addr: a, Expires: later},
		{Owner: "bob", Addr: b, Expires: later}, // every job of bob's
		{Owner: "ann", Job: two, Addr: a, Expires: now},
		{Owner: "ann", Job: two, Addr: six, Expires: later},
	}
	tests := []struct {
		name  string
		owner string
		id    job.ID
		addr  netip.Addr
		want  bool
	}{
		{"granted", "ann", one, a, true},
		{"granted, written as IPv6", "ann", one, netip.MustParseAddr("::ffff:192.0.2.1"), true},
		{"granted, with a zone", "ann", two, netip.MustParseAddr("fe80::1%eth0"), true},
		{"another address", "ann", one, b, false},
		{"a NAT neighbour's job", "eve", one, a, false},
		{"another job", "ann", two, b, false},
		{"expired at this moment", "ann", two, a, false},
		{"any job of the owner", "bob", two, b, true},
		{"no address", "ann", one, netip.Addr{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Allowed(grants, tt.owner, tt.id, tt.addr, now); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
	if Allowed([]job.Grant{{Owner: "ann", Expires: later}}, "ann", one, netip.Addr{}, now) {
		t.Error("a grant without an address allows a client without one")
	}
}
