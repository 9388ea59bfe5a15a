package sshend

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/crypto/ssh"
)

// sourceAddress is the critical option that x/crypto/ssh itself enforces.
const sourceAddress = "source-address"

// userExtension carries the user's name from authentication to the connection.
const userExtension = "jumpget-user"

// maxKeysFile bounds the file of authorized keys, in bytes.
const maxKeysFile = 4 << 20

// entry is one authorized key.
type entry struct {
	user string
	from string // addresses and CIDR blocks joined by commas
	any  bool   // from anywhere: from is not set
}

// keyring is a file of authorized keys. It is read at each login, which is rare
// and cheap next to a key exchange, and it is parsed when it has changed.
type keyring struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex
	content []byte
	entries map[string]entry // by the key's wire form
}

// lookup finds a key. When the file can't be read no key is authorized.
func (k *keyring) lookup(key ssh.PublicKey) (*ssh.Permissions, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.refresh(); err != nil {
		k.log.Error("the authorized keys can't be read; nobody may enter", "error", err)
		return nil, errors.New("no authorized keys")
	}
	e, ok := k.entries[string(key.Marshal())]
	if !ok {
		return nil, errors.New("the key is not authorized")
	}
	p := &ssh.Permissions{Extensions: map[string]string{userExtension: e.user}}
	if !e.any {
		p.CriticalOptions = map[string]string{sourceAddress: e.from}
	}
	return p, nil
}

// has reports whether some key is a user's. When in doubt one is: whoever asks
// ends what the user has.
func (k *keyring) has(user string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch err := k.refresh(); {
	case errors.Is(err, os.ErrNotExist):
		return false
	case err != nil:
		k.log.Error("the authorized keys can't be read", "error", err)
		return true
	}
	for _, e := range k.entries {
		if e.user == user {
			return true
		}
	}
	return false
}

// refresh reads the file; only a change is parsed and logged.
func (k *keyring) refresh() error {
	content, err := readLimited(k.path, maxKeysFile)
	if err != nil {
		return err
	}
	if k.entries != nil && bytes.Equal(content, k.content) {
		return nil
	}
	entries, complaints := parseKeys(content)
	for _, c := range complaints {
		k.log.Warn("a line of the authorized keys is left out", "file", k.path, "line", c.line, "reason", c.reason)
	}
	k.log.Info("read the authorized keys", "file", k.path, "keys", len(entries))
	k.content, k.entries = content, entries
	return nil
}

func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return b, err
}

// complaint is a line that was left out.
type complaint struct {
	line   int // from 1
	reason string
}

// parseKeys parses authorized keys. One bad line costs no other.
func parseKeys(content []byte) (map[string]entry, []complaint) {
	entries := map[string]entry{}
	var complaints []complaint
	n := 0
	for line := range bytes.Lines(content) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, e, err := parseLine(line)
		if _, known := entries[key]; err == nil && known {
			err = errors.New("the same key stands further up")
		}
		if err != nil {
			complaints = append(complaints, complaint{n, err.Error()})
			continue
		}
		entries[key] = e
	}
	return entries, complaints
}

// parseLine returns a key in wire form and what it may.
func parseLine(line []byte) (string, entry, error) {
	key, comment, options, _, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		return "", entry{}, errors.New("it is no public key")
	}
	if _, isCert := key.(*ssh.Certificate); isCert {
		return "", entry{}, errors.New("certificates are not supported")
	}
	e := entry{user: userName(comment), any: true}
	if e.user == "" {
		e.user = ssh.FingerprintSHA256(key)
	}
	for _, o := range options {
		if err := e.option(o); err != nil {
			return "", entry{}, err
		}
	}
	return string(key.Marshal()), e, nil
}

// userName makes a user's name of a key's comment, fit for logs and lists.
func userName(comment string) string {
	name := strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, strings.TrimSpace(comment))
	if r := []rune(name); len(r) > 64 {
		name = string(r[:64])
	}
	return name
}

// option applies one option of a line.
func (e *entry) option(option string) error {
	name, value, _ := strings.Cut(option, "=")
	switch name = strings.ToLower(name); {
	case name == "from" && !e.any:
		return errors.New(`it has from="" twice`)
	case name == "from":
		return e.limit(strings.Trim(value, `"`))
	case harmless[name] && value == "", name == "command" && value == `"`+bridgeCommand+`"`:
		return nil
	}
	return fmt.Errorf("the option %q is not supported", name)
}

// harmless are options that forbid what nobody can do here.
var harmless = map[string]bool{
	"restrict": true, "no-pty": true, "no-port-forwarding": true,
	"no-agent-forwarding": true, "no-x11-forwarding": true, "no-user-rc": true,
}

// limit sets where a key may come from. Host names, wildcards and exclusions are
// refused: a name server is no good witness of who calls.
func (e *entry) limit(list string) error {
	for item := range strings.SplitSeq(list, ",") {
		if _, err := netip.ParsePrefix(item); err == nil {
			continue
		}
		if a, err := netip.ParseAddr(item); err != nil || a.Zone() != "" {
			return errors.New(`from="" takes addresses and CIDR blocks only`)
		}
	}
	e.from, e.any = list, false
	return nil
}
