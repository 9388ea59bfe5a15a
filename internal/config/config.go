// Package config finds out what the user and the operator want. Every setting
// stands in one table (settings.go) with its key, kind, default and meaning; from
// it come the command line's flags, the environment's names, the keys of the
// config files and the rows of `jumpget config`.
//
// [Load] reads the layers from the weakest to the strongest: defaults,
// /etc/jumpget/config.yaml, $XDG_CONFIG_HOME/jumpget/config.yaml (%AppData% on
// Windows), ~/.jumpget.yaml, JUMPGET_* variables, flags. A file named by --config or
// $JUMPGET_CONFIG is read instead of the other files. Everything that is wrong
// comes back as one error that says where it stands.
package config

import (
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/spf13/pflag"
)

// Config is every setting, typed and checked.
type Config struct {
	Client   Client
	Relay    Relay
	Warnings []string // for a person, e.g. JUMPGET_* variables that nobody reads

	rows []Row
}

// Client is what the downloading side wants.
type Client struct {
	Dest        Destination   // the relay, from relay, host, user and ssh-port
	Identity    string        // ssh key file; empty: ssh decides
	SSH         string        // the ssh command with arguments; empty: "ssh"
	LocalPort   int           // port of the relay's local API on the relay's loopback
	LocalSecret string        // what it asks for there; empty: nothing
	Dir         string        // where files go; empty: the working directory
	Connections int           // 0: chosen by measurement
	Jobs        int           // files at once
	LimitRate   int64         // bytes a second; 0: no limit
	Timeout     time.Duration // without a byte
	Tries       int           // on network errors; 0: unlimited
	Paths       []string      // auto, udp, tcp, ssh
	NoSession   bool          // go over ssh alone
	Progress    string        // auto, bar, plain, none
	Color       bool          // neither no-color nor NO_COLOR
	UserAgent   string        // for the origin; empty: the relay's own
}

// Relay is what `jumpget serve` wants.
type Relay struct {
	LocalPort           int           // of the local API; 0: no TCP port
	LocalAddr           netip.Addr    // loopback, unless in a container
	LocalSocket         string        // path of the Unix socket, or "off"
	LocalSecret         string        // asked for on the TCP port if set
	PublicPort          int           // of the public door
	PublicAddr          netip.Addr    // invalid: all
	PublicURL           string        // as clients see the public door; empty: the host they reach by ssh
	DataDir             string        // absolute; empty if nobody set it and there is no home
	Sessions            time.Duration // how long a session lasts from its last use; negative: there are none
	Retain              time.Duration // how long a file is kept
	Quota               int64         // bytes on disk; 0: none
	MaxFile             int64         // bytes of one file; 0: no cap
	AllowPrivateOrigins []netip.Prefix
	TrustedProxies      []netip.Prefix
	SSHListen           string // address of the relay's own ssh endpoint; empty: off
	AuthorizedKeys      string // path; empty: authorized_keys in the data directory
	LogFormat           string // auto, text, json
	LogLevel            string // debug, info, warn, error
	Trace               string // folder for traces of UDP connections; empty: none

	defaultSocket bool // LocalSocket was not set by anybody
}

// Side tells whom a setting is for.
type Side int

// The sides; a setting may be for both.
const (
	ForClient Side = 1 << iota
	ForRelay
)

// AddFlags defines the flags of every setting for the given sides, and --config.
// A flag that is there already is left alone.
func AddFlags(fs *pflag.FlagSet, sides Side) {
	if fs.Lookup(configFlag) == nil {
		fs.String(configFlag, "", "read settings from `FILE` instead of the usual ones")
	}
	for _, s := range settings() {
		if s.sides&sides != 0 && s.kind != secret && fs.Lookup(s.key) == nil {
			s.addFlag(fs)
		}
	}
}

// addFlag defines a flag that takes any text: Load checks it like any other
// layer's, and tells of everything wrong at once.
func (s setting) addFlag(fs *pflag.FlagSet) {
	switch s.kind {
	case list:
		fs.StringSliceP(s.key, s.short, nil, s.usage)
	case toggle:
		fs.BoolP(s.key, s.short, s.def == "true", s.usage)
	default:
		fs.StringP(s.key, s.short, s.def, s.usage)
	}
}

// Options tell Load where to read.
type Options struct {
	Flags   *pflag.FlagSet // only flags that were given count; may be nil
	Environ []string       // as of os.Environ
	Root    bool           // the process runs as root

	goos string // for tests; empty: this system
}

// System returns the options for this process.
func System(flags *pflag.FlagSet) Options {
	return Options{Flags: flags, Environ: os.Environ(), Root: os.Geteuid() == 0}
}

// Row is one setting as `jumpget config` shows it.
type Row struct {
	Key   string
	Value string // as it was written; secrets masked; "" if not set
	From  string // "default", a file and line, a variable's name, or "--flag"; "" if not set
	Doc   string
	Sides Side
}

// Explain returns every setting, its value and where that came from.
func (c *Config) Explain() []Row { return slices.Clone(c.rows) }

// Sockets returns where a relay's local API may listen on this machine, the
// likeliest first: the socket that is set, or else this user's own and that of
// a relay which runs as root.
func (r Relay) Sockets() []string {
	if !r.defaultSocket || r.LocalSocket == systemSocket {
		return []string{r.LocalSocket}
	}
	if r.LocalSocket == "" {
		return []string{systemSocket}
	}
	return []string{r.LocalSocket, systemSocket}
}
