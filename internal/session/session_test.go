package session_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/jumpget/jumpget/internal/session"
)

func TestSecretsDiffer(t *testing.T) {
	if a, b := session.New(), session.New(); a == b {
		t.Error("two secrets are the same")
	}
}

func TestRevealParse(t *testing.T) {
	s := session.New()
	got, err := session.Parse(s.Reveal())
	if err != nil || got != s {
		t.Errorf("Parse(Reveal()) = another secret, or %v", err)
	}
	text := s.Reveal()
	for _, bad := range []string{"", text[1:], text + "A", " " + text, text[:42] + "=", text + "\n", text[:20] + "\r\n" + text[20:], strings.Repeat("!", 43)} {
		if _, err := session.Parse(bad); err == nil {
			t.Errorf("Parse(%q) took it", bad)
		}
	}
}

// A secret ends up in no log and no message by mistake.
func TestSecretsHide(t *testing.T) {
	s := session.New()
	raw, _ := session.Parse(s.Reveal())
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "secret", s)
	fmt.Fprintf(&b, "%v %+v %#v %s %x %q", s, s, s, s, s, &raw)
	for _, leak := range []string{s.Reveal(), hex.EncodeToString([]byte(s.Reveal()))} {
		if strings.Contains(b.String(), leak) {
			t.Errorf("printed: %s", b.String())
		}
	}
	if n := strings.Count(b.String(), "(secret)"); n != 7 {
		t.Errorf("hidden %d times of 7: %s", n, b.String())
	}
}

// The derived values are part of the contract: another implementation has to
// come to the same.
func TestDerivedValues(t *testing.T) {
	s, err := session.Parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
	if err != nil {
		t.Fatal(err)
	}
	h := s.Hash()
	if got := hex.EncodeToString(h[:]); got != "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd" {
		t.Errorf("hash %s", got)
	}
	values := []string{h.Bearer(), h.Ticket("a"), h.Ticket("b"), s.Reveal()}
	for i, v := range values {
		if len(v) != 43 {
			t.Errorf("value %d has %d characters", i, len(v))
		}
		for j := range i {
			if values[j] == v {
				t.Errorf("values %d and %d are the same", i, j)
			}
		}
	}
}
