package bulk

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// cookieLife is how long a secret makes new cookies; they are accepted as long
// again.
const cookieLife = 2 * time.Minute

// cookieJar makes cookies without remembering any (section 6).
type cookieJar struct {
	secret, before [32]byte
	since          time.Time
}

func (j *cookieJar) turn(now time.Time) {
	switch age := now.Sub(j.since); {
	case age < cookieLife && !j.since.IsZero():
		return
	case age < 2*cookieLife && !j.since.IsZero():
		j.before = j.secret
	default:
		_, _ = rand.Read(j.before[:]) // never fails
	}
	_, _ = rand.Read(j.secret[:])
	j.since = now
}

func (j *cookieJar) make(addr netip.AddrPort, now time.Time) [cookieLen]byte {
	j.turn(now)
	return cookieFor(j.secret, addr)
}

// signed tells whether a HELLO bears a cookie made for this address.
func (j *cookieJar) signed(h *hello, addr netip.AddrPort, now time.Time) bool {
	j.turn(now)
	return h.signedWith(cookieFor(j.secret, addr)) || h.signedWith(cookieFor(j.before, addr))
}

func cookieFor(secret [32]byte, addr netip.AddrPort) (c [cookieLen]byte) {
	ip := addr.Addr().As16()
	m := hmac.New(sha256.New, secret[:])
	m.Write(ip[:])
	m.Write(binary.BigEndian.AppendUint16(nil, addr.Port()))
	copy(c[:], m.Sum(nil))
	return c
}

// sendCookie answers a HELLO by a cookie; the server's lock is held.
func (s *Server) sendCookie(d *Datagram, h *hello, a *admission, now time.Time) {
	b := append([]byte{typeCookie}, binary.BigEndian.AppendUint32(nil, h.client)...)
	b = sealCookie(b, &a.key, h.ephemeral(), s.cookies.make(d.Path.Remote, now))
	_ = s.pc.Send(b, len(b), d.Path) // lost or not, the client asks again
}

func sealCookie(b []byte, key *Key, ephemeral []byte, cookie [cookieLen]byte) []byte {
	x, err := chacha20poly1305.NewX(key.cookie[:])
	if err != nil {
		panic(err) // only for keys of another length
	}
	var nonce [chacha20poly1305.NonceSizeX]byte
	_, _ = rand.Read(nonce[:]) // never fails
	b = append(b, nonce[:]...)
	return x.Seal(b, nonce[:], cookie[:], ephemeral)
}

// openCookie reads a COOKIE packet that answers the HELLO with this ephemeral key.
func openCookie(p []byte, key *Key, client uint32, ephemeral []byte) (c [cookieLen]byte, ok bool) {
	if len(p) != cookieSize || p[0] != typeCookie || binary.BigEndian.Uint32(p[1:]) != client {
		return c, false
	}
	x, err := chacha20poly1305.NewX(key.cookie[:])
	if err != nil {
		return c, false
	}
	nonce, sealed := p[cookieHead:cookieHead+x.NonceSize()], p[cookieHead+x.NonceSize():]
	plain, err := x.Open(nil, nonce, sealed, ephemeral)
	if err != nil {
		return c, false
	}
	copy(c[:], plain)
	return c, true
}

// meter counts events of the last second, in two halves.
type meter struct {
	since     time.Time
	now, last int
}

func (m *meter) turn(now time.Time) {
	const half = 500 * time.Millisecond
	switch age := now.Sub(m.since); {
	case age >= 2*half:
		m.now, m.last, m.since = 0, 0, now
	case age >= half:
		m.last, m.now, m.since = m.now, 0, now
	}
}

func (m *meter) add(now time.Time) {
	m.turn(now)
	m.now++
}

func (m *meter) at(now time.Time) int {
	m.turn(now)
	return m.now + m.last
}
