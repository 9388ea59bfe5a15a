package config

import (
	"slices"
	"strings"
)

// setting is one row of the table. Its value is text until the strongest layer
// is known; only that layer's text is checked.
type setting struct {
	key     string   // in files, and the flag's name
	short   string   // the flag's letter
	aliases []string // other names in files and variables, e.g. the original's
	def     string   // empty: nothing
	usage   string   // with the value's name in backquotes, as pflag has it
	sides   Side
	kind    kind
	set     setter // nil: see destination
}

// kind tells how a setting's text is given.
type kind int

const (
	word   kind = iota // one value
	list               // several: a YAML list, commas, or the flag again
	toggle             // true or false; the flag needs no value
	secret             // one value, never shown, and no flag: arguments are for all to see
)

const both = ForClient | ForRelay

// settings is the only place where settings are defined, in the order in which
// a person is told of them.
func settings() []setting {
	return slices.Concat(clientSettings(), sharedSettings(), relaySettings())
}

func clientSettings() []setting {
	return []setting{
		{key: "relay", sides: ForClient, usage: "the relay as ssh reaches it: `[USER@]HOST[:PORT]`"},
		{key: "host", sides: ForClient, usage: "the relay's `HOST`, or its alias in ssh's config"},
		{key: "user", sides: ForClient, usage: "log in at the relay as `USER` (default: ssh's choice)"},
		{key: "ssh-port", sides: ForClient, usage: "`PORT` of the relay's ssh (default: ssh's choice)"},
		{
			key: "identity", aliases: []string{"ssh-config"}, sides: ForClient, usage: "ssh key `FILE` (default: ssh's choice)",
			set: into(pathText, func(c *Config) *string { return &c.Client.Identity }),
		},
		{
			key: "ssh", sides: ForClient, usage: "ssh `COMMAND` with its arguments, such as 'ssh -p 2222 -i key' (default: ssh)",
			set: into(anyText, func(c *Config) *string { return &c.Client.SSH }),
		},
		{
			key: "dir", short: "d", sides: ForClient, usage: "put files into `DIR`",
			set: into(pathText, func(c *Config) *string { return &c.Client.Dir }),
		},
		{
			key: "connections", short: "x", def: "auto", sides: ForClient, usage: "TCP connections for one file: `N`, or auto to choose by measurement",
			set: into(count("auto", 64), func(c *Config) *int { return &c.Client.Connections }),
		},
		{
			key: "jobs", short: "j", def: "3", sides: ForClient, usage: "fetch `N` files at once",
			set: into(atLeastOne(64), func(c *Config) *int { return &c.Client.Jobs }),
		},
		{
			key: "limit-rate", sides: ForClient, usage: "take at most `RATE` bytes a second, such as 2.5m",
			set: into(rate, func(c *Config) *int64 { return &c.Client.LimitRate }),
		},
		{
			key: "timeout", short: "T", def: "30s", sides: ForClient, usage: "give up a connection after `TIME` without a byte; a bare number is seconds",
			set: into(secondsText, func(c *Config) *duration { return &c.Client.Timeout }),
		},
		{
			key: "tries", def: "unlimited", sides: ForClient, usage: "give up after `N` network errors in a row, or unlimited",
			set: into(count("unlimited", 1<<20), func(c *Config) *int { return &c.Client.Tries }),
		},
		{
			key: "path", def: "auto", kind: list, sides: ForClient, usage: "use only this `PATH` (auto, udp, tcp, ssh); for diagnosis, may be repeated",
			set: intoList(oneOf("auto", "udp", "tcp", "ssh"), func(c *Config) *[]string { return &c.Client.Paths }),
		},
		{
			key: "no-session", def: "false", kind: toggle, sides: ForClient, usage: "go over ssh alone: use no session, and ask for none",
			set: into(boolText, func(c *Config) *bool { return &c.Client.NoSession }),
		},
		{
			key: "progress", def: "auto", sides: ForClient, usage: "show progress as `KIND`: auto, bar, plain, none",
			set: into(oneOf("auto", "bar", "plain", "none"), func(c *Config) *string { return &c.Client.Progress }),
		},
		{
			key: "user-agent", sides: ForClient, usage: "tell the origin `NAME` as the program's name",
			set: into(headerText, func(c *Config) *string { return &c.Client.UserAgent }),
		},
	}
}

func sharedSettings() []setting {
	return []setting{
		{
			key: "no-color", def: "false", kind: toggle, sides: both, usage: "no colours (also: $NO_COLOR)",
			set: into(notText, func(c *Config) *bool { return &c.Client.Color }),
		},
		{
			key: "local-port", def: "4100", sides: both, usage: "`PORT` of the relay's local API on its own machine; off or 0: none",
			set: func(c *Config, text []string) error {
				p, err := port(text[0])
				c.Client.LocalPort, c.Relay.LocalPort = p, p
				return err
			},
		},
	}
}

func relaySettings() []setting {
	return []setting{
		{
			key: "local-addr", def: "127.0.0.1", sides: ForRelay, usage: "`ADDRESS` of the local API; 0.0.0.0 only inside a container",
			set: into(address, func(c *Config) *addr { return &c.Relay.LocalAddr }),
		},
		{
			key: "local-socket", sides: ForRelay, usage: "`PATH` of the local API's Unix socket, or off (default: /run/jumpget/api.sock, or in the data directory without root)",
			set: into(pathText, func(c *Config) *string { return &c.Relay.LocalSocket }),
		},
		{
			key: "local-secret", kind: secret, sides: both, usage: "what the local API's TCP port asks for; the client's has to be the relay's",
			set: func(c *Config, text []string) (err error) {
				c.Relay.LocalSecret, err = headerText(text[0])
				c.Client.LocalSecret = c.Relay.LocalSecret
				return err
			},
		},
		{
			key: "public-port", def: "3100", sides: ForRelay, usage: "`PORT` of the public door; 0: any free one",
			set: into(port, func(c *Config) *int { return &c.Relay.PublicPort }),
		},
		{
			key: "public-addr", sides: ForRelay, usage: "`ADDRESS` of the public door (default: all)",
			set: into(address, func(c *Config) *addr { return &c.Relay.PublicAddr }),
		},
		{
			key: "public-url", sides: ForRelay, usage: "the public door's `URL` as clients reach it (default: the host they reach by ssh)",
			set: into(publicURL, func(c *Config) *string { return &c.Relay.PublicURL }),
		},
		{
			key: "data-dir", sides: ForRelay, usage: "keep everything in `DIR` (default: /var/lib/jumpget, or under the state directory without root)",
			set: into(pathText, func(c *Config) *string { return &c.Relay.DataDir }),
		},
		{
			key: "retain", aliases: []string{"file-retain-duration"}, def: "12h", sides: ForRelay, usage: "keep files for `TIME`; a bare number is hours",
			set: into(hoursText, func(c *Config) *duration { return &c.Relay.Retain }),
		},
		{
			key: "sessions", def: "12h", sides: ForRelay, usage: "let clients do without ssh for `TIME` (at most 7d) after their last use of a session; on: 12h; off: never",
			set: into(sessionText, func(c *Config) *duration { return &c.Relay.Sessions }),
		},
		{
			key: "quota", sides: ForRelay, usage: "use at most `SIZE` of disk, such as 20G (default: no quota)",
			set: into(size, func(c *Config) *int64 { return &c.Relay.Quota }),
		},
		{
			key: "max-file", sides: ForRelay, usage: "refuse files over `SIZE` (default: no cap)",
			set: into(size, func(c *Config) *int64 { return &c.Relay.MaxFile }),
		},
		{
			key: "allow-private-origins", kind: list, sides: ForRelay, usage: "private `NETWORKS` that may be fetched from, in CIDR form, or all",
			set: intoNetworks(func(c *Config) *prefixes { return &c.Relay.AllowPrivateOrigins }),
		},
		{
			key: "trusted-proxies", kind: list, sides: ForRelay, usage: "`NETWORKS` whose X-Forwarded-For is believed, in CIDR form",
			set: intoNetworks(func(c *Config) *prefixes { return &c.Relay.TrustedProxies }),
		},
		{
			key: "ssh-listen", sides: ForRelay, usage: "`HOST:PORT` of the relay's own ssh endpoint, such as :2222 (default: none)",
			set: into(hostPort, func(c *Config) *string { return &c.Relay.SSHListen }),
		},
		{
			key: "authorized-keys", sides: ForRelay, usage: "`FILE` of the keys it lets in (default: authorized_keys in the data directory)",
			set: into(pathText, func(c *Config) *string { return &c.Relay.AuthorizedKeys }),
		},
		{
			key: "log-format", def: "auto", sides: ForRelay, usage: "log as `KIND`: auto, text, json",
			set: into(oneOf("auto", "text", "json"), func(c *Config) *string { return &c.Relay.LogFormat }),
		},
		{
			key: "log-level", def: "info", sides: ForRelay, usage: "log from `LEVEL` on: debug, info, warn, error",
			set: into(oneOf("debug", "info", "warn", "error"), func(c *Config) *string { return &c.Relay.LogLevel }),
		},
		{
			key: "trace", sides: ForRelay, usage: "write into `DIR` how each UDP connection is paced, for diagnosis (default: not at all)",
			set: into(pathText, func(c *Config) *string { return &c.Relay.Trace }),
		},
	}
}

// envName is the variable that is documented for a setting; one whose alias is
// the original's keeps the original's name.
func (s setting) envName() string {
	name := s.key
	if s.key == "retain" {
		name = s.aliases[0]
	}
	return envPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// names maps every name of every setting to its key.
func names(all []setting) map[string]string {
	m := map[string]string{}
	for _, s := range all {
		m[s.key] = s.key
		for _, a := range s.aliases {
			m[a] = s.key
		}
	}
	return m
}

// normal is the one spelling of a key: the original took any case, and in its
// file also the variables' names.
func normal(key string) string {
	key = strings.ReplaceAll(strings.ToLower(key), "_", "-")
	return strings.TrimPrefix(key, "jumpget-")
}

// nearest returns the known name that is the fewest edits away from key.
func nearest(key string, known []string) string {
	best, fewest := "", len(key)+100
	for _, k := range known {
		if d := distance(key, k); d < fewest || d == fewest && k < best {
			best, fewest = k, d
		}
	}
	return best
}

// distance is the Levenshtein distance of two keys.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
