package bulk

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
)

// Types of packets (section 2).
const (
	typeHello  = 1
	typeCookie = 2
	typeAnswer = 3
	typeData   = 4
	typeClient = 5

	version = 1
)

// Sizes of packets and their heads, in bytes.
const (
	helloHead  = 4 + len(KeyID{}) + clientIDLen
	macLen     = 16
	helloCost  = helloHead + ephemeralLen + tagLen + 2*macLen // beside the payload
	minHello   = 256
	cookieLen  = 16
	cookieHead = 1 + clientIDLen
	cookieSize = cookieHead + 24 + cookieLen + tagLen
	answerHead = 1 + clientIDLen + msg2Len + 4
	dataHead   = 1 + clientIDLen + 4
	clientHead = 1 + relayIDLen + 4

	basePacket = 1200 // of UDP payload: what every path carries
	maxPacket  = 1472

	// wireOverhead is what a datagram costs a link beyond its payload, as the
	// congestion controller counts it.
	wireOverhead = 28
)

// hello is a HELLO taken apart; the slices point into the packet.
type hello struct {
	suite  suite
	keyID  KeyID
	client uint32
	head   []byte // the first 24 bytes
	msg1   []byte // Noise message 1
	first  []byte // the first MAC, and what it is of
	firsts []byte
	mac    []byte // the cookie's, and what it is of
	signed []byte
}

// ephemeral is the client's public key.
func (h *hello) ephemeral() []byte { return h.msg1[:ephemeralLen] }

// helloStart returns the first 24 bytes of a HELLO.
func helloStart(s suite, id KeyID, client uint32) []byte {
	b := append([]byte{typeHello, version, byte(s), 0}, id[:]...)
	return binary.BigEndian.AppendUint32(b, client)
}

func parseHello(p []byte) (h hello, ok bool) {
	if len(p) < minHello || len(p) > basePacket || p[0] != typeHello || p[1] != version || p[3] != 0 {
		return h, false
	}
	end := len(p) - macLen
	firstEnd := end - macLen
	h = hello{
		suite:  suite(p[2]),
		client: binary.BigEndian.Uint32(p[helloHead-clientIDLen:]),
		head:   p[:helloHead],
		msg1:   p[helloHead:firstEnd],
		first:  p[firstEnd:end],
		firsts: p[:firstEnd],
		mac:    p[end:],
		signed: p[:end],
	}
	copy(h.keyID[:], p[4:])
	return h, h.suite == suiteAES || h.suite == suiteChaCha
}

// authentic tells whether somebody with the key made a HELLO. It costs a
// twentieth of opening it, so that a flood of bad ones does no harm.
func (h *hello) authentic(key *Key) bool {
	return subtle.ConstantTimeCompare(h.first, shortMAC(key.hello[:], h.firsts)) == 1
}

// signHello puts the cookie's MAC into a HELLO.
func signHello(p []byte, cookie [cookieLen]byte) {
	end := len(p) - macLen
	copy(p[end:], shortMAC(cookie[:], p[:end]))
}

func (h *hello) signedWith(cookie [cookieLen]byte) bool {
	return subtle.ConstantTimeCompare(h.mac, shortMAC(cookie[:], h.signed)) == 1
}

func shortMAC(key, text []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(text)
	return m.Sum(nil)[:macLen]
}

// answer is an ANSWER or DATA packet's head.
type answer struct {
	msg2 []byte // nil in a DATA packet
	low  uint32 // of the packet's number
	head int    // length of the head
}

// parseAnswer reads the head of a packet to the client with this id.
func parseAnswer(p []byte, client uint32) (a answer, ok bool) {
	if len(p) < dataHead+tagLen || binary.BigEndian.Uint32(p[1:]) != client {
		return a, false
	}
	switch {
	case p[0] == typeData:
		a.head = dataHead
	case p[0] == typeAnswer && len(p) >= answerHead+tagLen:
		a.head = answerHead
		a.msg2 = p[1+clientIDLen : answerHead-4]
	default:
		return a, false
	}
	a.low = binary.BigEndian.Uint32(p[a.head-4:])
	return a, true
}

// appendAnswer appends the head of a packet to the client; msg2 is nil in DATA.
func appendAnswer(b []byte, client uint32, msg2 []byte, number uint64) []byte {
	if msg2 == nil {
		b = append(b, typeData)
	} else {
		b = append(b, typeAnswer)
	}
	b = binary.BigEndian.AppendUint32(b, client)
	b = append(b, msg2...)
	return binary.BigEndian.AppendUint32(b, uint32(number))
}

// parseClient reads the head of a CLIENT packet.
func parseClient(p []byte) (relay uint64, low uint32, ok bool) {
	if len(p) < clientHead+tagLen || p[0] != typeClient {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(p[1:]), binary.BigEndian.Uint32(p[1+relayIDLen:]), true
}

func appendClient(b []byte, relay, number uint64) []byte {
	b = append(b, typeClient)
	b = binary.BigEndian.AppendUint64(b, relay)
	return binary.BigEndian.AppendUint32(b, uint32(number))
}
