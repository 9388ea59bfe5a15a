package bulk

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"math"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.zx2c4.com/wireguard/replay"
)

// KeyID names a key in the clear, in a connection's first packet.
type KeyID [16]byte

// Key is what both ends make of one ticket's token (section 1).
type Key struct {
	ID     KeyID
	psk    [32]byte
	hello  [32]byte
	cookie [32]byte
}

// NewKey derives the key from the SHA-256 of the token.
func NewKey(tokenHash [sha256.Size]byte) Key { return newKey(tokenHash, "jumpget bulk 1 ") }

// NewSessionKey derives the key of a session's streams from the hash of its
// secret.
func NewSessionKey(hash [sha256.Size]byte) Key { return newKey(hash, "jumpget bulk 1 session ") }

func newKey(hash [sha256.Size]byte, label string) Key {
	var k Key
	copy(k.ID[:], derive(hash, label+"key id", len(k.ID)))
	copy(k.psk[:], derive(hash, label+"psk", len(k.psk)))
	copy(k.hello[:], derive(hash, label+"hello", len(k.hello)))
	copy(k.cookie[:], derive(hash, label+"cookie", len(k.cookie)))
	return k
}

func derive(secret [sha256.Size]byte, info string, n int) []byte {
	b, err := hkdf.Key(sha256.New, secret[:], nil, info, n)
	if err != nil {
		panic(err) // only for lengths that HKDF can't make
	}
	return b
}

// suite is the cipher that a client chose.
type suite uint8

const (
	suiteAES    suite = 1
	suiteChaCha suite = 2
)

const (
	tagLen   = 16
	nonceLen = 12

	// generationBits sets how many packets one key seals: 2^20.
	generationBits = 20
)

// aead returns the suite's AEAD under a key.
func (s suite) aead(key [32]byte) cipher.AEAD {
	var a cipher.AEAD
	var err error
	if s == suiteChaCha {
		a, err = chacha20poly1305.New(key[:])
	} else {
		var b cipher.Block
		if b, err = aes.NewCipher(key[:]); err == nil {
			a, err = cipher.NewGCM(b)
		}
	}
	if err != nil {
		panic(err) // only for keys of another length
	}
	return a
}

// nonce writes the number as Noise makes a nonce of it.
func (s suite) nonce(b *[nonceLen]byte, n uint64) {
	if s == suiteChaCha {
		binary.LittleEndian.PutUint64(b[4:], n)
		return
	}
	binary.BigEndian.PutUint64(b[4:], n)
}

// generation is one key of the chain that Split began.
type generation struct {
	number uint64
	key    [32]byte
	aead   cipher.AEAD
}

func (s suite) first(key [32]byte) generation { return generation{key: key, aead: s.aead(key)} }

// next is Noise's REKEY.
func (s suite) next(g generation) generation {
	var nonce [nonceLen]byte
	var zeros [32]byte
	s.nonce(&nonce, math.MaxUint64)
	n := generation{number: g.number + 1}
	copy(n.key[:], g.aead.Seal(nil, nonce[:], zeros[:], nil))
	n.aead = s.aead(n.key)
	return n
}

// sealer numbers and seals the packets of one direction.
type sealer struct {
	suite suite
	gen   generation
	next  uint64 // the next packet's number
	nonce [nonceLen]byte
}

func newSealer(s suite, key [32]byte) *sealer { return &sealer{suite: s, gen: s.first(key)} }

// seal seals pkt[head:] in place with the next packet's number, which the header
// must hold already, and returns the packet; pkt needs room for the tag.
func (s *sealer) seal(pkt []byte, head int) []byte {
	for s.next>>generationBits > s.gen.number {
		s.gen = s.suite.next(s.gen)
	}
	s.suite.nonce(&s.nonce, s.next)
	s.next++
	sealed := s.gen.aead.Seal(pkt[head:head], s.nonce[:], pkt[head:], pkt[:head])
	return pkt[:head+len(sealed)]
}

// opener opens the packets of one direction, each number once.
type opener struct {
	suite  suite
	gens   [3]generation // by number modulo 3: the newest packet's and its neighbours
	newest uint64        // the highest number that opened
	any    bool
	window replay.Filter
	nonce  [nonceLen]byte
}

func newOpener(s suite, key [32]byte) *opener {
	o := &opener{suite: s}
	o.gens[0] = s.first(key)
	o.gens[1] = s.next(o.gens[0])
	return o
}

// number completes the low bits of a packet's number.
func (o *opener) number(low uint32) uint64 {
	n := int64(o.newest) + int64(int32(low-uint32(o.newest)))
	if n < 0 {
		n += 1 << 32
	}
	return uint64(n)
}

// open opens pkt[head:] in place. It fails for what is forged, too old or has
// been seen.
func (o *opener) open(pkt []byte, head int, low uint32) (plain []byte, number uint64, ok bool) {
	if len(pkt) < head+tagLen {
		return nil, 0, false
	}
	n := o.number(low)
	g := &o.gens[n>>generationBits%3]
	if g.aead == nil || g.number != n>>generationBits {
		return nil, 0, false
	}
	o.suite.nonce(&o.nonce, n)
	plain, err := g.aead.Open(pkt[head:head], o.nonce[:], pkt[head:], pkt[:head])
	if err != nil || !o.window.ValidateCounter(n, math.MaxUint64) {
		return nil, 0, false
	}
	if n > o.newest || !o.any {
		o.advance(n)
	}
	return plain, n, true
}

// advance makes n the newest and prepares the key of the generation after its.
func (o *opener) advance(n uint64) {
	old := o.newest >> generationBits
	o.newest, o.any = n, true
	if gen := n >> generationBits; gen != old {
		o.gens[(gen+1)%3] = o.suite.next(o.gens[gen%3])
	}
}
