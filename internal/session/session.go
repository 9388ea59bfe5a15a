// Package session is what client and relay make of a session's secret. A session
// is issued over ssh, and lets its holder do for some hours what ssh would let
// him do: use the relay's local API as his user. See docs/security.md.
//
// The relay keeps the SHA-256 of the secret alone, and everything that is used on
// the wire is derived from that hash: the key of the session's streams over UDP
// (bulk.NewSessionKey), the bearer that opens the local API at the public door
// inside TLS, and the tokens of the jobs that were submitted in the session.
package session

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
)

const (
	secretBytes = 32

	infoBearer = "jumpget session 1 bearer"
	infoTicket = "jumpget session 1 ticket "
)

// encoding is strict, so that each secret has one spelling only.
var encoding = base64.RawURLEncoding.Strict()

// Secret is 256 random bits that client and relay share. It does not print itself.
type Secret struct{ b [secretBytes]byte }

// New returns a fresh secret.
func New() Secret {
	var s Secret
	_, _ = rand.Read(s.b[:]) // never fails
	return s
}

var errSecret = errors.New("session: not a secret of 43 base64url characters")

// Parse reads what Reveal wrote.
func Parse(text string) (Secret, error) {
	var s Secret
	b, err := encoding.DecodeString(text)
	// The decoder skips line breaks, so the length of the text counts too.
	if err != nil || len(b) != secretBytes || len(text) != encoding.EncodedLen(secretBytes) {
		return s, errSecret
	}
	copy(s.b[:], b)
	return s, nil
}

// Reveal returns the secret as 43 base64url characters.
func (s Secret) Reveal() string { return encoding.EncodeToString(s.b[:]) }

// String hides the secret.
func (s Secret) String() string { return "(secret)" }

// Format hides the secret from every verb of package fmt.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// LogValue hides the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Hash returns what the relay keeps.
func (s Secret) Hash() Hash { return sha256.Sum256(s.b[:]) }

// Hash is the SHA-256 of a secret. While the session lives it is as good as the
// secret itself, see docs/security.md.
type Hash [sha256.Size]byte

// Bearer is what a client shows at the public door, inside TLS and after the pin
// has been checked: 43 base64url characters.
func (h Hash) Bearer() string { return h.derive(infoBearer) }

// Ticket is the token of the job that is submitted in the session under an id of
// the client's choice. Both ends know it before the relay has answered, so the
// request for the bytes need not wait for a ticket. It has the form of every
// token, 43 base64url characters.
func (h Hash) Ticket(submission string) string { return h.derive(infoTicket + submission) }

func (h Hash) derive(info string) string {
	b, err := hkdf.Key(sha256.New, h[:], nil, info, secretBytes)
	if err != nil {
		panic(err) // only for lengths that HKDF can't make
	}
	return encoding.EncodeToString(b)
}
