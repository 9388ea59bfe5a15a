package sshdial

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// symptom is one thing that ssh says when it fails, and what that means. In the
// message %s stands for the host.
type symptom struct {
	pattern *regexp.Regexp
	kind    Kind
	message string
	hint    string
}

// symptoms are tried in this order. What comes early is said by ssh alone; what
// comes late may stand in a message that also holds an earlier one.
var symptoms = []symptom{
	{
		re(`REMOTE HOST IDENTIFICATION HAS CHANGED|Host key for \S+ has changed`), HostKeyChanged,
		"the ssh host key of %s has changed: this may be another machine", "",
	},
	{
		re(`Host key verification failed|No \S+ host key is known for`), HostKeyUnknown,
		"the ssh host key of %s is not known yet", "connect once by hand and compare the key: ssh ",
	},
	{
		re(`Permission denied \(|Too many authentication failures|[Nn]o (more|supported) authentication methods`), AuthRefused,
		"%s does not accept this login", "try by hand, and name another key with --identity or another user: ssh ",
	},
	{
		re(`[Bb]ad configuration option|(?m)^usage: |(unknown|illegal|invalid|unrecognized) option|option requires an argument|bad configuration options|Bad owner or permissions on|Can't open user config file|Bad port|Bad stdio forwarding|contains invalid characters|[Uu]nsupported option|extra arguments at end of line|missing argument\.?\r?$`), BadCommand,
		"ssh does not accept its options or its config", "look at the ssh command (--ssh) and at ~/.ssh/config",
	},
	{
		re(`Could not resolve hostname|[Nn]ame or service not known|nodename nor servname`), Unreachable,
		"the name %s is not known", "check the relay's name, and that this machine is online",
	},
	{
		re(`(?m)^(ssh: )?connect to .*Connection refused`), Unreachable,
		"%s refuses connections on the ssh port", "check the port; is sshd running there?",
	},
	{
		re(`[Tt]imed? ?out|not responding`), Unreachable,
		"%s did not answer in time", "check that it is up, and that no firewall stands between",
	},
	{
		re(`No route to host|[Nn]etwork is unreachable|Host is down|Network is down`), Unreachable,
		"there is no way to %s through the network", "check that this machine is online, and the relay's address",
	},
	{
		re(`Unable to negotiate|no matching .* found`), Unreachable,
		"ssh and the server of %s have no algorithm in common", "update the older one of the two",
	},
	{
		re(`kex_exchange_identification|ssh_exchange_identification|banner exchange|Connection closed by|Connection reset by|Connection to \S+ closed`), Cut,
		"%s closed the connection before the login", "check the port and any jump host; the server may also be overloaded or block this address",
	},
}

func re(pattern string) *regexp.Regexp { return regexp.MustCompile(pattern) }

// classify makes an Error of what an ssh said that ended with code exit and never
// reached the relay.
func classify(h Host, stderr string, exit int) *Error {
	for _, s := range symptoms {
		if s.pattern.MatchString(stderr) {
			e := &Error{Kind: s.kind, Message: s.message, Hint: s.hint, Detail: detail(stderr)}
			if strings.Contains(s.message, "%s") {
				e.Message = fmt.Sprintf(s.message, h.name())
			}
			return e.complete(h)
		}
	}
	return &Error{
		Kind:    Died,
		Message: fmt.Sprintf("ssh to %s ended with code %d before the relay answered", h.name(), exit),
		Hint:    "try by hand: ssh " + h.byHand(),
		Detail:  detail(stderr),
	}
}

// complete fills in the hints that need to know the host.
func (e *Error) complete(h Host) *Error {
	switch {
	case e.Kind == HostKeyChanged:
		e.Hint = "if you know why it changed: ssh-keygen -R '" + h.knownAs() + "'; else do not connect"
	case strings.HasSuffix(e.Hint, "ssh "):
		e.Hint += h.byHand()
	}
	return e
}

// name is how a message calls the host: as the user wrote it, and what it is.
func (h Host) name() string {
	if h.Hostname != "" && h.Hostname != h.Alias {
		return clean(h.Alias + " (" + h.Hostname + ")")
	}
	return clean(h.Alias)
}

// byHand is the destination for an ssh that a person types.
func (h Host) byHand() string {
	s := h.Alias
	if h.givenUser != "" {
		s = h.givenUser + "@" + s
	}
	if h.givenPort != 0 {
		s = "-p " + strconv.Itoa(h.givenPort) + " " + s
	}
	return clean(s)
}

// knownAs is the host's name in known_hosts.
func (h Host) knownAs() string {
	name := h.Hostname
	if h.hostKeyAlias != "" {
		return clean(h.hostKeyAlias)
	}
	if name == "" {
		name = h.Alias
	}
	if h.Port != 0 && h.Port != 22 {
		name = "[" + name + "]:" + strconv.Itoa(h.Port)
	}
	return clean(name)
}

// cause tells why a forward did not open.
type cause int

const (
	causeNone       cause = iota // it was not the forward that failed
	causeUnknown                 // it failed, and ssh did not say why: a master's clients never do
	causeProhibited              // the server allows no forwarding
	causeRefused                 // nothing listens behind it
	causeStranger                // something else than a relay answers
	causeHungUp                  // something accepted and closed without a word
)

var (
	viaJump    = re(`kex_exchange_identification|banner exchange|Connection closed by UNKNOWN`)
	prohibited = re(`open failed: (administratively prohibited|unknown channel type)`)
	refused    = re(`open failed: connect failed`)
	notOpened  = re(`(?i)stdio forwarding (request )?failed|Session open refused by peer`)
)

// forwardCause reads why a forward failed from what ssh said. A jump host's ssh
// says the same words when its own forward fails, but then the handshake through
// it fails as well.
func forwardCause(stderr string) cause {
	switch {
	case viaJump.MatchString(stderr):
		return causeNone
	case prohibited.MatchString(stderr):
		return causeProhibited
	case refused.MatchString(stderr):
		return causeRefused
	case notOpened.MatchString(stderr):
		return causeUnknown
	}
	return causeNone
}

var noCommand = re(`(?i)command not found|not recognized as|exec request failed|open failed`)

// noBridge tells whether a bridge failed because its machine has no jumpget.
func noBridge(stderr string, exit int) bool {
	return exit == 127 || noCommand.MatchString(stderr) || notOpened.MatchString(stderr)
}

// detail is the end of what ssh said, fit for a terminal: at most eight lines.
func detail(stderr string) string {
	var lines []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(clean(line))
		if line == "" || strings.HasPrefix(line, "debug") || strings.Trim(line, "@") == "" {
			continue
		}
		if r := []rune(line); len(r) > 300 {
			line = string(r[:300]) + "…"
		}
		lines = append(lines, line)
	}
	if len(lines) > 8 {
		lines = lines[len(lines)-8:]
	}
	return strings.Join(lines, "\n")
}

// clean drops what could command a terminal: control, format and invalid
// characters. Tabs and newlines become blanks.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsGraphic(r), r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, s)
}

// address is a tunnel's end.
type address string

var _ net.Addr = address("")

func (a address) Network() string { return "ssh" }
func (a address) String() string  { return string(a) }
