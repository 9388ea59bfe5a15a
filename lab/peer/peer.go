// Package peer is the table of programs that JumpGet is measured against, and of
// JumpGet's own ways. To add a peer is to add an entry to All.
package peer

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// Server is something that a peer needs to run on the relay or the origin.
type Server string

// The servers that the lab can start. Both hosts always run nginx.
const (
	SSHD     Server = "sshd"
	Hysteria Server = "hysteria"
	JumpGet  Server = "jumpget"
)

// Peer is one way to download a file.
type Peer struct {
	Name  string
	About string
	// Needs are commands that have to be on the PATH.
	Needs []string
	// Servers run on the relay beside nginx.
	Servers []Server
	// Before is a shell line run on the client before the clock starts; it sets
	// the peer's state (warm or cold).
	Before string
	// Command is a shell line, run on the client in an empty folder, that has to
	// leave the file there as "out". The variables of Vars stand in braces.
	Command string
	// UDP marks a peer that has nothing but UDP.
	UDP bool
}

// Vars are what a peer's lines may name: {origin} and {relay} are the URL of the
// file on nginx there, {ssh} is the ssh command, {dest} its destination, {path}
// the file's path on the relay, {jumpget} the program, {mbps} the link's true rate.
type Vars map[string]string

// Expand fills the variables in.
func (v Vars) Expand(line string) string {
	pairs := make([]string, 0, 2*len(v))
	for key, value := range v {
		pairs = append(pairs, "{"+key+"}", value)
	}
	return strings.NewReplacer(pairs...).Replace(line)
}

const (
	aria2   = "aria2c -q -x16 -s16 -k1M --file-allocation=none -o out "
	lftp    = "lftp -e 'set net:timeout 300; set xfer:log no; pget -n 16 -c %s -o out; exit'"
	rclone  = "rclone copyto --config /dev/null --multi-thread-streams 16 --multi-thread-cutoff 1M --http-url %s :http:%s out"
	connect = "{jumpget} ls >/dev/null"
	forget  = "{ssh} -O exit {dest} 2>/dev/null; rm -rf $XDG_STATE_HOME/jumpget; true"
	get     = "{jumpget} --progress none --no-remote-time -o out "
)

// All returns every peer in the order of the report.
func All() []Peer {
	return []Peer{
		{Name: "wget", About: "from the origin (CUBIC)", Needs: []string{"wget"}, Command: "wget -q -O out {origin}"},
		{Name: "curl", About: "from the origin (CUBIC)", Needs: []string{"curl"}, Command: "curl -sf -o out {origin}"},
		{Name: "axel", About: "16 connections from the origin (CUBIC)", Needs: []string{"axel"}, Command: "axel -q -n 16 -o out {origin}"},
		{Name: "aria2", About: "16 connections from the origin (CUBIC)", Needs: []string{"aria2c"}, Command: aria2 + "{origin}"},
		{Name: "wget2", About: "from the origin (CUBIC)", Needs: []string{"wget2"}, Command: "wget2 -q --max-threads=16 --chunk-size=1M -O out {origin}"},
		{Name: "wget-bbr", About: "from the relay (BBR)", Needs: []string{"wget"}, Command: "wget -q -O out {relay}"},
		{Name: "axel-bbr", About: "16 connections from the relay (BBR)", Needs: []string{"axel"}, Command: "axel -q -n 16 -o out {relay}"},
		{Name: "aria2-bbr", About: "16 connections from the relay (BBR)", Needs: []string{"aria2c"}, Command: aria2 + "{relay}"},
		{Name: "lftp-bbr", About: "pget, 16 connections from the relay (BBR)", Needs: []string{"lftp"}, Command: fmt.Sprintf(lftp, "{relay}")},
		{Name: "rclone-bbr", About: "16 streams from the relay (BBR)", Needs: []string{"rclone"}, Command: fmt.Sprintf(rclone, "{relaydir}", "{name}")},
		{Name: "scp-bbr", About: "over ssh from the relay (BBR)", Needs: []string{"scp"}, Servers: []Server{SSHD}, Command: "scp -q -S {sshw} {dest}:{path} out"},
		{Name: "rsync-bbr", About: "over ssh from the relay (BBR)", Needs: []string{"rsync"}, Servers: []Server{SSHD}, Command: "rsync --inplace -e {sshw} {dest}:{path} out"},
		{
			Name: "hysteria2", About: "its own BBR, connected already", Needs: []string{"hysteria", "curl"}, Servers: []Server{Hysteria},
			Before: "curl -sf -o /dev/null -x http://127.0.0.1:8081 {tiny}", Command: "curl -sf -x http://127.0.0.1:8081 -o out {origin}", UDP: true,
		},
		{
			Name: "hysteria2-brutal", About: "told the link's true rate by hand, connected already", Needs: []string{"hysteria", "curl"}, Servers: []Server{Hysteria},
			Before: "curl -sf -o /dev/null -x http://127.0.0.1:8082 {tiny}", Command: "curl -sf -x http://127.0.0.1:8082 -o out {origin}", UDP: true,
		},
		{
			Name: "jumpget-cold", About: "no ssh connection yet", Needs: []string{"ssh"}, Servers: []Server{SSHD, JumpGet},
			Before: forget, Command: get + "{fresh}",
		},
		{
			Name: "jumpget", About: "control connection alive", Needs: []string{"ssh"}, Servers: []Server{SSHD, JumpGet},
			Before: connect, Command: get + "{fresh}",
		},
		{
			Name: "jumpget-tcp", About: "the TCP path alone, control connection alive", Needs: []string{"ssh"}, Servers: []Server{SSHD, JumpGet},
			Before: connect, Command: get + "--path tcp {fresh}",
		},
		{
			Name: "jumpget-ssh", About: "the ssh path alone, control connection alive", Needs: []string{"ssh"}, Servers: []Server{SSHD, JumpGet},
			Before: connect, Command: get + "--path ssh {fresh}",
		},
	}
}

// Find returns the named peers; "all" or no names stand for every one.
func Find(names ...string) ([]Peer, error) {
	all := All()
	if len(names) == 0 || slices.Equal(names, []string{"all"}) {
		return all, nil
	}
	var found []Peer
	for _, name := range names {
		i := slices.IndexFunc(all, func(p Peer) bool { return p.Name == name })
		if i < 0 {
			var known []string
			for _, p := range all {
				known = append(known, p.Name)
			}
			return nil, fmt.Errorf("there is no peer named %q; there are %s", name, strings.Join(known, ", "))
		}
		found = append(found, all[i])
	}
	return found, nil
}

// Missing returns the commands that the peer needs and this machine lacks.
func (p Peer) Missing() []string {
	var missing []string
	for _, command := range p.Needs {
		if _, err := exec.LookPath(command); err != nil {
			missing = append(missing, command)
		}
	}
	return missing
}
