package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
)

// tokenBytes is the entropy of a token.
const tokenBytes = 32

// tokenEncoding is strict, so that each token has one spelling only.
var tokenEncoding = base64.RawURLEncoding.Strict()

// NewToken returns a fresh token of 256 random bits as 43 base64url characters.
// Keep only its Hash.
func NewToken() string {
	var b [tokenBytes]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	return tokenEncoding.EncodeToString(b[:])
}

// Hash returns what the relay keeps of a token. A plain SHA-256 will do: a
// token has too much entropy to be guessed from it.
func Hash(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

// Match reports whether the hash is that of the token, in constant time for
// tokens of the right form. A malformed token matches nothing.
func Match(hash [sha256.Size]byte, token string) bool {
	if len(token) != tokenEncoding.EncodedLen(tokenBytes) {
		return false
	}
	// The decoder skips line breaks, so the length of what it gives counts too.
	if b, err := tokenEncoding.DecodeString(token); err != nil || len(b) != tokenBytes {
		return false
	}
	got := Hash(token)
	return subtle.ConstantTimeCompare(hash[:], got[:]) == 1
}
