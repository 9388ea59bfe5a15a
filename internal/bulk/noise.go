package bulk

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"

	"github.com/flynn/noise"
	"golang.org/x/sys/cpu"
)

// Sizes of the handshake, in bytes.
const (
	ephemeralLen = 32
	msg2Len      = ephemeralLen + relayIDLen + tagLen
	relayIDLen   = 8
	clientIDLen  = 4
)

var errHandshake = errors.New("bulk: the handshake does not open")

var cipherSuites = map[suite]noise.CipherSuite{
	suiteAES:    noise.NewCipherSuite(noise.DH25519, noise.CipherAESGCM, noise.HashSHA256),
	suiteChaCha: noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashSHA256),
}

// bestSuite is the one that this machine computes fast: without instructions
// for AES and carry-less products, AES-GCM is several times slower.
func bestSuite() suite {
	switch {
	case cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ, cpu.ARM64.HasAES && cpu.ARM64.HasPMULL, cpu.S390X.HasAESGCM:
		return suiteAES
	}
	return suiteChaCha
}

// handshake is one side of Noise NNpsk0 (section 1).
type handshake struct {
	suite suite
	key   *Key
	head  []byte // the HELLO's first 24 bytes
	state *noise.HandshakeState

	// A client's, so that it can begin anew after a forged answer.
	seed    []byte
	payload []byte
}

func newHandshake(key *Key, s suite, head []byte, initiator bool) (*handshake, error) {
	h := &handshake{suite: s, key: key, head: head}
	if initiator {
		h.seed = make([]byte, ephemeralLen)
		_, _ = rand.Read(h.seed) // never fails
	}
	return h, h.begin(initiator)
}

func (h *handshake) begin(initiator bool) (err error) {
	cs, ok := cipherSuites[h.suite]
	if !ok {
		return errHandshake
	}
	var random io.Reader
	if initiator {
		random = bytes.NewReader(h.seed)
	}
	h.state, err = noise.NewHandshakeState(noise.Config{
		CipherSuite:  cs,
		Random:       random,
		Pattern:      noise.HandshakeNN,
		Initiator:    initiator,
		Prologue:     append([]byte("jumpget bulk"), h.head...),
		PresharedKey: h.key.psk[:],
	})
	return err
}

// ask is the client's first half: it appends message 1 to out.
func (h *handshake) ask(out, payload []byte) ([]byte, error) {
	h.payload = payload
	msg, _, _, err := h.state.WriteMessage(out, payload)
	return msg, err
}

// hear is the relay's first half: it opens message 1.
func (h *handshake) hear(msg []byte) (payload []byte, err error) {
	payload, _, _, err = h.state.ReadMessage(nil, msg)
	if err != nil {
		return nil, errHandshake
	}
	return payload, nil
}

// answer is the relay's second half.
func (h *handshake) answer(id uint64) (msg []byte, in *opener, out *sealer, err error) {
	payload := binary.BigEndian.AppendUint64(nil, id)
	msg, toRelay, toClient, err := h.state.WriteMessage(nil, payload)
	if err != nil {
		return nil, nil, nil, err
	}
	return msg, newOpener(h.suite, toRelay.UnsafeKey()), newSealer(h.suite, toClient.UnsafeKey()), nil
}

// finish is the client's second half. A message that does not open leaves the
// handshake as it was, so a forged answer does no harm. The library can't be
// relied on for that: it does not roll back after a bad public key.
func (h *handshake) finish(msg []byte) (id uint64, in *opener, out *sealer, err error) {
	payload, toRelay, toClient, err := h.state.ReadMessage(nil, msg)
	if err != nil || len(payload) != relayIDLen {
		if err := h.begin(true); err != nil {
			return 0, nil, nil, err
		}
		if _, err := h.ask(nil, h.payload); err != nil {
			return 0, nil, nil, err
		}
		return 0, nil, nil, errHandshake
	}
	return binary.BigEndian.Uint64(payload), newOpener(h.suite, toClient.UnsafeKey()), newSealer(h.suite, toRelay.UnsafeKey()), nil
}
