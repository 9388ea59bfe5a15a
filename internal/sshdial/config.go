package sshdial

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Defaults of a Config's zero values.
const (
	DefaultTarget         = "127.0.0.1:4100"
	DefaultPersist        = 10 * time.Minute
	DefaultConnectTimeout = 45 * time.Second // with 30 % of packets lost TCP alone can take half of it
	DefaultStaleAfter     = 2 * time.Second
)

// Config names a relay's machine and how ssh is to reach it. What it leaves out
// the user's own ssh config decides.
type Config struct {
	Host string // a name or alias of ssh's config, or an address; required
	User string // "": as ssh's config says
	Port int    // 0: as ssh's config says

	// Identity is a private key file for ssh -i; "" for ssh's own choice.
	Identity string

	// Command is the ssh command, split like a shell would, but run without one;
	// "" means "ssh". Its options come first, so they win over ours.
	Command string

	// ControlDir is where control sockets of shared connections go; it is made
	// with mode 0700 if absent. Where it can't be used (its path is too long for a
	// socket, say) a directory among the temporary files is, or none. "" shares no
	// connection. It is ignored on Windows, whose ssh cannot share, and where the
	// user's ssh config shares by itself.
	ControlDir string

	// Persist is how long a shared connection outlives its last user; 0 means
	// DefaultPersist.
	Persist time.Duration

	// Target is the relay's local API as host:port seen from its machine; ""
	// means DefaultTarget.
	Target string

	// ConnectTimeout is ssh's limit for the TCP connection and the first line of
	// the server; 0 means DefaultConnectTimeout. A person may take as long as she
	// likes for a password after that.
	ConnectTimeout time.Duration

	// StaleAfter is how long a shared connection may take to answer before a fresh
	// one is begun beside it, because it may have died without a word: behind a NAT
	// that forgot it, or with a laptop that woke up in another network. Whichever is
	// answered first counts. Some round trips will do; see StaleAfter. 0 means
	// DefaultStaleAfter.
	StaleAfter time.Duration

	// Batch keeps ssh from asking for anything: it fails instead.
	Batch bool

	// Env is the environment of ssh; nil means ours. The program itself is looked
	// for in our own PATH.
	Env []string

	// Greeting judges the first bytes from the far side: at least GreetingSize of
	// them, or all there are if it said less and stopped. An error means that it
	// is no relay. nil takes anything; GreetingHTTP2 fits an HTTP/2 server.
	Greeting func(first []byte) error
}

// ParseDestination splits "[user@]host[:port]"; an IPv6 address with a port
// stands in brackets. Missing parts are "" and 0.
func ParseDestination(s string) (user, host string, port int, err error) {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		user, s = s[:i], s[i+1:]
		if user == "" {
			return "", "", 0, badDestination("the user's name is empty")
		}
	}
	host = s
	if h, p, splitErr := net.SplitHostPort(s); splitErr == nil {
		host = h
		if port, err = strconv.Atoi(p); err != nil || port < 1 || port > 65535 {
			return "", "", 0, badDestination("%q is no port", p)
		}
	}
	host = unbracket(host)
	if err := checkNames(user, host); err != nil {
		return "", "", 0, err
	}
	return user, host, port, nil
}

func unbracket(host string) string {
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		return host[1 : len(host)-1]
	}
	return host
}

// withDefaults checks a config and fills in its zero values.
func (c Config) withDefaults() (Config, error) {
	c.Host = unbracket(c.Host)
	if err := checkNames(c.User, c.Host); err != nil {
		return c, err
	}
	if c.Port < 0 || c.Port > 65535 {
		return c, badDestination("%d is no port", c.Port)
	}
	if c.Target == "" {
		c.Target = DefaultTarget
	}
	if err := checkTarget(c.Target); err != nil {
		return c, err
	}
	setDefault(&c.Persist, DefaultPersist)
	setDefault(&c.ConnectTimeout, DefaultConnectTimeout)
	setDefault(&c.StaleAfter, DefaultStaleAfter)
	return c, nil
}

// StaleAfter is how long a shared connection should be waited for where a round
// trip takes so long: for the answer to come in spite of a lost packet, and for
// less than the sixteen or so that a fresh connection takes. 0: not known.
func StaleAfter(rtt time.Duration) time.Duration {
	if rtt <= 0 {
		return DefaultStaleAfter
	}
	return min(max(8*rtt, 700*time.Millisecond), 4*time.Second)
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}

// checkNames refuses what ssh would take for an option, and what the shell would
// get to see when ssh puts the name into a ProxyCommand. Newer releases of
// OpenSSH refuse the same characters; older ones do not.
func checkNames(user, host string) error {
	switch {
	case host == "":
		return badDestination("it names no host")
	case strings.HasPrefix(host, "-"), strings.HasPrefix(user, "-"):
		return badDestination("it starts with a dash")
	case hasAny(host, "'`\"$\\;&<>|(){},@/[]*?!#"), strings.ContainsFunc(host, unicode.IsSpace):
		return badDestination("the host %q holds a character that no host name has", host)
	case hasAny(user, "'`\"$;&<>|(){}"), strings.ContainsFunc(user, unicode.IsSpace), strings.HasSuffix(user, "\\"):
		return badDestination("the user %q holds a character that no user name has", user)
	}
	return nil
}

func hasAny(s, chars string) bool {
	return strings.ContainsAny(s, chars) || strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || r == unicode.ReplacementChar || unicode.Is(unicode.Bidi_Control, r)
	})
}

func checkTarget(target string) error {
	host, port, err := net.SplitHostPort(target)
	if err != nil || checkNames("", host) != nil {
		return &Error{Kind: BadCommand, Message: fmt.Sprintf("the relay's local address %q is not host:port", target), Hint: "a usual one is " + DefaultTarget}
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return &Error{Kind: BadCommand, Message: fmt.Sprintf("the relay's local port %q is no port", port), Hint: "a usual address is " + DefaultTarget}
	}
	return nil
}

func badDestination(format string, args ...any) *Error {
	return &Error{
		Kind:    BadCommand,
		Message: "the relay's ssh destination is refused: " + fmt.Sprintf(format, args...),
		Hint:    "write it as [user@]host[:port]",
	}
}
